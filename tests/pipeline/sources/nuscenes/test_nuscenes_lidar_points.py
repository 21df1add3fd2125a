"""LiDAR files: which formats and columns are read, and that a cut or wrong file is refused with a remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.lidar_points import lidar_points, likely_columns, refuse_short_file
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.stage import StageInput
from pipeline.stages import project_lidar
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData
from tests.tiny_nuscenes import write_tiny_nuscenes
from tests.tiny_pcd import encode_pcd


def a_sweep(num_points: int = 3200, *, columns: int = 5, ring: np.ndarray | None = None) -> np.ndarray:
    """Points (n, columns) around the sensor; intensity 0 to 255, rings 0 to 31 in turn unless given, further columns 0 to 1."""
    rng = np.random.default_rng(5)
    points = rng.uniform(0, 1, (num_points, columns))
    points[:, :3] = rng.normal(0, 1, (num_points, 3)) * [30, 30, 2]
    if columns > 3:
        points[:, 3] = rng.integers(0, 256, num_points)
    if columns > 4:
        points[:, 4] = np.arange(num_points) % 32 if ring is None else ring
    return points.astype("<f4")


def read(points: np.ndarray, *, columns: int | None = None, name: str = "a.pcd.bin") -> np.ndarray:
    return lidar_points(points.tobytes(), columns=columns, where=name)


def refused(points: np.ndarray | bytes, *, columns: int | None = None, name: str = "a.pcd.bin") -> str:
    content = points if isinstance(points, bytes) else points.tobytes()
    with pytest.raises(SourceError) as error:
        lidar_points(content, columns=columns, where=name)
    assert name in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("columns", [3, 4, 5, 6, 9])
def test_sweep_when_its_columns_are_told_then_is_read_so(columns):
    points = a_sweep(columns=columns)
    np.testing.assert_array_equal(read(points, columns=columns), points)


@pytest.mark.parametrize(
    "ring",
    [
        np.zeros(3207),  # a set that does not fill it
        np.full(3207, 31),
        np.random.default_rng(0).integers(0, 128, 3207),  # any order
        np.sort(np.random.default_rng(0).integers(0, 64, 3207)),  # laser by laser
        np.random.default_rng(0).uniform(0, 1, 3207),  # no ring, but a time
    ],
)
def test_sweep_when_its_rings_do_not_go_round_then_is_read(ring):
    points = a_sweep(3207, ring=ring)
    np.testing.assert_array_equal(read(points), points)


@pytest.mark.parametrize(("rings", "num_points"), [(32, 3200), (64, 6400), (128, 12_800)])
@pytest.mark.parametrize("descending", [False, True])
def test_sweep_when_its_rings_go_round_then_a_cut_within_a_round_is_found(rings, num_points, descending):
    ring = np.arange(num_points) % rings
    points = a_sweep(num_points, ring=rings - 1 - ring if descending else ring)
    np.testing.assert_array_equal(read(points), points)
    for missing in (1, rings // 2, 5 * rings + 3):
        said = refused(points[:-missing])
        assert f"its rings go round in {rings}: {-missing % rings} points stand after the last whole round" in said
        assert "cut short; fetch it again" in said
    read(points[: -2 * rings])  # whole rounds: refuse_short_file compares it with the others


def test_sweep_when_only_zeros_follow_then_the_stopped_download_is_named():
    points = a_sweep()
    points[1000:] = 0
    assert "rings go round in 32, but after 1000 points only zeros follow (2200 points)" in refused(points)


@pytest.mark.parametrize("num_points", [1700, 1733, 4000])
def test_sweep_when_of_four_columns_then_the_key_that_says_so_is_named_whatever_the_number_of_points(num_points):
    points = a_sweep(num_points, columns=4)
    assert "It looks like 4" in refused(points)
    assert "set source.lidar_columns: 4 in the recipe" in refused(points)
    np.testing.assert_array_equal(read(points, columns=4), points)


@pytest.mark.parametrize("columns", [3, 4, 6, 7])
def test_columns_when_not_five_then_are_found(columns):
    assert likely_columns(a_sweep(columns=columns).tobytes()) == columns


def test_sweep_when_of_five_columns_but_told_to_have_four_then_size_or_values_are_as_told():
    assert "expected a multiple of 16 (4 float32 a point)" in refused(a_sweep(1001), columns=4)


def test_sweep_when_cut_within_a_point_then_says_both_reasons():
    said = refused(a_sweep().tobytes()[:22016])
    assert "has 22016 bytes, expected a multiple of 20 (5 float32 a point)" in said


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p[:, :3].fill(np.nan), "none of its 3200 points has finite coordinates x, y, z"),
        (lambda p: p[:, 1].fill(np.inf), "none of its 3200 points has finite coordinates"),
        (lambda p: p[7:9, 2].fill(1e30), "2 of 3200 points have a coordinate z like 1e+30 m, expected less than 100000 m"),
        (lambda p: np.add(p[:, 1], 5.3e6, out=p[:, 1]), "3200 of 3200 points have a coordinate y"),
    ],
)
def test_sweep_when_coordinates_are_absurd_then_says_which(spoil, said):
    points = a_sweep()
    spoil(points)
    assert said in refused(points)


def test_sweep_when_some_points_are_nan_or_a_further_column_is_large_then_is_read():
    points = a_sweep(columns=6)
    points[::3, :3] = np.nan
    points[:, 5] = 1.6e18
    np.testing.assert_array_equal(read(points, columns=6), points)


def test_sweep_when_written_as_doubles_then_is_refused():
    assert "point file" in refused(a_sweep().astype("<f8").tobytes())


@pytest.mark.parametrize("kind", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("name", ["a.pcd", "a.pcd.bin"])
def test_sweep_when_a_pcd_then_xyz_come_first_and_padding_is_skipped(kind, name):
    fields = [("intensity", "<f4"), ("x", "<f4"), ("_", "u1", (4,)), ("y", "<f8"), ("z", "<f4"), ("timestamp", "<u8")]
    points = np.zeros(40, fields)
    for axis in "xyz":
        points[axis] = np.random.default_rng(ord(axis)).normal(0, 20, 40)
    points["timestamp"] = 1_600_000_000_000_000
    found = lidar_points(encode_pcd(points, kind=kind), columns=None, where=name)
    assert (found.shape, found.dtype) == ((40, 3), np.float32)
    for column, axis in enumerate("xyz"):
        np.testing.assert_array_equal(found[:, column], points[axis].astype(np.float32))


@pytest.mark.parametrize("name", ["a.npy", "a.ply", "a.laz"])
def test_sweep_when_of_a_format_that_is_not_read_then_says_which_are(name):
    assert "expected .bin or .pcd.bin (float32, little-endian, x, y, z first) or .pcd" in refused(a_sweep(), name=name)
    assert "not supported" in refused(b"\x93NUMPY" + bytes(80))


def test_sweeps_when_one_is_much_shorter_than_all_others_then_is_refused():
    root = Path("data")
    sizes = {f"sweeps/LIDAR_TOP/{k}.bin": 694_400 - 640 * (k % 3) for k in range(40)}
    refuse_short_file(sizes, root=root)
    refuse_short_file(dict.fromkeys(("a.bin", "b.bin"), 694_400) | {"short.bin": 690_000}, root=root)
    refuse_short_file({**sizes, "sweeps/LIDAR_TOP/0.bin": 69_440}, root=root)  # a recording begins within a turn
    with pytest.raises(SourceError, match=r"/0\.bin' has 20 bytes, but the other 39 sweeps .* It is cut short"):
        refuse_short_file({**sizes, "sweeps/LIDAR_TOP/0.bin": 20}, root=root)
    varied = {name: 200_000 + 20_000 * k for k, name in enumerate(sizes)}  # a sensor that keeps only what comes back
    refuse_short_file(varied, root=root)
    with pytest.raises(SourceError, match=r"17\.bin' has 614400 bytes, but the other 39 sweeps .* about 693760. It is cut short"):
        refuse_short_file({**sizes, "sweeps/LIDAR_TOP/17.bin": 614_400}, root=root)
    for end in (0, 39):  # a recording may begin and end within a turn of the sensor
        refuse_short_file({**sizes, f"sweeps/LIDAR_TOP/{end}.bin": 320_000}, root=root)
        with pytest.raises(SourceError, match=rf"/{end}\.bin' has 327680 bytes"):
            refuse_short_file({**sizes, f"sweeps/LIDAR_TOP/{end}.bin": 16 * 20_480}, root=root)


@pytest.mark.parametrize("size", [20_480, 20_000, 25_600])
def test_run_when_a_sweep_is_cut_at_a_whole_number_of_points_then_the_scene_fails_and_names_it(
    write_recipe, depthmill, tmp_path, size
):
    root = write_tiny_nuscenes(tmp_path / "raw", scenes=("scene-0061",))
    victim = sorted((root / "samples/LIDAR_TOP").iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:size])
    code, text = depthmill("run", write_recipe(root), "--no-prefect", "--workers", 1)
    assert code == 1
    assert f"LiDAR file '{victim}' has {size} bytes, but the other 2 sweeps" in text


def depth_of(root: Path, cache: Path, **keys: object) -> np.ndarray:
    config = NuScenesConfig(kind="nuscenes", root=str(root), version="v1.0-mini", **keys)
    reader = NuScenesSource(config, cache).reader()
    unit = StageInput("scene-0061", "CAM_FRONT", {"frames": UnitData(tables=reader.scene_tables("scene-0061"))}, reader)
    return project_lidar.kernel(unit, project_lidar.Params()).data.arrays["depth_m"]


@pytest.mark.parametrize("keep", [1659, 1660])
def test_depth_when_files_have_four_columns_then_is_the_same_once_the_recipe_says_so(tmp_path, keep):
    plain = write_tiny_nuscenes(tmp_path / "plain", scenes=("scene-0061",))
    four = write_tiny_nuscenes(tmp_path / "four", scenes=("scene-0061",))
    for root, columns in ((plain, 5), (four, 4)):
        for file in root.rglob("LIDAR_TOP/*"):
            file.write_bytes(np.frombuffer(file.read_bytes(), "<f4").reshape(-1, 5)[:keep, :columns].tobytes())
    with pytest.raises(SourceError, match="set source.lidar_columns: 4 in the recipe"):
        depth_of(four, tmp_path / "cache")
    depth = depth_of(four, tmp_path / "cache", lidar_columns=4)
    assert np.count_nonzero(depth)
    np.testing.assert_array_equal(depth, depth_of(plain, tmp_path / "cache"))


def test_init_when_files_have_four_columns_then_the_recipe_says_so(depthmill, tmp_path, monkeypatch):
    root = write_tiny_nuscenes(tmp_path / "raw", scenes=("scene-0061",))
    monkeypatch.chdir(tmp_path)
    assert depthmill("init", root)[0] == 0
    assert "lidar_columns" not in Path("recipe.yaml").read_text()
    for file in root.rglob("LIDAR_TOP/*"):
        file.write_bytes(np.frombuffer(file.read_bytes(), "<f4").reshape(-1, 5)[:, :4].tobytes())
    Path("recipe.yaml").unlink()
    assert depthmill("init", root)[0] == 0
    assert "  lidar_columns: 4 " in Path("recipe.yaml").read_text()
    assert depthmill("run", "recipe.yaml", "--no-prefect", "--workers", 1, "--no-report")[0] == 0


def test_digest_when_columns_are_told_then_changes_unless_they_are_the_default(tmp_path):
    root = write_tiny_nuscenes(tmp_path / "raw", scenes=("scene-0061",))

    def digest(**keys: object) -> str:
        config = NuScenesConfig(kind="nuscenes", root=str(root), version="v1.0-mini", **keys)
        return NuScenesSource(config, tmp_path / "cache").scenes()[0].digest

    assert digest() == digest(lidar_columns=5) != digest(lidar_columns=4)


@pytest.mark.parametrize("channel", ["LIDAR_TOP", "RADAR_FRONT", "CAM_FRONT"])
def test_run_when_a_file_is_a_git_lfs_pointer_then_says_git_lfs_pull(write_recipe, depthmill, tmp_path, channel):
    root = write_tiny_nuscenes(tmp_path / "raw", scenes=("scene-0061",))
    victim = sorted((root / "samples" / channel).iterdir())[0]
    victim.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d" * 32 + "\nsize 694400\n")
    code, text = depthmill("run", write_recipe(root), "--no-prefect", "--workers", 1)
    assert code == 1
    assert f"file '{victim}' is a Git LFS pointer: its content has not been fetched. Run git lfs pull" in text
