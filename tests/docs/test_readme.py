"""The README can be read in three minutes, and the pages around it have short sentences."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY
from tests.docs.prose import mean_words, sentences

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
START_PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{name}.md" for name in ("README", "tutorial", "commands", "limits", "real-data", "faults", "your-own-data")),
    "docs/operations/README.md",
]


def test_sentences_when_page_has_code_tables_links_and_lists_then_only_prose_is_counted():
    page = "# One\n\nTwo [three](four.md), `five six`. `seven` *eight* nine!\n- ten 1.5 m: e.g. it\n- Eleven\n\n| a b | c. |\n\n```\nx. y.\n```\n"
    assert sentences(page) == ["Two three, CODE.", "CODE eight nine!", "ten 1.5 m: e.g. it", "Eleven"]
    assert mean_words(page) == (3 + 3 + 5 + 1) / 4


def test_readme_when_counted_then_it_is_short():
    assert 110 <= len(README.splitlines()) <= 140


def test_readme_when_read_then_no_sentence_is_long():
    assert [sentence for sentence in sentences(README) if len(sentence.split()) > 35] == []


@pytest.mark.parametrize("page", START_PAGES)
def test_page_when_read_then_its_sentences_have_fewer_than_twenty_words_in_the_mean(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert len(sentences(text)) > 2
    assert mean_words(text) < 20


def test_readme_when_it_shows_numbers_then_five_with_scripts_that_are_there():
    table = README.split("## Five numbers")[1].split("\n## ")[0]
    scripts = re.findall(r"^\| .*`python (benchmarks/\w+\.py)` \|$", table, re.M)
    assert len(scripts) == 5
    assert [script for script in scripts if not (REPOSITORY / script).is_file()] == []


def test_limits_when_readme_is_opened_then_they_stand_before_the_first_heading():
    assert "**Limits today.**" in README.split("\n## ")[0]
