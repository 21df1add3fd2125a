"""One self-contained HTML page about a pre-training: what is rendered of unseen clips, beside controls, in numbers and pictures.

Why    Rendered depth can look good by position alone; only the controls beside it and the pictures say what was learned
Reads  the folder of a training, see ``files``, and its probes
Writes report.html in it
"""

from __future__ import annotations

from pathlib import Path

from flows.reports.mim4d.curves import steps_section, validation_section
from flows.reports.mim4d.files import RenderFiles, read_files
from flows.reports.mim4d.flight import flight_section
from flows.reports.mim4d.pictures import pictures_section
from flows.reports.mim4d.probes import probes_section
from flows.reports.mim4d.results import best_rendering, range_section, results_section
from flows.reports.training.about import flat
from flows.reports.training.page import Section, write_training_page

SECTIONS: tuple[Section[RenderFiles], ...] = (
    ("rendering", "Rendering", results_section, "No evaluation yet, so no rendered depth and colour."),
    ("range", "Range", range_section, "No evaluation yet, so no error by range."),
    (
        "probes",
        "Probes",
        lambda training: probes_section(training.folder),
        "No probe/probes.json yet, so no probes of the backbone: depthmill train makes them last.",
    ),
    ("pictures", "Pictures", pictures_section, "No evaluation/rendered_views.npz, so no pictures."),
    ("flight", "Fly-through", flight_section, "No fly-through in evaluation/rendered_views.npz."),
    ("steps", "Steps", steps_section, "No step in steps.csv yet, so no loss curves."),
    ("validation", "Progress", validation_section, "No row in evaluations.csv yet, so no rendering over the steps."),
)

SWITCHES = {
    "probes": ("probe.steps",),
    "pictures": ("evaluation.num_pictures",),
    "flight": ("evaluation.num_pictures", "evaluation.flight_frames"),
}
"""By anchor the keys of the configuration any of which, at 0, says that the section is not wanted."""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a training's folder, return its path; StoreError if a file is damaged or cannot be written."""
    training = read_files(folder)
    config = dict(flat(training.config))
    sections = [entry for entry in SECTIONS if all(config.get(key) != 0 for key in SWITCHES.get(entry[0], ()))]
    footer = "Distances are along the ray from the camera. AbsRel is the mean of the error over the distance."
    return write_training_page(training, sections, headline=best_rendering, footer=footer)
