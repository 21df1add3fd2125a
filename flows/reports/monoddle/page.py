"""Put the sections of a detector's page together; a section whose file is not there yet is one sentence.

Reads  DetectionFiles
Writes report.html
"""

from __future__ import annotations

from pathlib import Path

from flows.reports.monoddle.detection_curves import detection_steps_section, precision_curves_section
from flows.reports.monoddle.detection_files import DetectionFiles, read_detection_files
from flows.reports.monoddle.frames_section import detection_frames_section
from flows.reports.monoddle.precision_section import best_precision, precision_section
from flows.reports.semodepth.page import PAGE_FILE, sections_html
from flows.reports.store.page import write_page

SECTIONS = (
    ("precision", "Precision", precision_section, "No evaluation yet, so no average precision."),
    ("frames", "Frames", detection_frames_section, "No evaluation/pictures.npz, so no pictures."),
    ("steps", "Steps", detection_steps_section, "No step in steps.csv yet, so no loss curves."),
    ("validation", "Progress", precision_curves_section, "No row in evaluations.csv yet, so no precision over the steps."),
)
"""Anchor, words of the table of contents, what makes the section, and what is said where its file is missing."""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a detector's training and return its path; replaced if it exists.

    Raises:
        StoreError: not the folder of a training, a file is damaged, or the page cannot be written.
    """
    return write_page(folder / PAGE_FILE, report_html(read_detection_files(folder)))


def report_html(found: DetectionFiles) -> str:
    """Return the page as text."""
    footer = "Average precision as the KITTI object benchmark defines it, with exact overlaps."
    return sections_html(found, SECTIONS, footer=footer, headline=best_precision)
