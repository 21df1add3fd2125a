from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from pipeline.provided_maps import counts_of_maps
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stages import pack_depth, pack_interpolated, pack_radar
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData, check
from tests.tiny_zju import read_map, write_tiny_zju

NAMES = ("000100", "000101", "000102")
FOLDER_OF_STAGE = {pack_depth.STAGE: "gt", pack_interpolated.STAGE: "gt_interp"}


@pytest.fixture
def root(tmp_path):
    root = write_tiny_zju(tmp_path / "zju", frames={"train": 3, "val": 1, "test": 1}, height=24, width=32)
    every = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 85  # values up to 65195, with 0
    every[0, :4] = (65535, 256, 255, 1)
    for folder in ("gt", "gt_interp", "radar_png"):
        Image.fromarray(every).save(root / folder / "000101.png")
        Image.fromarray(np.zeros((24, 32), np.uint16)).save(root / folder / "000102.png")
    return root


def unit_of(root, tmp_path) -> StageInput:
    recipe = parse_recipe({"source": {"kind": "zju_4dradarcam", "root": str(root)}, "store": "unused"}, where="test")
    reader = open_source(recipe.source, tmp_path / "cache").reader()
    return StageInput("train-0000", "CAM_FRONT", {"frames": UnitData(tables=reader.scene_tables("train-0000"))}, reader)


@pytest.mark.parametrize("stage", FOLDER_OF_STAGE, ids=lambda stage: stage.name)
def test_depth_when_packed_then_every_integer_is_that_of_the_png(stage, root, tmp_path):
    unit, folder = unit_of(root, tmp_path), FOLDER_OF_STAGE[stage]
    made = stage.kernel(unit, stage.params())
    check(stage.writes, made.data, where="test")
    for frame, name in enumerate(NAMES):
        np.testing.assert_array_equal(made.data.arrays["depth_m"][frame], read_map(root, folder, name))
    assert made.data.arrays["depth_m"].dtype == np.uint16
    assert made.data.arrays["num_measured"].tolist() == [np.count_nonzero(read_map(root, folder, name)) for name in NAMES]
    assert made.data.arrays["timestamp_us"].tolist() == [100, 101, 102]
    assert unit.used_files == {f"{folder}/{name}.png" for name in NAMES}
    assert made.counts["frames"] == 3


def test_radar_when_packed_then_the_points_are_the_pixels_of_the_png(root, tmp_path):
    made = pack_radar.STAGE.kernel(unit_of(root, tmp_path), pack_radar.Params())
    check(pack_radar.STAGE.writes, made.data, where="test")
    arrays = made.data.arrays
    for frame, name in enumerate(NAMES):
        own = arrays["frame_of_point"] == frame
        drawn = np.zeros((24, 32), np.float64)
        drawn[arrays["v_px"][own].astype(int), arrays["u_px"][own].astype(int)] = arrays["depth_m"][own]
        np.testing.assert_array_equal(drawn, read_map(root, "radar_png", name) / 256)
        assert np.count_nonzero(own) == arrays["num_points"][frame]
    assert np.all(np.diff(arrays["frame_of_point"]) >= 0)
    assert np.isnan([arrays[name] for name in ("rcs_dbsm", "vx_comp_mps", "vy_comp_mps")]).all()
    assert set(arrays["sensor"].tolist()) == {0}


def _eight_bit(path):
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(path)


def _colours(path):
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(path)


def _other_size(path):
    Image.fromarray(np.zeros((32, 24), np.uint16)).save(path)


def _cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _jpeg(path):
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(path, "JPEG")


@pytest.mark.parametrize(
    ("stage", "folder"),
    [(pack_depth, "gt"), (pack_interpolated, "gt_interp"), (pack_radar, "radar_png")],
    ids=lambda one: str(one)[:40],
)
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda path: path.unlink(), "file missing: {path}. Unpack the archive that holds it, then run the same command"),
        (_eight_bit, "depth map '{file}' is PNG of mode L, expected a 16-bit grey PNG of metres times 256. It was written again"),
        (_colours, "depth map '{file}' is PNG of mode RGB, expected a 16-bit grey PNG of metres times 256"),
        (_jpeg, "depth map '{file}' is JPEG of mode L, expected a 16-bit grey PNG of metres times 256"),
        (_other_size, "depth map '{file}' is 24x32, its image 'image/000101.png' is 32x24. Both must cover the same pixels"),
        (_cut, "depth map '{file}' cannot be read: "),
        (lambda path: path.write_bytes(b"nothing"), "depth map '{file}' cannot be read: it is no image of a known format"),
    ],
    ids=("missing", "8 bit", "RGB", "JPEG", "size", "cut", "no image"),
)
def test_map_when_it_is_not_what_it_should_be_then_names_the_file(stage, folder, spoil, expected, root, tmp_path):
    unit, file = unit_of(root, tmp_path), f"{folder}/000101.png"
    spoil(root / file)
    with pytest.raises(SourceError, match=re.escape(expected.format(path=root / file, file=file))):
        stage.STAGE.kernel(unit, stage.Params())


def test_counts_of_maps_when_they_end_before_the_camera_then_they_are_of_another_unit():
    metres = np.random.default_rng(0).uniform(2, 80, (2, 24, 32))
    assert counts_of_maps((metres * 256).astype(np.uint16)) == {}
    assert counts_of_maps(np.stack([(metres[0] * 256), metres[1]]).astype(np.uint16)) == {"maps_too_near": 1.0}
