"""References to docs/method lead to a section that is there, in code, tests and pages; none leads out of the repository."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs.markdown_anchors import explicit_anchors

METHOD = REPOSITORY / "docs" / "method"
PAGES = sorted(METHOD.glob("*.md"))

REFERENCE = re.compile(r"docs/method/(?P<page>[\w-]+\.md)(?P<anchors>(?:#[\w-]+(?:,\s+#[\w-]+)*)?)")
"""``docs/method/mim4d.md#rays, #pitfalls``: a page and sections of it. The list may go on in the next line."""

OUTSIDE = "specs" + "/"
"""Folder of documents that are not in this repository; put together so that this file does not name it."""

UNREAD = {"__pycache__", "build", "demo", "shared"}
"""Folders that hold no text of this repository."""


def repository_files() -> Iterator[Path]:
    for folder, folders, names in os.walk(REPOSITORY):
        folders[:] = [name for name in folders if name not in UNREAD and not name.startswith(".")]
        folders[:] = [name for name in folders if not Path(folder, name, "pyvenv.cfg").exists()]
        yield from (Path(folder, name) for name in names if name.endswith((".py", ".md")))


TEXTS = {str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8") for path in repository_files()}


def references(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield page and anchor of each reference; the anchor is None where a page is meant as a whole."""
    for match in REFERENCE.finditer(text):
        anchors: list[str] = re.findall(r"#([\w-]+)", match["anchors"])
        yield from ((match["page"], anchor) for anchor in anchors or [None])


def dangling(text: str) -> list[str]:
    return [f"{page}#{anchor or ''}" for page, anchor in references(text) if not leads_somewhere(page, anchor)]


def leads_somewhere(page: str, anchor: str | None) -> bool:
    file = METHOD / page
    return file.is_file() and (anchor is None or anchor in explicit_anchors(file.read_text(encoding="utf-8")))


def test_reference_when_it_leads_nowhere_then_it_is_found():
    assert dangling('"""Source docs/method/pipeline.md#horizon-cleaning,\n       #z-buffer; docs/method/README.md."""') == []
    text = "docs/method/pipeline.md#no-such-section, #z-buffer,\n    #nor-this; docs/method/no-such-page.md#z-buffer"
    assert dangling(text) == ["pipeline.md#no-such-section", "pipeline.md#nor-this", "no-such-page.md#z-buffer"]


def test_references_when_followed_then_each_leads_to_a_page_and_a_section():
    assert sum(len(list(references(text))) for text in TEXTS.values()) > 100
    assert {name: found for name, text in TEXTS.items() if name != _THIS and (found := dangling(text))} == {}


def test_texts_when_searched_then_none_names_a_document_that_is_not_in_the_repository():
    assert [name for name, text in TEXTS.items() if re.search(rf"\b{OUTSIDE}", text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_method_page_when_read_then_its_anchors_are_distinct_kebab_case_and_stand_before_headings(page):
    text = page.read_text(encoding="utf-8")
    anchors = explicit_anchors(text)
    assert len(anchors) == len(set(anchors))
    assert [anchor for anchor in anchors if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", anchor)] == []
    if page.name != "README.md":
        before_headings = re.findall(r'^<a id="([^"]*)"></a>\n##+ \S', text, re.M)
        assert anchors == before_headings
        assert len(anchors) == len(re.findall(r"^##+ ", text, re.M)), "every section has an anchor"


def test_index_when_read_then_it_links_to_every_page():
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (METHOD / "README.md").read_text(encoding="utf-8"))
    assert {page.name for page in PAGES} - {"README.md"} == set(linked)


_THIS = str(Path(__file__).relative_to(REPOSITORY))
