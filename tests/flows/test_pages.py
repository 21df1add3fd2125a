"""README and docs: links lead somewhere, pictures are small, and the list of commands is the list of commands."""

from __future__ import annotations

import re

import pytest
import typer.main

from flows.cli import app
from tests.conftest import REPOSITORY
from tests.docs.markdown_anchors import anchors_of

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
MAX_PICTURE_BYTES = 260_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_page_when_it_links_to_a_file_or_heading_then_it_is_there(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8")):
        file = (page.parent / target) if target else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors_of(file.read_text(encoding="utf-8")), (page.name, anchor)


def test_pictures_when_in_the_docs_then_are_small():
    found = [path for path in (REPOSITORY / "docs").rglob("*") if path.suffix in (".jpg", ".png")]
    assert found
    assert {path.name: path.stat().st_size for path in found if path.stat().st_size > MAX_PICTURE_BYTES} == {}


COMMANDS = set(typer.main.get_command(app).commands)


def test_page_of_commands_when_it_lists_them_then_lists_them_all():
    text = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8").split("\n## Exit codes")[0]
    named = [command for row in re.findall(r"^\| (`.*?) \|", text, re.M) for command in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(COMMANDS)


def test_readme_when_it_lists_the_commands_then_each_stands_in_one_of_four_groups():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    groups = re.findall(r"^- \*\*.*?\*\*: (.*)$", text.split("\n## Commands")[1].split("\n## ")[0], re.M)
    assert len(groups) == 4
    assert sorted(command for group in groups for command in re.findall(r"`(\w+)`", group)) == sorted(COMMANDS)
