"""Pages are found through the name of the family: ours, those of a package, or the plain page."""

from __future__ import annotations

import pytest

from flows.reports import frame_drawer, write_training_page
from model.families import FAMILIES
from storage_schemas.plug_ins import loaded_plug_ins, plug_ins
from tests.flows.reports.plain.made_up_toy_folder import write_toy_training

PAGES = """
def write_report(folder):
    (folder / "report.html").write_text("a page of the lab")

def frame_jpeg(frame):
    return f"jpeg of {frame}".encode()
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """An installed package that brings pages of family ``lab``."""
    site = tmp_path / "site"
    (site / "lab_depth-1.0.dist-info").mkdir(parents=True)
    (site / "lab_depth-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: lab-depth\nVersion: 1.0\n")
    (site / "lab_depth-1.0.dist-info/entry_points.txt").write_text("[depthmill.reports]\nlab = made_up_lab_pages\n")
    (site / "made_up_lab_pages.py").write_text(PAGES)
    monkeypatch.syspath_prepend(site)
    for cached in (plug_ins, loaded_plug_ins):
        cached.cache_clear()
    yield
    for cached in (plug_ins, loaded_plug_ins):
        cached.cache_clear()


@pytest.mark.parametrize("family", ["toy", "store", "html", "a.b"])
def test_page_when_the_family_brings_none_then_the_plain_one_whatever_it_is_called(tmp_path, family):
    folder = write_toy_training(tmp_path / "t")
    write_training_page(family, folder)
    assert "This family brings no page of its own" in (folder / "report.html").read_text(encoding="utf-8")
    assert frame_drawer(family) is None


def test_page_when_a_package_brings_one_then_it_is_used(tmp_path, lab):
    write_training_page("lab", tmp_path)
    assert (tmp_path / "report.html").read_text() == "a page of the lab"
    assert frame_drawer("lab")("frame") == b"jpeg of frame"


def test_frames_when_families_are_ours_then_those_that_predict_draw_them():
    draws = {family.name: frame_drawer(family.name) is not None for family in FAMILIES}
    assert draws == {family.name: family.predicts for family in FAMILIES} and True in draws.values()
