"""One self-contained HTML page about the training of a detector: how good it is, where it is wrong, how it got there.

Why    Average precision says how many boxes are right, not what the wrong ones look like
Reads  the folder of a training, see ``files``
Writes report.html in it
"""

from __future__ import annotations

from pathlib import Path

from flows.reports.monoddle.analysis import analysis_section
from flows.reports.monoddle.analysis_charts import analysis_plots
from flows.reports.monoddle.curves import steps_section, validation_section
from flows.reports.monoddle.files import DetectionFiles, read_files
from flows.reports.monoddle.pictures import pictures_section
from flows.reports.monoddle.results import best_precision, results_section
from flows.reports.monoddle.sheet import frame_jpeg
from flows.reports.training.page import Section, write_training_page

__all__ = ["analysis_plots", "frame_jpeg", "write_report"]

SECTIONS: tuple[Section[DetectionFiles], ...] = (
    ("precision", "Precision", results_section, "No evaluation yet, so no average precision."),
    ("analysis", "Where it is wrong", analysis_section, "No objects and cameras kept, so no analysis of what is wrong."),
    ("frames", "Frames", pictures_section, "No evaluation/pictures.npz, so no pictures."),
    ("steps", "Steps", steps_section, "No step in steps.csv yet, so no loss curves."),
    ("validation", "Progress", validation_section, "No row in evaluations.csv yet, so no precision over the steps."),
)


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a training's folder, return its path; StoreError if a file is damaged or cannot be written."""
    footer = "Average precision as the KITTI object benchmark defines it, with exact overlaps."
    return write_training_page(read_files(folder), SECTIONS, headline=best_precision, footer=footer)
