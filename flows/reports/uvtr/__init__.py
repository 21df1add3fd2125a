"""One self-contained HTML page about the training of a detector of all cameras: how good it is, what misleads, what it finds.

Why    mAP says how many boxes are right, not what the wrong ones look like, nor which classes were there at all
Reads  the folder of a training, see ``files``
Writes report.html in it
"""

from __future__ import annotations

from pathlib import Path

from flows.reports.training.page import Section, write_training_page
from flows.reports.uvtr.curves import steps_section, validation_section
from flows.reports.uvtr.files import BoxFiles, read_files
from flows.reports.uvtr.pictures import frame_jpeg, pictures_section
from flows.reports.uvtr.results import best_precision, groups_section, metric_section

__all__ = ["frame_jpeg", "write_report"]

SECTIONS: tuple[Section[BoxFiles], ...] = (
    ("metric", "Metric", metric_section, "No evaluation yet, so no metric."),
    ("groups", "Range", groups_section, "No evaluation yet, so nothing by range and visibility."),
    ("frames", "Key frames", pictures_section, "No evaluation/pictures.npz, so no pictures."),
    ("steps", "Steps", steps_section, "No step in steps.csv yet, so no loss curves."),
    ("validation", "Progress", validation_section, "No row in evaluations.csv yet, so no precision over the steps."),
)


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a training's folder, return its path; StoreError if a file is damaged or cannot be written."""
    footer = "The detection metric of nuScenes: level distance of the centres at 0.5, 1, 2 and 4 m."
    return write_training_page(read_files(folder), SECTIONS, headline=best_precision, footer=footer)
