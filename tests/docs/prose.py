"""The sentences of a Markdown page: what a reader reads from beginning to end, without code, tables, headings and pictures."""

from __future__ import annotations

import re


def sentences(page: str) -> list[str]:
    """Return the sentences of paragraphs and list items; a link counts as its words, a piece of code in a line as one word."""
    page = re.sub(r"^```.*?^```$", "\n\n", page, flags=re.M | re.S)
    page = re.sub(r"^(#.*|\s*\|.*|<.*>)$", "", page, flags=re.M)
    page = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", page)
    page = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", page)
    page = re.sub(r"`[^`]*`", "CODE", page)
    page = re.sub(r"[*_]{1,2}(\S(?:.*?\S)?)[*_]{1,2}", r"\1", page, flags=re.S)
    blocks = re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.)\s", page, flags=re.M)
    ends = r"(?<=[.!?])[)\"]?\s+(?=[\"(]?[A-Z0-9])|(?<=[.!?])$"
    return [" ".join(sentence.split()) for block in blocks for sentence in re.split(ends, block) if re.search(r"\w", sentence)]


def mean_words(page: str) -> float:
    """Return how many words a sentence of a page has in the mean."""
    found = sentences(page)
    return sum(len(sentence.split()) for sentence in found) / len(found)
