from __future__ import annotations

import errno
import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.exporters import semodepth_export, semodepth_lists
from pipeline.exporters.semodepth import export_semodepth, import_semodepth
from storage_schemas.catalog import MANIFEST, layout_named
from storage_schemas.errors import ManifestError, SourceError, StoreError
from storage_schemas.layout import UnitData, check, columns_from_rows
from storage_schemas.lineage import Identity
from storage_schemas.manifest import Manifest
from storage_schemas.store import Store, UnitPath

STORES = ("images", "radar_points", "depth_single", "depth_accumulated", "depth_clean")
TRAIN = "training/nuscenes/nuscenes_train_{}.txt"
SCENES = {  # name -> split, camera, (height, width), frames
    "scene-0001": ("train", "CAM_FRONT", (8, 12), 3),
    "scene-0002": ("val", "CAM_FRONT", (8, 12), 2),
    "scene-0003": ("train", "CAM_BACK", (6, 10), 2),
}


class NoRaw:
    """A reader for stores that need none."""

    def read_bytes(self, file):
        raise AssertionError(f"asked for {file}")


class FolderRaw:
    def __init__(self, contents):
        self.contents = contents

    def read_bytes(self, file):
        return self.contents[file]


def jpeg(seed, size):
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def unit_data(layout, size, times, contents, files, *, is_reference):
    rng = np.random.default_rng(len(times))
    times = np.array(times, np.int64)
    count = len(times)
    if layout == "images":
        encoded = np.zeros((count, max(map(len, contents))), np.uint8)
        for k, content in enumerate(contents):
            encoded[k, : len(content)] = np.frombuffer(content, np.uint8)
        arrays = {"num_bytes": np.array([len(content) for content in contents], np.int32), "timestamp_us": times}
        if not is_reference:
            arrays["encoded"] = encoded
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        return UnitData(arrays, {"files": {"file": files, "num_bytes": [len(c) for c in contents], "sha256": digests}})
    if layout == "radar_points":
        per_frame = np.arange(count, dtype=np.int32)  # the first frame has no return
        total = int(per_frame.sum())
        columns = {name: rng.uniform(0, 8, total) for name in ("u_px", "v_px", "depth_m")}
        rest = {name: np.ones(total, np.float32) for name in ("rcs_dbsm", "vx_comp_mps", "vy_comp_mps")}
        of_point = np.repeat(np.arange(count, dtype=np.int32), per_frame)
        return UnitData({**columns, **rest, "sensor": np.zeros(total, np.uint8), "frame_of_point": of_point,
                         "num_points": per_frame, "timestamp_us": times})  # fmt: skip
    steps = rng.integers(0, 65536, (count, *size)).astype(np.uint16)
    steps[:, :2] = 0
    arrays = {"depth_m": steps, "num_measured": np.count_nonzero(steps, axis=(1, 2)).astype(np.int32), "timestamp_us": times}
    for spec in layout_named(layout).arrays:
        arrays.setdefault(spec.name, np.zeros(count, spec.dtype))
    return UnitData(arrays)


def made_up_identity(layout, scene, camera):
    place = {"layout": layout, "layout_version": 1, "scene": scene, "camera": camera}
    return Identity(stage="test", stage_version=1, params={}, inputs={}, source=None, **place)


def build(root: Path, scenes=SCENES, *, without=(), is_reference=False) -> tuple[Manifest, dict[str, bytes]]:
    """A store with a manifest; ``without`` holds (scene, store) pairs that are not made."""
    store, rows, raw = Store(root), [], {}
    for number, (scene, (split, camera, size, frames)) in enumerate(scenes.items()):
        times = [1_600_000_000_000_000 + 100_000_000 * number + 500_000 * k for k in range(frames)]
        files = [f"samples/{camera}/n008-log__{camera}__{time}.jpg" for time in times]
        contents = [jpeg(time, size) for time in times]
        raw.update(zip(files, contents, strict=True))
        pins = {}
        for layout in STORES:
            if (scene, layout) in without:
                continue
            identity = made_up_identity(layout, scene, camera)
            data = unit_data(layout, size, times, contents, files, is_reference=is_reference)
            store.write_unit(identity, data, seconds=0.0, counts={})
            pins[f"unit_{layout}"] = identity.fingerprint()
        rows += [
            {"frame_key": f"{scene}/{camera}/{time}", "scene": scene, "camera": camera, "frame": k, "split": split,
             "is_night": False, "sample_token": "t", "sample_data_token": "d", "timestamp_us": time, "file": files[k],
             "height": size[0], "width": size[1], "intrinsic_px": [1.0] * 9, "world_from_cam": [0.0] * 16, **pins}
            for k, time in enumerate(times)
        ]  # fmt: skip
    identity = made_up_identity("manifest", "all", "all")
    data = UnitData(tables={"samples": columns_from_rows(MANIFEST.table("samples"), rows)})
    store.write_unit(identity, data, seconds=0.0, counts={})
    return Manifest(store, UnitPath.of(identity), data.tables["samples"]), raw


def lines(folder: Path, split: str, name: str) -> list[str]:
    long = {"train": "training", "val": "validation"}[split]
    return (folder / long / "nuscenes" / f"nuscenes_{split}_{name}.txt").read_text().splitlines()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the folder's own path cut out of the lists."""
    prefix = str(folder).encode()
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(prefix, b"<out>") if path.suffix == ".txt" else path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


@pytest.fixture
def exported(tmp_path):
    manifest, _ = build(tmp_path / "store")
    export_semodepth(manifest, NoRaw(), tmp_path / "out")
    return manifest, tmp_path / "out"


def test_export_when_read_as_the_public_loader_does_then_every_value_is_the_stored_one(exported):
    manifest, out = exported
    for split, names in (("train", ("image", "radar", "D_gt", "D_acc", "D_acc_160clean")), ("val", ("image", "radar", "D_gt"))):
        rows = [row for row in manifest.rows() if row["split"] == split]
        stores = dict(zip(("image", "radar", "D_gt", "D_acc", "D_acc_160clean"), STORES, strict=True))
        for name in names:
            paths = lines(out, split, name)
            assert len(paths) == len(rows)
            for path, row in zip(paths, rows, strict=True):
                unit = manifest.store.open_unit(manifest.unit_of(row, stores[name]))
                if name == "radar":
                    points = np.load(path)
                    chosen = unit.array("frame_of_point") == row["frame"]
                    expected = np.stack([unit.array(n)[chosen] for n in ("u_px", "v_px", "depth_m")], axis=1)
                    assert points.shape == (row["frame"], 3) and np.array_equal(points, expected)
                elif name == "image":
                    assert Path(path).read_bytes() == jpeg(row["timestamp_us"], (row["height"], row["width"]))
                else:
                    with Image.open(path) as image:
                        assert image.mode == "I;16" and np.array_equal(np.array(image), unit.array("depth_m", row["frame"]))


def test_export_when_out_is_relative_then_lists_open_from_any_folder(tmp_path, monkeypatch):
    manifest, _ = build(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    assert export_semodepth(manifest, NoRaw(), Path("out")) == {"train": 5, "val": 2}
    monkeypatch.chdir("/")
    assert all(Path(path).is_file() for path in lines(tmp_path / "out", "train", "D_acc"))


def test_export_when_samples_are_in_no_or_test_split_then_they_are_counted_and_left_out(tmp_path):
    scenes = {**SCENES, "scene-0004": ("test", "CAM_FRONT", (8, 12), 2), "scene-0005": ("", "CAM_FRONT", (8, 12), 1)}
    manifest, _ = build(tmp_path / "store", scenes, without={("scene-0004", "radar_points")})
    assert export_semodepth(manifest, NoRaw(), tmp_path / "out") == {"train": 5, "val": 2, "left-out": 3}
    assert len(list((tmp_path / "out/data/image").rglob("*.jpg"))) == 7


def test_export_when_no_sample_is_in_train_or_val_then_the_error_says_so(tmp_path):
    manifest, _ = build(tmp_path / "store", {"scene-0004": ("test", "CAM_FRONT", (8, 12), 2)})
    with pytest.raises(ManifestError, match=r"no train or val samples \(splits there: test\)"):
        export_semodepth(manifest, NoRaw(), tmp_path / "out")


@pytest.mark.parametrize(("scene", "layout", "stage"), [
    ("scene-0002", "radar_points", "project_radar"),
    ("scene-0003", "depth_accumulated", "accumulate_lidar"),
])  # fmt: skip
def test_export_when_a_scene_lacks_a_store_then_the_error_names_scene_and_remedy(tmp_path, scene, layout, stage):
    manifest, _ = build(tmp_path / "store", without={(scene, layout)})
    text = rf"scene {scene}.* has no {layout} .*joined by line number.*{stage}.*scenes: in the recipe"
    with pytest.raises(ManifestError, match=text):
        export_semodepth(manifest, NoRaw(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_export_when_a_val_scene_lacks_accumulated_depth_then_it_is_not_needed(tmp_path):
    manifest, _ = build(tmp_path / "store", without={("scene-0002", "depth_accumulated"), ("scene-0002", "depth_clean")})
    assert export_semodepth(manifest, NoRaw(), tmp_path / "out")["val"] == 2


def test_export_when_images_are_referenced_then_their_bytes_come_from_the_source(tmp_path):
    manifest, raw = build(tmp_path / "store", is_reference=True)
    export_semodepth(manifest, FolderRaw(raw), tmp_path / "out")
    contents = [Path(path).read_bytes() for path in lines(tmp_path / "out", "val", "image")]
    assert contents == [raw[row["file"]] for row in manifest.rows() if row["split"] == "val"]


def test_export_when_a_referenced_image_has_changed_then_the_error_names_it(tmp_path):
    manifest, raw = build(tmp_path / "store", is_reference=True)
    file = manifest.rows()[0]["file"]
    with pytest.raises(SourceError, match=f"image '{file}' has changed .*Restore the file"):
        export_semodepth(manifest, FolderRaw({**raw, file: raw[file] + b"x"}), tmp_path / "out")


def test_export_when_out_is_an_empty_folder_then_it_is_filled(tmp_path):
    manifest, _ = build(tmp_path / "store")
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    export_semodepth(manifest, NoRaw(), tmp_path / "out")
    assert lines(tmp_path / "out", "val", "image")[0].startswith(str(tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "real", "store"]


@pytest.mark.parametrize("kind", ["not empty", "a file", "a link to nothing"])
def test_export_when_out_is_not_free_then_the_error_says_why_and_nothing_is_touched(tmp_path, kind):
    manifest, _ = build(tmp_path / "store")
    out = tmp_path / "out"
    if kind == "not empty":
        out.mkdir()
        (out / "mine.txt").write_text("keep")
    elif kind == "a file":
        out.write_text("keep")
    else:
        out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=f"'{out}' is {kind}.*Choose another --out"):
        export_semodepth(manifest, NoRaw(), out)
    assert kind != "not empty" or (out / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(("code", "text"), [
    (errno.ENOSPC, "no space left"), (errno.EACCES, "permission denied"), (errno.EIO, "Input/output")])  # fmt: skip
def test_export_when_writing_fails_in_the_middle_then_nothing_is_left_and_the_error_is_text(tmp_path, monkeypatch, code, text):
    manifest, _ = build(tmp_path / "store")
    written = []

    def write(file, content):
        written.append(file)
        if len(written) > 5:
            raise OSError(code, os.strerror(code), str(file))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    monkeypatch.setattr(semodepth_export, "_write", write)
    with pytest.raises(StoreError, match=f"cannot write '{tmp_path / 'out'}': {text}"):
        export_semodepth(manifest, NoRaw(), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_round_trip_when_exported_imported_and_exported_again_then_every_byte_is_the_same(exported, tmp_path):
    manifest, out = exported
    imported = import_semodepth(out, Store(tmp_path / "store2"))
    export_semodepth(imported, NoRaw(), tmp_path / "out2")
    assert tree(out) == tree(tmp_path / "out2")
    assert sorted(imported.samples["frame_key"]) == sorted(manifest.samples["frame_key"])


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


@pytest.mark.real_data
def test_export_on_real_data_when_run_from_the_recipe_then_it_agrees_with_the_public_script(tmp_path, shared):
    from flows.materialize import materialize_plan, open_recipe
    from flows.settings import Settings
    from pipeline.recipe import parse_recipe
    from pipeline.run import run_scene
    from storage_schemas.manifest import open_manifest

    recipe = parse_recipe({
        "source": {"kind": "nuscenes", "root": str(shared / "data/kitti0001-as-nuscenes"), "version": "v1.0-mini"},
        "store": str(tmp_path / "store"), "stages": {"accumulate_lidar": {"moving": "keep"}}}, where="test")  # fmt: skip
    opened = open_recipe(recipe, Settings(workers=1, cache_dir=tmp_path / "cache"))
    summary = materialize_plan(opened, opened.plan(), lambda requests: map(run_scene, requests), lambda result: None)
    assert summary.num_errors == summary.num_skipped == 0
    assert export_semodepth(open_manifest(opened.store), opened.source.reader(), tmp_path / "out") == {"train": 10, "val": 10}

    num_valid = num_different = 0
    for path in lines(tmp_path / "out", "train", "D_acc"):
        ours, golden = (np.array(Image.open(folder / Path(path).name)).astype(int)
                        for folder in (Path(path).parent, shared / "data/golden/acc160_keep"))  # fmt: skip
        num_valid += np.count_nonzero(golden)
        num_different += np.count_nonzero(ours != golden)
    assert num_valid > 100_000 and num_different <= 0.003 * num_valid

    golden_radar = json.loads((shared / "data/golden/kitti0001_radar.json").read_text())["frames"]
    for path in lines(tmp_path / "out", "train", "radar"):
        golden = golden_radar[Path(path).name.replace("CAM_FRONT", "RADAR_FRONT").replace(".npy", ".pcd")]["uvd"]
        np.testing.assert_allclose(np.load(path), golden, atol=2e-3)  # the public script rounds to float32 on the way
    imported = import_semodepth(tmp_path / "out", Store(tmp_path / "store2"))
    export_semodepth(imported, NoRaw(), tmp_path / "out2")
    assert tree(tmp_path / "out") == tree(tmp_path / "out2")
