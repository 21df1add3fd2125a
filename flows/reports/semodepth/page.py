"""Put the sections of a training's page together; a section whose file is not there yet is one sentence.

Reads  TrainingFiles
Writes report.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.reports.semodepth.about_section import about_section, title_of
from flows.reports.semodepth.curve_sections import steps_section, validation_section
from flows.reports.semodepth.range_section import range_section
from flows.reports.semodepth.results_section import results_section
from flows.reports.semodepth.strips_section import strips_section
from flows.reports.semodepth.training_files import TrainingFiles, read_training_files
from flows.reports.store.markup import text
from flows.reports.store.page import page_html, write_page

PAGE_FILE = "report.html"

SECTIONS = (
    ("results", "Results", results_section, "No evaluation yet, so no results: depthmill evaluate measures a checkpoint."),
    ("range", "Range", range_section, "No evaluation yet, so no error by range."),
    ("frames", "Frames", strips_section, "No evaluation/strips.npz yet, so no pictures."),
    ("steps", "Steps", steps_section, "No step in steps.csv yet, so no loss curves."),
    ("validation", "Validation", validation_section, "No row in evaluations.csv yet, so no error over the steps."),
)
"""Anchor, words of the table of contents, what makes the section, and what is said where its file is missing."""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a training's folder and return its path; replaced if it exists.

    Raises:
        StoreError: not the folder of a training, a file is damaged, or the page cannot be written.
    """
    return write_page(folder / PAGE_FILE, report_html(read_training_files(folder)))


def report_html(found: TrainingFiles) -> str:
    """Return the page as text."""
    footer = "Errors are means over frames of the mean over a frame's pixels, unless said otherwise."
    return sections_html(found, SECTIONS, footer=footer)


def sections_html(
    found: Any, sections: Sequence[tuple[str, str, Callable[[Any], str | None], str]], *, footer: str, headline: Any = None
) -> str:
    """Return the page of a training of any family: about it, then its sections; what is missing is said in the first.

    Args:
        found: what the training left in its folder.
        sections: as ``SECTIONS``.
        footer: last line of the page.
        headline: best figure of the training, as ``about_section`` takes it; None = SemoDepth's.
    """
    bodies = [(anchor, words, make(found), absent) for anchor, words, make, absent in sections]
    notes = [absent for _, _, body, absent in bodies if body is None]
    first = about_section(found, notes) if headline is None else about_section(found, notes, headline=headline)
    contents = [("about", "Training"), *((anchor, words) for anchor, words, body, _ in bodies if body is not None)]
    return page_html(
        title_of(found),
        subtitle=f"Training in <code>{text(found.folder)}</code>",
        contents=contents,
        body="".join([first, *(body for _, _, body, _ in bodies if body is not None)]),
        footer=footer,
    )
