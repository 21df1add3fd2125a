from __future__ import annotations

import io
import os
import re

import numpy as np
import pytest
from PIL import Image

from flows.reports.store import chosen_frames, depth_errors, pixel_statistics, report_html, write_report
from flows.reports.store.chosen_frames import FrameContent
from flows.reports.store.facts import even_choice, gather_facts
from flows.reports.store.pictures import frame_panels
from storage_schemas.errors import StoreError
from tests.flows.reports.store.made_up_report import (
    DEPTHS,
    NUM_FRAMES,
    Fabric,
    jpeg_bytes,
    pictures,
    plainly,
    words,
)


@pytest.fixture
def fabric(tmp_path) -> Fabric:
    return Fabric(tmp_path / "store")


def test_write_report_when_truth_is_known_then_the_page_holds_the_independent_numbers(fabric, tmp_path):
    maps = [fabric.add_scene("scene-a", 1), fabric.add_scene("scene-b", 2, night=True)]
    out = write_report(fabric.plan(samples=3), fabric.store, tmp_path / "r.html", title="A <b> title")
    page = out.read_text(encoding="utf-8")
    want = plainly(*(np.stack([one[name] for one in maps]) for name in DEPTHS[1:]))
    shown = words(page)
    assert f"Gross errors {100 * want['before']:.2f} % → {100 * want['after']:.2f} %" in shown
    assert f"Good pixels lost {100 * want['good_lost']:.2f} %" in shown
    assert f"Gross errors removed {100 * want['removed']:.1f} %" in shown
    for name in ("moving annotated", "40-80 m", "sky", "1 day, 1 night", "train", "made/up"):
        assert name in shown
    assert "A &lt;b&gt; title" in page and "&lt;b&gt;5&lt;/b&gt;" in page and "<b>5</b>" not in page
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_write_report_when_opened_alone_then_needs_nothing_else(fabric):
    fabric.add_scene("scene-a", 1)
    page = report_html(fabric.plan(), fabric.store, title="t")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/|#)""", page)
    assert not re.search(r"https?://|@import|<script|<link|url\((?!#)", page)
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors and anchors <= set(re.findall(r'id="([^"]+)"', page))
    assert page.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', page)) > 0
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_write_report_when_frames_are_shown_then_the_pictures_are_the_units_content(fabric):
    maps = fabric.add_scene("scene-a", 7)
    page = report_html(fabric.plan(), fabric.store, title="t")
    assert "<code>depthmill view RECIPE SCENE</code>" in page
    first = pictures(page)[0]
    camera = np.asarray(Image.open(io.BytesIO(jpeg_bytes(7))).convert("RGB"))
    outside = np.s_[26:, :]  # below the radar circles
    assert np.abs(first[outside].astype(int) - camera[outside]).mean() < 6
    for frame in (0, (NUM_FRAMES - 1) // 2, NUM_FRAMES - 1):
        assert f"scene-a/CAM_FRONT/{fabric.times[frame]}" in page
    dropped = np.count_nonzero(maps["depth_accumulated"][0]) - np.count_nonzero(maps["depth_clean"][0])
    assert f"{dropped:,} dropped" in words(page)
    gross = np.count_nonzero(depth_errors.is_gross(maps["depth_clean"][0], maps["depth_truth"][0]))
    assert f"Error of clean : {gross:,} gross errors" in words(page)


def test_write_report_when_the_truth_is_absent_then_the_proxy_is_labelled(fabric):
    fabric.add_scene("scene-a", 1, truth=False)
    shown = words(report_html(fabric.plan(), fabric.store, title="t"))
    assert "exact depth of these scenes is not known" in shown and "Disagree with the single sweep (proxy)" in shown
    assert "Error of" not in shown and "Good pixels lost" not in shown


def test_write_report_when_manifest_has_no_sample_radar_or_image_then_frames_come_from_units(fabric):
    fabric.add_scene("scene-a", 1, truth=False, radar=False, mode="reference")
    page = report_html(fabric.plan(samples=0), fabric.store, title="t")
    shown = words(page)
    assert "The manifest has no sample" in shown and "scenes per split: 1 val" in shown
    assert "does not hold it (pack_images mode: reference)" in shown and "radar returns per frame" not in shown
    assert len(pictures(page)) >= 4 and len(np.unique(pictures(page)[0])) < 6  # a plain canvas


def test_write_report_when_only_the_index_is_there_then_still_a_page(fabric):
    fabric.add("depth_clean", "scene-a", "CAM_FRONT", None)
    shown = words(report_html(fabric.plan(), fabric.store, title="t"))
    assert "1 unit of the recipe not built yet" in shown and "No unit with frames is in the store" in shown


def test_write_report_when_no_unit_is_there_then_says_run_first(fabric, tmp_path):
    fabric.add("depth_clean", "scene-a", "CAM_FRONT", None)
    with pytest.raises(StoreError, match=r"nothing to report yet: no unit of this recipe is in store .* Run depthmill run with"):
        write_report(fabric.plan(built=False), fabric.store, tmp_path / "r.html", title="t")
    assert not (tmp_path / "r.html").exists()


def test_write_report_when_some_units_failed_then_shows_what_is_there_and_says_so(fabric):
    fabric.add_scene("scene-a", 1)
    fabric.add("depth_clean", "scene-b", "CAM_FRONT", None)
    shown = words(report_html(fabric.plan(built=False), fabric.store, title="t"))
    assert "Manifest not built yet" in shown
    assert "2 units of the recipe not built yet; this page shows what is there" in shown


def test_write_report_when_the_target_is_wrong_then_the_error_says_what_to_do(fabric, tmp_path):
    plan = fabric.plan()
    with pytest.raises(StoreError, match=r"folder '.*missing' does not exist. Create it"):
        write_report(plan, fabric.store, tmp_path / "missing" / "r.html", title="t")
    with pytest.raises(StoreError, match=r"it is a folder. Give --out a file name"):
        write_report(plan, fabric.store, tmp_path, title="t")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("ENOSPC", "no space left on the device. Free some space"),
        ("EACCES", "permission denied. Choose an --out"),
        ("EIO", "Choose another"),
    ],
)
def test_write_report_when_the_disk_refuses_then_the_old_page_stays(fabric, tmp_path, monkeypatch, number, text):
    import errno

    from flows.reports.html import page

    out = tmp_path / "r.html"
    out.write_text("old")
    code = getattr(errno, number)

    def refuse(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    plan = fabric.plan()
    monkeypatch.setattr(page.Path, "replace", refuse)
    with pytest.raises(StoreError, match=text):
        write_report(plan, fabric.store, out, title="t")
    assert out.read_text() == "old" and sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "store"]


def test_measure_pixels_when_there_are_many_frames_then_a_sample_is_taken_and_said(fabric, monkeypatch):
    for number in range(3):
        fabric.add_scene(f"scene-{number}", number, radar=False)
    monkeypatch.setattr(pixel_statistics, "MAX_SCENES", 2)
    monkeypatch.setattr(pixel_statistics, "MAX_FRAMES", 5)
    plan = fabric.plan()
    found = pixel_statistics.measure_pixels(fabric.store, gather_facts(plan, fabric.store).views)
    assert (found.num_scenes, found.num_scenes_there, found.num_frames, found.num_frames_there) == (2, 3, 5, 2 * NUM_FRAMES)
    assert set(found.truth_of_scene) == {"scene-0", "scene-2"}
    assert "2 of 3 scenes, and 5 of 12 frames" in words(report_html(plan, fabric.store, title="t"))


def test_worst_frames_when_one_frame_is_worst_then_it_is_chosen_and_neighbours_are_not(fabric):
    fabric.add_scene("scene-a", 1)
    views = gather_facts(fabric.plan(), fabric.store).views
    shares = [0.1, 0.5, 0.9, 0.8, 0.2, 0.85]
    frames = [pixel_statistics.FrameNumbers(views[0], frame, 0, share) for frame, share in enumerate(shares)]
    chosen = chosen_frames.worst_frames(fabric.store, views, frames, [])
    assert chosen[0].frame == 2 and chosen[0].why == "worst: 90.0 % gross errors"
    assert all(abs(one.frame - other.frame) >= chosen_frames.APART for one in chosen for other in chosen if one is not other)


def test_even_choice_when_more_than_wanted_then_keeps_both_ends():
    assert even_choice(range(100), 4) == [0, 33, 66, 99] and even_choice([1, 2], 5) == [1, 2]


@pytest.mark.real_data
def test_write_report_when_real_drive_then_shows_its_pictures(shared, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(
        shared / "data/kitti0001-as-nuscenes", stages={"accumulate_lidar": {"moving": "keep", "num_sweeps": 20}}
    )
    code, said = depthmill("run", recipe, "--no-prefect", "--workers", "1", "--no-report")
    assert code == 0, said
    code, said = depthmill("report", recipe, "--out", tmp_path / "r.html")
    assert code == 0, said
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert len(page) < 6_000_000 and len(pictures(page)) >= 12 and "radar returns" in page


def test_error_pictures_when_cleaning_leaves_few_gross_errors_then_they_are_drawn_as_before_cleaning():
    truth = np.full((60, 100), 256 * 50, np.uint16)
    before, after = truth.copy(), truth.copy()
    before[:6, :] = after[:1, ::50] = 256 * 5  # 10 % of the pixels, then 2 pixels
    key = FrameContent("k", None, {"depth_accumulated": before, "depth_clean": after, "depth_truth": truth}, None, "")
    pictured = {panel.title: np.asarray(panel.picture) for panel in frame_panels(key)}
    marks = {name: np.count_nonzero(one[..., 0] > one[..., 2] + 60) for name, one in pictured.items() if "Error" in name}
    assert marks == {"Error of accumulated": 600, "Error of clean": 2}
