from __future__ import annotations

import base64
import io
import os
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from pipeline.plan import Plan
from pipeline.report import chosen_frames, depth_errors, pixel_statistics, report_html, write_report
from pipeline.report.colormap import DROPPED, depth_colors
from pipeline.report.facts import even_choice, gather_facts
from pipeline.report.pictures import draw_points
from pipeline.stages import STAGES
from pipeline.types import ALL, WorkItem
from storage_schemas.catalog import MANIFEST, SURFACES
from storage_schemas.errors import StoreError
from storage_schemas.layout import UnitData, columns_from_rows
from storage_schemas.lineage import Identity, SourceRef
from storage_schemas.store import Store

HEIGHT, WIDTH, NUM_FRAMES = 48, 80, 6
DEPTHS = ("depth_single", "depth_accumulated", "depth_clean", "depth_truth")


def fabricated_maps(seed: int) -> dict[str, np.ndarray]:
    """Maps with ghosts before the truth, some of which cleaning removes, and a few good pixels lost."""
    random = np.random.default_rng(seed)
    shape = (NUM_FRAMES, HEIGHT, WIDTH)
    truth = random.uniform(3, 120, shape)
    truth[:, :8] = 0
    accumulated = np.where(truth > 0, truth + random.normal(0, 0.2, shape), 0)
    ghost = random.random(shape) < 0.06
    accumulated[ghost] = random.uniform(4, 60, int(ghost.sum()))
    accumulated[random.random(shape) > 0.5] = 0
    clean = accumulated * ~(ghost & (random.random(shape) < 0.7)) * (random.random(shape) > 0.01)
    single = np.where(random.random(shape) < 0.03, accumulated, 0)
    surface = random.integers(1, 5, shape).astype(np.uint8)
    surface[truth == 0] = 0
    steps = {
        name: (np.clip(m, 0, 255) * 256).astype(np.uint16)
        for name, m in zip(DEPTHS, (single, accumulated, clean, truth), strict=True)
    }
    return {**steps, "surface": surface}


def jpeg_bytes(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(buffer, "JPEG")
    return buffer.getvalue()


class Fabric:
    """Writes units of a made-up store and collects the plan that asks for them."""

    def __init__(self, root) -> None:
        self.store, self.items = Store(root), []
        self.times = np.arange(NUM_FRAMES, dtype=np.int64) * 500_000 + 1_600_000_000_000_000

    def add(self, layout: str, scene: str, camera: str, data: UnitData | None, *, seconds=0.25, **counts: float) -> None:
        stage = next(stage for stage in STAGES if stage.writes.name == layout)
        identity = Identity(
            stage=stage.name,
            stage_version=1,
            layout=layout,
            layout_version=stage.writes.version,
            scene=scene,
            camera=camera,
            params={"note": "<b>5</b>"},
            inputs={},
            source=SourceRef(release="made/up", digest="0"),
        )
        if data is not None:
            self.store.write_unit(identity, data, seconds=seconds, counts={"frames": NUM_FRAMES, **counts})
        self.items.append(WorkItem(stage.name, identity, {}, None if data is not None else "new"))

    def add_scene(self, scene: str, seed: int, *, truth=True, radar=True, mode="bytes", night=False) -> dict[str, np.ndarray]:
        maps, common = fabricated_maps(seed), {"timestamp_us": self.times}
        frames = {
            "keyframes": [],
            "sweeps": [],
            "boxes": [],
            "scene": [{"scene": scene, "split": "val", "description": "", "is_night": night, "num_keyframes": NUM_FRAMES}],
        }
        layout = next(stage.writes for stage in STAGES if stage.writes.name == "frames")
        tables = {name: columns_from_rows(layout.table(name), found) for name, found in frames.items()}
        self.add("frames", scene, ALL, UnitData(tables=tables))
        images = [jpeg_bytes(seed + k) for k in range(NUM_FRAMES)]
        sizes = np.array([len(one) for one in images], np.int32)
        encoded = np.zeros((NUM_FRAMES, sizes.max()), np.uint8)
        for k, one in enumerate(images):
            encoded[k, : len(one)] = np.frombuffer(one, np.uint8)
        files = {"file": ["f"] * NUM_FRAMES, "num_bytes": sizes.tolist(), "sha256": [""] * NUM_FRAMES}
        self.add(
            "images",
            scene,
            "CAM_FRONT",
            UnitData({**common, "num_bytes": sizes, **({"encoded": encoded} if mode == "bytes" else {})}, {"files": files}),
        )
        if radar:
            of = np.repeat(np.arange(NUM_FRAMES, dtype=np.int32), 3)
            n = len(of)
            points = {
                "u_px": np.linspace(5, 70, n),
                "v_px": np.full(n, 20.0),
                "depth_m": np.linspace(3, 90, n),
                "rcs_dbsm": np.zeros(n, "f4"),
                "vx_comp_mps": np.zeros(n, "f4"),
                "vy_comp_mps": np.zeros(n, "f4"),
                "sensor": np.zeros(n, "u1"),
                "frame_of_point": of,
                "num_points": np.full(NUM_FRAMES, 3, np.int32),
            }
            self.add("radar_points", scene, "CAM_FRONT", UnitData({**common, **points}), points_per_frame=3.0)
        for name in DEPTHS if truth else DEPTHS[:3]:
            num = np.count_nonzero(maps[name], axis=(1, 2)).astype(np.int32)
            more = {
                "depth_accumulated": {"num_sweeps": num, "num_points": num.astype(np.int64)},
                "depth_truth": {"surface": maps["surface"]},
                "depth_clean": dict.fromkeys(("num_candidates", "num_by_mono", "num_by_window"), num * 0),
            }.get(name, {})
            if name == "depth_clean":
                more["num_dropped"] = (np.count_nonzero(maps["depth_accumulated"], axis=(1, 2)) - num).astype(np.int32)
            self.add(
                name,
                scene,
                "CAM_FRONT",
                UnitData({"depth_m": maps[name], "num_measured": num, **common, **more}),
                share_measured=float(num.mean() / (HEIGHT * WIDTH)),
                share_dropped=0.01,
            )
        return maps

    def plan(self, *, samples: int = 0, built: bool = True) -> Plan:
        spec = MANIFEST.table("samples")
        rows = [
            {
                column.name: [1.0] if column.type.startswith("list") else "" if column.type == "string" else 0
                for column in spec.columns
            }
            for _ in range(samples)
        ]
        for row in rows:
            row.update(scene="scene-a", camera="CAM_FRONT", split="train", is_night=False)
        self.add("manifest", ALL, ALL, UnitData(tables={"samples": columns_from_rows(spec, rows)}) if built else None)
        return Plan(tuple(self.items))


@pytest.fixture
def fabric(tmp_path) -> Fabric:
    return Fabric(tmp_path / "store")


def words(page: str) -> str:
    """The page's text as a reader sees it."""
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S).replace("\N{NO-BREAK SPACE}", " "))


def pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def plainly(before, after, truth) -> dict[str, float]:
    """The definitions once more, in metres and floating point, as the README words them."""
    old, new, true = (values.astype(float) / 256 for values in (before, after, truth))
    wrong = [(m > 0) & ((true == 0) | ((abs(m - true) > 10) & (abs(m - true) > 0.1 * true))) for m in (old, new)]
    good = (old > 0) & ~wrong[0]
    with_truth = (old > 0) & (true > 0)
    return {
        "before": wrong[0].sum() / (old > 0).sum(),
        "after": wrong[1].sum() / (new > 0).sum(),
        "good_lost": (good & (new == 0)).sum() / good.sum(),
        "removed": (wrong[0] & (new == 0)).sum() / wrong[0].sum(),
        "median": np.median(abs(old - true)[with_truth]),
        "coverage": (old > 0).mean(),
    }


def same_as_plainly(group: depth_errors.BeforeAfter, want: dict[str, float]) -> bool:
    got = {
        "before": group.before.gross_share,
        "after": group.after.gross_share,
        "good_lost": group.good_lost_share,
        "removed": group.gross_removed_share,
        "median": group.before.median_error_m,
        "coverage": group.before.coverage,
    }
    return got == pytest.approx(want, rel=1e-12)


def test_compare_with_truth_when_counted_plainly_then_equal_in_total_and_in_every_group():
    maps = fabricated_maps(3)
    before, after, truth, surface = (maps[name] for name in (*DEPTHS[1:], "surface"))
    found = depth_errors.compare_with_truth(before, after, truth, surface)
    assert same_as_plainly(found.total, plainly(before, after, truth))
    for number, name in enumerate(SURFACES[1:], start=1):
        own = surface == number
        assert same_as_plainly(found.by_surface[name], plainly(before[own], after[own], truth[own]))
    for name, low, high in zip(depth_errors.RANGES, (0, 20, 40, 80), (20, 40, 80, 999), strict=False):
        own = (truth > 0) & (truth >= low * 256) & (truth < high * 256)
        assert same_as_plainly(found.by_range[name], plainly(before[own], after[own], truth[own]))
    assert found.by_range["sky"].before.gross_share == 1.0


def test_compare_with_truth_when_frames_are_added_then_equals_all_at_once():
    maps = fabricated_maps(4)
    stack = [maps[name] for name in (*DEPTHS[1:], "surface")]
    parts = [depth_errors.compare_with_truth(*(values[frame] for values in stack)) for frame in range(NUM_FRAMES)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    whole = depth_errors.compare_with_truth(*stack)
    for group, want in [(total.total, whole.total), *((total.by_range[name], whole.by_range[name]) for name in whole.by_range)]:
        assert np.array_equal(group.before.error_counts, want.before.error_counts)
        assert (group.num_good_lost, group.after.num_gross) == (want.num_good_lost, want.after.num_gross)


@pytest.mark.parametrize(
    ("depth_m", "truth_m", "expected"),
    [
        (40, 50, False),
        (39.9, 50, True),
        (110, 120, False),
        (131, 120, False),
        (133, 120, True),
        (5, 0, True),
        (0, 0, False),
        (0, 50, False),
    ],
)
def test_is_gross_when_at_the_border_then_both_conditions_must_exceed(depth_m, truth_m, expected):
    steps, truth = np.array([depth_m * 256], np.uint16), np.array([truth_m * 256], np.uint16)
    assert depth_errors.is_gross(steps, truth)[0] == expected


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.uint16, st.integers(1, 40)), st.data())
def test_median_error_when_any_values_then_equals_numpy(steps, data):
    truth = data.draw(arrays.arrays(np.uint16, steps.shape))
    seen = (steps > 0) & (truth > 0)
    want = np.median(abs(steps.astype(int) - truth)[seen]) / 256 if seen.any() else np.nan
    found = depth_errors.compare_with_truth(steps, steps, truth).total
    assert found.before.median_error_m == pytest.approx(want, nan_ok=True)
    assert found.num_good_lost == found.num_gross_removed == 0


def test_compare_with_truth_when_shapes_differ_then_the_error_names_them():
    with pytest.raises(ValueError, match=r"one shape, got before \(2, 2\), after \(2, 3\)"):
        depth_errors.compare_with_truth(np.zeros((2, 2), "u2"), np.zeros((2, 3), "u2"), np.zeros((2, 2), "u2"))


def test_compare_with_sweep_when_maps_are_the_sweep_then_nothing_differs():
    single = fabricated_maps(1)["depth_single"]
    found = depth_errors.compare_with_sweep(single, single, single)
    assert found.before.num_measured == np.count_nonzero(single)
    assert found.before.num_gross == found.before.median_error_m == 0


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

    from pipeline.report import page

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


def test_draw_points_when_points_meet_then_the_higher_priority_is_seen():
    canvas, mask = np.zeros((3, 3, 3), np.uint8), np.ones((6, 6), bool)
    drawn = draw_points(canvas, mask, np.arange(36, dtype=np.uint16), np.arange(36, dtype=np.uint8)[:, None].repeat(3, axis=1), 0)
    assert drawn.all() and canvas[0, 0, 0] == 7 and canvas[2, 2, 0] == 35


def test_depth_colors_when_near_then_warm_when_far_then_cool_and_never_the_mark():
    near, far = depth_colors(np.array([2.0, 80.0])).astype(int)
    assert near[0] > near[2] + 100 and far[2] > far[0] + 80
    everything = depth_colors(np.geomspace(1, 255, 500)).astype(int)
    assert np.abs(everything - np.array(DROPPED)).sum(axis=1).min() > 150


@pytest.mark.real_data
def test_write_report_when_real_drive_then_under_five_seconds(shared, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(
        shared / "data/kitti0001-as-nuscenes", stages={"accumulate_lidar": {"moving": "keep", "num_sweeps": 20}}
    )
    code, said = depthmill("run", recipe, "--no-prefect", "--workers", "1", "--no-report")
    assert code == 0, said
    start = time.perf_counter()
    code, said = depthmill("report", recipe, "--out", tmp_path / "r.html")
    assert code == 0 and time.perf_counter() - start < 5.0, said
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert len(page) < 6_000_000 and len(pictures(page)) >= 12 and "radar returns" in page


def test_gross_errors_when_split_by_side_then_near_and_far_are_told_apart():
    truth = np.array([[40 * 256, 40 * 256, 40 * 256, 0, 40 * 256]], np.uint16)
    before = np.array([[10 * 256, 80 * 256, 41 * 256, 9 * 256, 0]], np.uint16)
    after = np.array([[0, 80 * 256, 41 * 256, 9 * 256, 0]], np.uint16)
    total = depth_errors.compare_with_truth(before, after, truth).total
    assert (total.before.num_gross, total.before.num_gross_near) == (3, 2)
    assert (total.after.num_gross, total.after.num_gross_near) == (2, 1)
    assert (total + total).before.num_gross_near == 4
