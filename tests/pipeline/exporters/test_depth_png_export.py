"""Depth maps as PNG files with camera matrices and poses as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.exporters.depth_png import DepthPngOptions, export_depth_png
from pipeline.exporters.semodepth import export_semodepth, import_semodepth
from storage_schemas.errors import ManifestError, OutTakenError, RecipeError, StoreError
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.store import Store


@pytest.fixture(scope="module")
def manifest(tiny_store: Path) -> Manifest:
    return open_manifest(Store(tiny_store))


def _png(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def test_export_when_nothing_is_chosen_then_every_frame_of_every_split_has_its_clean_map_as_stored(manifest, tmp_path):
    counts = export_depth_png(manifest, None, tmp_path / "out")
    assert counts == {"train": 3, "val": 3}  # the manifest leaves out the last key frame of each scene
    said = json.loads((tmp_path / "out/frames.json").read_text())
    assert (said["manifest"], said["stores"]) == (manifest.path.fingerprint, ["depth_clean"])
    frames = {f"{one['scene']}/{one['camera']}/{one['timestamp_us']}": one for one in said["frames"]}
    assert [one["is_sample"] for one in said["frames"]] == [True, True, False] * 2
    for row in manifest.rows():
        frame = frames[row["frame_key"]]
        steps = manifest.store.open_unit(manifest.unit_of(row, "depth_clean")).array("depth_m", row["frame"])
        file = tmp_path / "out" / frame["depth_png"]["depth_clean"]
        np.testing.assert_array_equal(_png(file), steps)
        assert steps.any() and file.stem == Path(frame["source_image"]).stem
        np.testing.assert_allclose(np.ravel(frame["intrinsic_px"]), row["intrinsic_px"])
        np.testing.assert_allclose(np.ravel(frame["world_from_cam"]), row["world_from_cam"])
        assert (frame["split"], frame["height"], frame["width"]) == (row["split"], *steps.shape)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 6
    assert not (tmp_path / "out/images").exists() and not (tmp_path / "out/npz").exists()


def test_export_when_npz_images_and_all_stores_are_wanted_then_they_hold_the_same_metres_and_bytes(manifest, tmp_path):
    export_depth_png(manifest, None, tmp_path / "out", DepthPngOptions(("all",), with_images=True, with_npz=True))
    said = json.loads((tmp_path / "out/frames.json").read_text())
    assert set(said["stores"]) == {"depth_single", "depth_accumulated", "depth_clean"}
    frame = said["frames"][4]
    for name in said["stores"]:
        arrays = np.load(tmp_path / "out" / frame["depth_npz"][name])
        np.testing.assert_array_equal(arrays["depth_m"], _png(tmp_path / "out" / frame["depth_png"][name]) / np.float32(256))
        np.testing.assert_array_equal(arrays["world_from_cam"], frame["world_from_cam"])
    assert Image.open(tmp_path / "out" / frame["image"]).size == (frame["width"], frame["height"])


def test_export_when_the_store_was_imported_then_cameras_and_poses_are_null_and_the_maps_are_there(manifest, tmp_path):
    export_semodepth(manifest, None, tmp_path / "public")
    imported = import_semodepth(tmp_path / "public", Store(tmp_path / "imported"))
    assert export_depth_png(imported, None, tmp_path / "out") == {"train": 2, "val": 2}
    frame = json.loads((tmp_path / "out/frames.json").read_text())["frames"][0]
    assert (frame["intrinsic_px"], frame["world_from_cam"]) == (None, None)
    assert (tmp_path / "out" / frame["depth_png"]["depth_single"]).is_file()  # that layout has clean maps of train only


def test_export_when_it_cannot_be_done_then_says_what_there_is_and_leaves_nothing(manifest, tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match=r"--depth is 'depth_best', .* it has depth_single, depth_accumulated, depth_clean"):
        export_depth_png(manifest, None, tmp_path / "out", DepthPngOptions(("depth_best",)))
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.exporters.depth_png.PurePosixPath", lambda file: Path("same.jpg"))
        with pytest.raises(ManifestError, match=r"3 frames of scene scene-0061, camera CAM_FRONT have the same file name 'same'"):
            export_depth_png(manifest, None, tmp_path / "out")
    monkeypatch.setattr("pipeline.exporters.depth_png.encode_png", _full)
    with pytest.raises(StoreError, match="out': no space left on the device. Nothing was left behind"):
        export_depth_png(manifest, None, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutTakenError, match="is not empty; export never mixes with what is there"):
        export_depth_png(manifest, None, tmp_path)


def _full(steps: np.ndarray) -> bytes:
    raise OSError(28, "No space left on device")


def test_command_when_options_are_of_another_layout_then_refused(tiny_store, depthmill, tmp_path):
    code, text = depthmill("export", tiny_store, "--out", tmp_path / "out", "--npz")
    assert (code, "--depth, --images and --npz are of --layout depth_png, and it is 'semodepth'" in text) == (2, True)
    code, text = depthmill("import", tmp_path, "--store", tmp_path / "store", "--layout", "depth_png")
    assert (code, "layout 'depth_png' is written and not read" in text) == (2, True)
    code, text = depthmill("export", tiny_store, "--out", tmp_path / "out", "--layout", "depth_png", "--depth", "depth_single")
    assert (code, text.strip()) == (0, f"wrote {tmp_path / 'out'}: 3 train frames, 3 val frames")
