"""Put the sections of a training's page together; a section whose file is not there yet is one sentence.

Reads  TrainingFiles of a family
Writes report.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from flows.reports.html.markup import text
from flows.reports.html.page import page_html, write_page
from flows.reports.training.about import Headline, about_section
from flows.reports.training.files import TrainingFiles

PAGE_FILE = "report.html"

F = TypeVar("F", bound=TrainingFiles[Any])

Section = tuple[str, str, Callable[[F], str | None], str]
"""Anchor, words of the table of contents, what makes the section, and what is said where its file is missing."""


def write_training_page(training: F, sections: Sequence[Section[F]], *, headline: Headline, footer: str) -> Path:
    """Write ``report.html`` into a training's folder and return its path; replaced if it exists.

    Args:
        training: what the training left in its folder.
        sections: those after the one about the training, which says what is missing.
        headline: makes the best figure of a training, from its training.json.
        footer: last line of the page.

    Raises:
        StoreError: the page cannot be written.
    """
    bodies = [(anchor, name, make(training), absent) for anchor, name, make, absent in sections]
    present = [(anchor, name, body) for anchor, name, body, _ in bodies if body is not None]
    first = about_section(training, [absent for _, _, body, absent in bodies if body is None], headline=headline)
    page = page_html(
        str((training.about or {}).get("name") or training.folder.absolute().name),
        subtitle=f"Training in <code>{text(training.folder)}</code>",
        contents=[("about", "Training"), *((anchor, name) for anchor, name, _ in present)],
        body="".join([first, *(body for _, _, body in present)]),
        footer=footer,
    )
    return write_page(training.folder / PAGE_FILE, page)
