from __future__ import annotations

import pytest

from flows.reports.mim4d.probes import probes_section
from model.mim4d.probes.depth_probe import DepthRow
from model.mim4d.probes.occupancy_probe import OccupancyRow
from model.mim4d.probes.probe_files import PROBES_FILE, ProbeAbout, ProbeResults, write_probes
from storage_schemas.errors import StoreError


def results(trained: float, precision: float) -> ProbeResults:
    about = ProbeAbout("train", "val", 40, 1234, 7, 8, 0, {"steps": 300})
    errors = {"trained": trained, "random": 0.3, "row_median": 0.4, "median": 0.5}
    depth = [DepthRow(name, "all", 900, error, 4.0, 0.5) for name, error in errors.items()]
    depth += [DepthRow(name, "10-20", 300, error + 0.05, 4.0, 0.5) for name, error in errors.items()]
    scores = {"trained": precision, "random": 0.2, "voxel_frequency": 0.4}
    occupancy = [OccupancyRow(name, 2000, 100, 0.7, score - 0.1, score) for name, score in scores.items()]
    return ProbeResults(about, depth, occupancy)


def test_section_when_there_are_no_probes_then_none(tmp_path):
    assert probes_section(tmp_path) is None


def test_section_when_probed_then_every_row_with_its_numbers_and_words(tmp_path):
    write_probes(tmp_path, results(0.2, 0.6))
    html = probes_section(tmp_path)
    assert html is not None and html.startswith('<section id="probes"')
    for words in (
        "This training",
        "Random weights",
        "No features: median of the image row",
        "No features: frequency of the voxel",
    ):
        assert words in html
    assert "0.200" in html and "0.300" in html and "0.500" in html and "<svg" in html
    assert "1,234 LiDAR points" in html and "7 clips" in html and "2,000 voxels" in html
    assert "5.0\N{NO-BREAK SPACE}%" in html  # of the voxels are occupied
    assert "tell no more than" not in html


@pytest.mark.parametrize(
    ("trained", "precision", "words"),
    [
        (0.35, 0.6, "Of depth the trained features tell no more than: Random weights."),
        (0.2, 0.3, "Of occupancy the trained features tell no more than: No features: frequency of the voxel."),
    ],
)
def test_section_when_a_control_is_better_then_said(tmp_path, trained, precision, words):
    write_probes(tmp_path, results(trained, precision))
    html = probes_section(tmp_path)
    assert html is not None and words in html


def test_section_when_the_probes_are_damaged_then_the_file_is_named(tmp_path):
    write_probes(tmp_path, results(0.2, 0.6))
    (tmp_path / "probe" / PROBES_FILE).write_text("{")
    with pytest.raises(StoreError, match=r"probes\.json' cannot be read"):
        probes_section(tmp_path)
