from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.exporters import semodepth_export
from pipeline.exporters.semodepth import export_semodepth, import_semodepth
from storage_schemas.errors import ManifestError, SourceError, StoreError
from storage_schemas.store import Store
from tests.pipeline.exporters.made_up_store import SCENES, STORES, FolderRaw, NoRaw, build, jpeg, lines, tree


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


@pytest.mark.real_data
def test_export_on_real_data_when_run_from_the_recipe_then_it_agrees_with_the_public_script(tmp_path, shared):
    from flows.run.materialize import materialize_plan
    from flows.run.opening import open_recipe
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
