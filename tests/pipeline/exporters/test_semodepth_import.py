from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.run.interchange import import_warnings
from pipeline.exporters import semodepth_lists
from pipeline.exporters.semodepth import export_semodepth, import_semodepth
from storage_schemas.catalog import MANIFEST
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData, check
from storage_schemas.store import Store
from tests.pipeline.exporters.made_up_store import NoRaw, build, lines

TRAIN = "training/nuscenes/nuscenes_train_{}.txt"


def test_import_when_done_then_the_manifest_is_whole_and_the_unknown_is_visible(exported, tmp_path):
    before, out = exported
    manifest = import_semodepth(out, Store(tmp_path / "store2"))
    check(MANIFEST, UnitData(tables={"samples": manifest.samples}), where="imported")
    sizes = {row["frame_key"]: (row["height"], row["width"], row["split"]) for row in manifest.rows()}
    assert sizes == {row["frame_key"]: (row["height"], row["width"], row["split"]) for row in before.rows()}
    row = manifest.rows()[0]
    assert (row["intrinsic_px"], row["world_from_cam"], row["sample_token"], row["num_radar_points"]) == ([], [], "", 0)
    radar = manifest.store.read_unit(manifest.unit_of(row, "radar_points"))
    assert np.isnan(radar.arrays["rcs_dbsm"]).all()
    accumulated = manifest.store.read_unit(manifest.unit_of(row, "depth_accumulated"))
    assert row["coverage_accumulated"] == accumulated.arrays["num_measured"][0] / (8 * 12)
    assert (accumulated.arrays["num_sweeps"] == -1).all()
    val = next(row for row in manifest.rows() if row["split"] == "val")
    assert val["unit_depth_clean"] is None and val["num_dropped"] is None and val["unit_depth_single"]
    identity = manifest.store.lineage(manifest.path).identity
    assert (identity.stage, identity.stage_version, identity.params, identity.source.release) == (
        "import_semodepth", 1, {}, "semodepth-layout")  # fmt: skip
    assert all(manifest.store.has(path) for path in manifest.named_units())


def test_import_when_repeated_then_it_is_the_same_manifest_and_nothing_is_written(exported, tmp_path):
    _, out = exported
    first = import_semodepth(out, Store(tmp_path / "store2"))
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "store2").rglob("*") if path.is_file()}
    assert import_semodepth(out, Store(tmp_path / "store2")).path == first.path
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store2").rglob("*") if path.is_file()} == stamps


def test_import_when_num_dropped_can_be_counted_then_it_is(tmp_path):
    manifest, _ = build(tmp_path / "store")
    export_semodepth(manifest, NoRaw(), tmp_path / "out")
    path = Path(lines(tmp_path / "out", "train", "D_acc_160clean")[1])
    steps = np.array(Image.open(path))
    accumulated = np.array(Image.open(lines(tmp_path / "out", "train", "D_acc")[1]))
    steps[:] = accumulated
    y, x = np.argwhere(accumulated)[0]
    steps[y, x] = 0
    Image.fromarray(steps).save(path)
    assert import_semodepth(tmp_path / "out", Store(tmp_path / "s")).rows()[1]["num_dropped"] == 1


def write_public(folder: Path, names: list[str], *, lists=("image", "D_gt"), split="train") -> None:
    """A folder as the public scripts make it: lists that name files anywhere, all of 12x8."""
    long = {"train": "training", "val": "validation"}[split]
    (folder / long / "nuscenes").mkdir(parents=True)
    for name in lists:
        paths = []
        for stem in names:
            path = folder.parent / "elsewhere" / name / f"{stem}{'.jpg' if name == 'image' else '.png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((8, 12), np.uint8 if name == "image" else np.uint16)).save(path)
            paths.append(str(path))
        (folder / long / "nuscenes" / f"nuscenes_{split}_{name}.txt").write_text("\n".join(paths) + "\n")


def test_import_when_names_are_flat_then_scenes_begin_where_log_or_time_jumps(tmp_path):
    front = [f"{log}__CAM_FRONT__{time}" for log, time in (("a", 1000000), ("a", 1500000), ("a", 9000000), ("b", 9500000))]
    write_public(tmp_path / "in", [*front, "b__CAM_BACK__9500000"])
    rows = import_semodepth(tmp_path / "in", Store(tmp_path / "s")).rows()
    assert [row["frame_key"] for row in rows] == [
        "imported-train-0001/CAM_FRONT/1000000", "imported-train-0001/CAM_FRONT/1500000", "imported-train-0002/CAM_FRONT/9000000",
        "imported-train-0003/CAM_FRONT/9500000", "imported-train-0004/CAM_BACK/9500000"]  # fmt: skip
    assert [row["frame"] for row in rows] == [0, 1, 0, 0, 0]
    assert all(row["unit_radar_points"] is None and row["unit_depth_accumulated"] is None for row in rows)


def test_import_when_names_hold_no_time_then_the_line_number_is_the_time(tmp_path):
    write_public(tmp_path / "in", ["one", "two", "three"], split="val")
    rows = import_semodepth(tmp_path / "in", Store(tmp_path / "s")).rows()
    assert [row["frame_key"] for row in rows] == [f"imported-val-0001/CAM_FRONT/{k}" for k in (1, 2, 3)]


def test_import_when_a_scene_is_long_then_it_is_cut_into_parts_and_keeps_its_order(tmp_path, monkeypatch):
    monkeypatch.setattr(semodepth_lists, "MAX_FRAMES", 2)
    write_public(tmp_path / "in", [f"f{k}" for k in range(5)])
    rows = import_semodepth(tmp_path / "in", Store(tmp_path / "s")).rows()
    parts = [("", 0), ("", 1), ("-part2", 0), ("-part2", 1), ("-part3", 0)]
    assert [(row["scene"], row["frame"]) for row in rows] == [(f"imported-train-0001{part}", frame) for part, frame in parts]


def _append(path):
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")


def _first(out, name):
    return Path(lines(out, "train", name)[0])


def _save_depth(out, shape, dtype):
    Image.fromarray(np.zeros(shape, dtype)).save(_first(out, "D_gt"))


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(("damage", "text"), [
    (lambda out: _append(out / TRAIN.format("radar")), r"train_image.txt has 5 lines, .*train_radar.txt has 6"),
    (lambda out: _first(out, "D_acc").unlink(), r"nuscenes_train_D_acc.txt line 1: '.*' does not exist"),
    (lambda out: _save_depth(out, (8, 12), np.uint8), r"D_gt.txt line 1: .* PNG of mode L, expected a 16-bit"),
    (lambda out: _save_depth(out, (9, 12), np.uint16), r"D_gt.txt line 1: .* is 12x9, its image is 12x8"),
    (lambda out: _cut_short(_first(out, "D_gt")), r"D_gt.txt line 1: .* cannot be read as a PNG"),
    (lambda out: np.save(_first(out, "radar"), np.zeros((3, 4))), r"radar.txt line 1: .* \(3, 4\), expected numbers \(n, 3\)"),
    (lambda out: np.save(_first(out, "radar"), np.array([{}])), r"radar.txt line 1: .* cannot be read as .npy"),
    (lambda out: _first(out, "image").write_bytes(b"no image"), r"train_image.txt line 1: .* cannot be read as an image"),
    (lambda out: (out / TRAIN.format("image")).unlink(), r"has .*train_radar.txt but no .*train_image.txt"),
    (lambda out: (out / TRAIN.format("D_gt")).write_text("a\n\nb\n"), r"is blank in line 2"),
])  # fmt: skip
def test_import_when_the_folder_is_damaged_then_the_error_names_list_and_line(exported, tmp_path, damage, text):
    _, out = exported
    damage(out)
    with pytest.raises(SourceError, match=text):
        import_semodepth(out, Store(tmp_path / "store2"))
    assert not (tmp_path / "store2" / "manifest").exists()


def test_import_when_a_frame_is_listed_twice_then_the_error_names_both_lines(exported, tmp_path):
    _, out = exported
    for path in (out / "training/nuscenes").iterdir():
        _append(path)
    with pytest.raises(SourceError, match=r"lines 1 and 6 of .*train_image.txt are the same frame"):
        import_semodepth(out, Store(tmp_path / "store2"))


def test_import_when_nothing_is_there_then_the_error_says_what_is_expected(tmp_path):
    with pytest.raises(SourceError, match=r"does not exist; expected one with training/nuscenes/nuscenes_train_image.txt"):
        import_semodepth(tmp_path / "nowhere", Store(tmp_path / "s"))
    with pytest.raises(SourceError, match="lists no frames"):
        import_semodepth(tmp_path, Store(tmp_path / "s"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (65535, "scene-0001: maps say the same depth at every measured pixel (depth_accumulated CAM_FRONT) (1). The sensor"),
        (0, "scene-0001: maps have no measured pixel, and others have some (depth_accumulated CAM_FRONT) (1). Check the files"),
    ],
)
def test_import_when_a_map_cannot_be_right_then_a_line_says_so_each_time(exported, tmp_path, value, said):
    _, out = exported
    Image.fromarray(np.full((8, 12), value, np.uint16)).save(_first(out, "D_acc"))
    for _ in range(2):  # the units of the second import are there already
        assert [line for line in import_warnings(import_semodepth(out, Store(tmp_path / "store2"))) if said in line]


def test_import_when_no_map_measures_anything_then_a_line_says_so(exported, tmp_path):
    _, out = exported
    for path in out.rglob("D_gt/**/*.png"):
        with Image.open(path) as image:
            size = image.size
        Image.fromarray(np.zeros(size[::-1], np.uint16)).save(path)
    text = "\n".join(import_warnings(import_semodepth(out, Store(tmp_path / "store2"))))
    assert "no pixel is measured (depth_single CAM_FRONT). Check how these maps were written" in text
    assert "depth_accumulated" not in text


@pytest.mark.parametrize("name", ["radar", "D_gt"])
def test_import_when_a_list_has_another_order_then_no_image_is_paired_with_foreign_depth(tmp_path, name):
    write_public(
        tmp_path / "in", [f"n008-log__CAM_FRONT__160000000000000{k}" for k in range(3)], lists=("image", "D_gt", "radar")
    )
    path = tmp_path / "in" / TRAIN.format(name)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[::-1]))
    text = (
        f"nuscenes_train_{name}.txt line 1 is 'n008-log__CAM_FRONT__1600000000000002', which is the image of line 3 of training"
    )
    with pytest.raises(SourceError, match=text):
        import_semodepth(tmp_path / "in", Store(tmp_path / "store2"))
    assert not (tmp_path / "store2").exists()
