"""What CONTRIBUTING.md quotes stands in the package that the tests install, and what it names is there."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
QUOTED = r"\]\((?P<file>[^)#]+)\)\):\n\n```(?:python|toml)\n(?P<code>.*?)```"
"""A block of code, and the link at the end of the sentence before it. A line of three dots stands for what is left out."""

BLOCKS = [(match["file"], match["code"]) for match in re.finditer(QUOTED, TEXT, re.S)]


def is_quoted(code: str, source: str) -> bool:
    """Say whether the pieces of a block stand in a file, each literally and in this order."""
    at = 0
    for piece in code.split("\n...\n"):
        found = source.find(f"\n{piece.rstrip()}\n", max(at - 1, 0))
        if found < 0:
            return False
        at = found + len(piece.rstrip()) + 1
    return True


def test_pieces_when_one_is_changed_left_out_or_out_of_order_then_are_not_quoted():
    source = "\nfirst\n  second\nthird\n"
    assert is_quoted("first\n  second\n", source) and is_quoted("first\n...\nthird\n", source)
    assert not is_quoted("first\nsecond\n", source)
    assert not is_quoted("third\n...\nfirst\n", source)
    assert not is_quoted("fir\n", source)


@pytest.mark.parametrize(("file", "code"), BLOCKS)
def test_code_when_quoted_then_it_stands_in_the_file_that_the_sentence_links_to(file, code):
    assert is_quoted(code, "\n" + (REPOSITORY / file).read_text(encoding="utf-8")), f"not in {file}:\n{code}"


def test_page_when_it_shows_code_then_each_block_says_where_it_is_from_and_each_entry_point_is_shown():
    assert len(BLOCKS) == len(re.findall(r"^```(?:python|toml)$", TEXT, re.M)) > 10
    assert {file for file, _ in BLOCKS} == {
        "tests/plug_ins/depthmill_toy/pyproject.toml",
        *(f"tests/plug_ins/depthmill_toy/depthmill_toy/{name}.py" for name in ("stage", "source", "family")),
    }


def test_page_when_it_names_a_file_or_a_make_target_then_it_is_there():
    named = set(re.findall(r"`((?:flows|pipeline|model|storage_schemas|tests|docs)/[\w/]+\.(?:py|md))`", TEXT))
    made_by_the_reader = {"pipeline/stages/measure_rows.py", "tests/pipeline/stages/test_measure_rows.py"}
    assert made_by_the_reader < named
    assert {name for name in named - made_by_the_reader if not (REPOSITORY / name).is_file()} == set()
    targets = set(re.findall(r"^make ([\w-]+)", TEXT, re.M))
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert len(targets) == 4
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.M)} == set()
