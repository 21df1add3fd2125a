"""The README can be read in three minutes, and the pages around it have short sentences."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY
from tests.docs.prose import mean_words, sentences

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [
    *REPOSITORY.glob("*.md"),
    *(REPOSITORY / "docs").rglob("*.md"),
    *(REPOSITORY / "model").rglob("README.md"),
    REPOSITORY / "notebooks" / "README.md",
]


def test_sentences_when_page_has_code_tables_links_and_lists_then_only_prose_is_counted():
    page = "# One\n\nTwo [three](four.md), `five six`. `seven` *eight* nine!\n- ten 1.5 m: e.g. it\n- Eleven\n\n| a b | c. |\n\n```\nx. y.\n```\n"
    assert sentences(page) == ["Two three, CODE.", "CODE eight nine!", "ten 1.5 m: e.g. it", "Eleven"]
    assert mean_words(page) == (3 + 3 + 5 + 1) / 4


def test_readme_when_counted_then_it_is_short():
    assert 110 <= len(README.splitlines()) <= 140


def test_readme_when_read_then_no_sentence_is_long():
    assert [sentence for sentence in sentences(README) if len(sentence.split()) > 35] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_page_when_read_then_its_sentences_have_fewer_than_twenty_words_in_the_mean(page):
    text = page.read_text(encoding="utf-8")
    if page.name != "README.md" and page.parent.name != "api":  # those pages may be tables and docstrings alone
        assert sentences(text)
    assert not sentences(text) or mean_words(text) < 20


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_page_when_it_says_how_to_install_then_not_by_the_name_of_an_index_that_has_no_depthmill(page):
    by_name = r"pip install (?:[^\n`]*'depthmill\[[^\]\n]*\](?! @ )|depthmill\b)"  # "'depthmill[train] @ git+..." names a place
    assert re.findall(by_name, page.read_text(encoding="utf-8")) == []


def test_readme_when_it_shows_numbers_then_five_with_scripts_that_are_there():
    table = README.split("## Five numbers")[1].split("\n## ")[0]
    scripts = re.findall(r"^\| .*`python (benchmarks/\w+\.py)` \|$", table, re.M)
    assert len(scripts) == 5
    assert [script for script in scripts if not (REPOSITORY / script).is_file()] == []


def test_limits_when_readme_is_opened_then_they_stand_before_the_first_heading():
    assert "**Limits today.**" in README.split("\n## ")[0]
