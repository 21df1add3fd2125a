"""The site has every page, and is built without a warning."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "docs" / "build_site.py"


@pytest.fixture(scope="module")
def build_site():
    spec = importlib.util.spec_from_file_location("build_site", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_of_menu(entry):
    if isinstance(entry, str):
        return [entry]
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages_of_menu(part)]


def test_menu_when_compared_with_the_pages_then_each_stands_in_it_once(build_site):
    menu = pages_of_menu(tomllib.loads((REPOSITORY / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"])
    pages = [str(file.relative_to(REPOSITORY)) for file in build_site.files_of_site() if file.suffix == ".md"]
    assert sorted(menu) == sorted(pages)
    assert {"README.md", "benchmarks/RESULTS.md", "storage_schemas/README.md", "model/monoddle/README.md"} < set(menu)


def test_start_page_when_compared_with_the_menu_then_it_leads_to_every_page_of_docs():
    text = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {(REPOSITORY / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#]+)", text)}
    pages = {*(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "docs").glob("*/README.md")} - {
        REPOSITORY / "docs" / "README.md"
    }
    assert pages <= linked


def test_page_when_it_links_to_no_file_or_out_of_the_repository_then_the_build_says_so(build_site, tmp_path, monkeypatch):
    monkeypatch.setattr(build_site, "REPOSITORY", tmp_path)
    (tmp_path / "there.py").touch()
    page = tmp_path / "page.md"
    page.write_text("[a](there.py#L3) `[not](a-link.md)` [b](https://example.org/x.md)\n\n```\n[nor](this.md)\n```\n")
    assert list(build_site.linked_files(page)) == [tmp_path / "there.py"]
    for target in ("gone.md", "../outside.md"):
        page.write_text(f"[a]({target})")
        with pytest.raises(SystemExit, match=rf"page\.md links to {re.escape(target)}, which is no file of the repository"):
            list(build_site.linked_files(page))


@pytest.mark.slow
def test_site_when_built_then_without_a_warning_and_with_the_docstrings_of_the_package():
    pytest.importorskip("zensical", reason="the extra docs is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
    built = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "Warning" not in built.stdout + built.stderr
    site = REPOSITORY / "build" / "site"
    loaded = r"<(?:script|img|iframe)[^>]* src=\"https?:|<link[^>]* rel=\"?stylesheet\"?[^>]* href=\"https?:"
    assert [page for page in site.rglob("*.html") if re.search(loaded, page.read_text(encoding="utf-8"))] == []
    assert "open_dataset" in (site / "docs" / "api" / "depthmill.html").read_text(encoding="utf-8")
    assert (site / "docs" / "gallery" / "kitti_surface.jpg").is_file() and (site / "docs" / "site.css").is_file()
