"""One self-contained HTML page about a training: what was trained on what, how it went, how good it is, where it is wrong.

Why    A table of means hides the frames that fail; pictures alone hide that they are few
Reads  the folder of a training, see ``files``
Writes report.html in it
"""

from __future__ import annotations

from pathlib import Path

from flows.reports.semodepth.curves import steps_section, validation_section
from flows.reports.semodepth.files import SemoDepthFiles, read_files
from flows.reports.semodepth.pictures import frame_jpeg, pictures_section
from flows.reports.semodepth.results import best_error, range_section, results_section
from flows.reports.training.page import Section, write_training_page

__all__ = ["frame_jpeg", "write_report"]

SECTIONS: tuple[Section[SemoDepthFiles], ...] = (
    ("results", "Results", results_section, "No evaluation yet, so no results: depthmill evaluate measures a checkpoint."),
    ("range", "Range", range_section, "No evaluation yet, so no error by range."),
    ("frames", "Frames", pictures_section, "No evaluation/strips.npz yet, so no pictures."),
    ("steps", "Steps", steps_section, "No step in steps.csv yet, so no loss curves."),
    ("validation", "Validation", validation_section, "No row in evaluations.csv yet, so no error over the steps."),
)


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a training's folder, return its path; StoreError if a file is damaged or cannot be written."""
    footer = "Errors are means over frames of the mean over a frame's pixels, unless said otherwise."
    return write_training_page(read_files(folder), SECTIONS, headline=best_error, footer=footer)
