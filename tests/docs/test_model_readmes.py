"""What the pages of the families say about where things are."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MODEL = REPOSITORY / "model"
PAGES = sorted(path for path in MODEL.glob("*/README.md"))


def rows_of(page: Path) -> list[tuple[str, str]]:
    """Return name and last cell of each row of the table "Where each part is"."""
    text = page.read_text(encoding="utf-8").split("## Where each part is")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line.startswith("| ")]
    return [(row[0], row[-1]) for row in rows[1:] if row[0] != "checkpoint names"]


def exists(name: str, family: Path) -> bool:
    """Say whether a file, a folder, or an attribute of a module is there, below the family, model/ or the repository."""
    path, *attribute = name.split(".")
    for root in (family, MODEL, REPOSITORY):
        if (root / path).is_dir() or (root / f"{path}.py").is_file():
            module = ".".join((root / path).relative_to(REPOSITORY).parts)
            found = importlib.import_module(module) if attribute else None
            for part in attribute:
                found = getattr(found, part, None) if not isinstance(found, type) else found  # instances make the rest
            return not attribute or found is not None
        if attribute:  # a name of the module before: ``SparseMap.project``
            continue
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_family_page_when_it_says_where_a_part_is_then_it_is_there(page: Path) -> None:
    rows = rows_of(page)
    assert len(rows) > 8
    missing = []
    for part, cell in rows:
        names = [name.rstrip("/") for name in re.findall(r"`([\w/.]+)`", cell)]
        assert names, part
        module = names[0].split(".")[0]
        for name in names:
            if not (exists(name, page.parent) or exists(f"{module}.{name}", page.parent)):
                missing.append(f"{part}: {name}")
    assert missing == []


def test_families_when_listed_then_files_have_the_names_that_the_page_says() -> None:
    page = (MODEL / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| `(\w+\.\w+)` \|", page, flags=re.M)
    wanted = {
        "README.md",
        "family.py",
        "config.py",
        "net.py",
        "loss.py",
        "data.py",
        "evaluation.py",
        "comparison.py",
        "measures.py",
    }
    assert wanted < set(names)
    for family in PAGES:
        assert {name for name in wanted if not (family.parent / name).is_file()} == set(), family.parent.name
