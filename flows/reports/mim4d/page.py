"""Put the sections of a pre-training's page together; a section whose file is not there yet is one sentence.

Reads  RenderFiles
Writes report.html
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flows.reports.mim4d.depth_range_section import depth_range_section
from flows.reports.mim4d.flight_section import flight_section
from flows.reports.mim4d.probes_section import probes_section
from flows.reports.mim4d.render_curves import render_progress_section, render_steps_section
from flows.reports.mim4d.render_files import RenderFiles, read_render_files
from flows.reports.mim4d.rendering_section import best_rendering, rendering_section
from flows.reports.mim4d.views_section import views_section
from flows.reports.semodepth.about_section import flat
from flows.reports.semodepth.page import PAGE_FILE, sections_html
from flows.reports.store.page import write_page

SECTIONS: tuple[tuple[str, str, Callable[[RenderFiles], str | None], str], ...] = (
    ("rendering", "Rendering", rendering_section, "No evaluation yet, so no rendered depth and colour."),
    ("range", "Range", depth_range_section, "No evaluation yet, so no error by range."),
    (
        "probes",
        "Probes",
        lambda found: probes_section(found.folder),
        "No probe/probes.json yet, so no probes of the backbone: depthmill train makes them last.",
    ),
    ("pictures", "Pictures", views_section, "No evaluation/rendered_views.npz, so no pictures."),
    ("flight", "Fly-through", flight_section, "No fly-through in evaluation/rendered_views.npz."),
    ("steps", "Steps", render_steps_section, "No step in steps.csv yet, so no loss curves."),
    ("validation", "Progress", render_progress_section, "No row in evaluations.csv yet, so no rendering over the steps."),
)
"""Anchor, words of the table of contents, what makes the section, and what is said where its file is missing."""

SWITCHES = {
    "probes": ("probe.steps",),
    "pictures": ("evaluation.num_pictures",),
    "flight": ("evaluation.num_pictures", "evaluation.flight_frames"),
}
"""By anchor the keys of the configuration any of which, at 0, says that the section is not wanted."""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a pre-training and return its path; replaced if it exists.

    Raises:
        StoreError: not the folder of a training, a file is damaged, or the page cannot be written.
    """
    return write_page(folder / PAGE_FILE, report_html(read_render_files(folder)))


def report_html(found: RenderFiles) -> str:
    """Return the page as text."""
    footer = "Distances are along the ray from the camera. AbsRel is the mean of the error over the distance."
    config = dict(flat((found.about or {}).get("config") or {}))
    wanted = [one for one in SECTIONS if all(config.get(key) != 0 for key in SWITCHES.get(one[0], ()))]
    return sections_html(found, wanted, footer=footer, headline=best_rendering)
