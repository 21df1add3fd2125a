"""One self-contained HTML page about a training of a family without a page of its own: what was trained, its tables, its curves.

Why    A package outside may bring a family and nothing else; its trainings are shown all the same
Reads  the folder of a training, see ``files``
Writes report.html in it
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.reports.html.markup import MISSING, text
from flows.reports.plain.curves import steps_section, validation_section
from flows.reports.plain.files import PlainFiles, read_files
from flows.reports.plain.results import results_section
from flows.reports.training.page import Section, write_training_page

SECTIONS: tuple[Section[PlainFiles], ...] = (
    ("results", "Results", results_section, "No table.md yet, so no results."),
    ("steps", "Steps", steps_section, "No step in steps.csv yet, so no loss curves."),
    ("validation", "Progress", validation_section, "No row in evaluations.csv yet, so nothing measured over the steps."),
)


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a training's folder, return its path; StoreError if a file is damaged or cannot be written."""
    footer = "This family brings no page of its own; its tables and curves are shown as they are."
    return write_training_page(read_files(folder), SECTIONS, headline=_best, footer=footer)


def _best(about: Mapping[str, Any]) -> tuple[str, str]:
    """Return the first measure of the kept checkpoint; its score, by which checkpoints are chosen, only if there is no other."""
    best = {name: value for name, value in (about.get("best") or {}).items() if name != "step"}
    name = next((name for name in best if name != "score"), "score")
    value = best.get(name)
    value_text = MISSING if value is None else f"{value:.6g}" if isinstance(value, float) else text(value)
    return f"Best {text(name)}", value_text
