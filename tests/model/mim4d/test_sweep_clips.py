"""Clips whose older frames lie between key frames, read from the source's files: a simulated street, and a real drive."""

from __future__ import annotations

import io
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial import KDTree

from model.data.ordered_loader import Placement
from model.data.samples import Sample
from model.mim4d.batch import ClipBatch
from model.mim4d.config import ClipDataConfig
from model.mim4d.data import ClipLoader
from model.mim4d.sweep_reader import MIN_RANGE_M, falls_into, is_return, returns_of
from pipeline.geometry import rigid
from storage_schemas.errors import ManifestError, StoreError
from storage_schemas.layout import rows
from storage_schemas.manifest import Manifest
from tests.model.mim4d.made_manifest import SIX, made, projected, recipe_of

EVERY = ClipDataConfig(order="manifest", batch_size=2)
SIZE = (96, 160)
STATIC = 1  # number of the surface in the simulated truth


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sweep-world") / "raw"


@pytest.fixture(scope="module")
def world(root) -> Manifest:
    """Three key frames of six cameras with five images between each two: two windows that reach back a whole key frame."""
    source = {
        "kind": "synthetic", "scenes": 1, "seconds": 1.5, "seed": 3, "image_size": [160, 96], "lidar_azimuth_steps": 240,
        "root": str(root),
    }  # fmt: skip
    return made(recipe_of(source, root.parent / "store", SIX, num_frames=7, frames="sweep"), root.parent / "cache")


def load(manifest: Manifest, root: Path | None, *, num_frames: int = 3, **config) -> ClipBatch:
    loader = ClipLoader(
        manifest,
        EVERY.model_copy(update=config),
        num_frames=num_frames,
        image_px=SIZE,
        placement=Placement(image_root=None if root is None else str(root)),
    )
    (batch,) = loader
    return batch


@pytest.fixture(scope="module")
def batch(world, root) -> ClipBatch:
    return load(world, root)


def tables_of(manifest: Manifest) -> dict[str, list[dict]]:
    unit = manifest.store.open_unit(manifest.unit_of(manifest.rows()[0], "windows"))
    return {name: rows(unit.table(name)) for name in ("sweep_rigs", "sweep_views")}


def view_of(manifest: Manifest, window: int, step: int, camera: str) -> dict:
    wanted = (window, step, camera)
    return next(row for row in tables_of(manifest)["sweep_views"] if (row["window"], row["step"], row["camera"]) == wanted)


def test_batch_when_frames_lie_between_key_frames_then_images_times_and_matrices_are_those_of_each_image(world, root, batch):
    assert batch.image_u8.shape == (2, 3, 6, *SIZE, 3)
    assert [int(key.split("/")[1]) for key in batch.window_keys] == [
        row["timestamp_us"] for row in tables_of(world)["sweep_rigs"] if row["step"] == 0
    ]
    torch.testing.assert_close(batch.time_s, torch.tensor([[0.0, -0.1, -0.2]] * 2))  # of the sweeps nearest to -83 and -167 ms
    travelled_m = batch.world_from_rig[:, :, :3, 3].norm(dim=-1)
    torch.testing.assert_close(travelled_m, 8.5 * -batch.time_s, atol=0.15, rtol=0)
    for window, step, camera in ((0, 0, 0), (0, 1, 3), (1, 2, 5)):
        view = view_of(world, window, step, SIX[camera])
        with Image.open(io.BytesIO((root / view["file"]).read_bytes())) as image:
            np.testing.assert_array_equal(batch.image_u8[window, step, camera], np.asarray(image.convert("RGB")))
        cam_from_rig = torch.tensor(view["cam_from_rig"]).view(4, 4)
        torch.testing.assert_close(batch.cam_from_rig[window, step, camera], cam_from_rig)
        torch.testing.assert_close(batch.intrinsics[window, step, camera], torch.tensor(view["intrinsic_px"]).view(3, 3))
    assert view_of(world, 0, 1, "CAM_BACK")["file"].startswith("sweeps/CAM_BACK/")
    assert any(unit.layout == "camera_sweeps" for unit in world.named_units())  # what the windows were made of is kept


def test_static_points_when_seen_again_a_twelfth_of_a_second_before_then_depth_and_colour_agree_in_all_six_cameras(
    world, root, batch
):
    """Ray round trip (docs/method/mim4d.md#checks), for frames between key frames."""

    def truth(step: int, camera: int, name: str) -> np.ndarray:
        stem = Path(view_of(world, 0, step, SIX[camera])["file"]).stem
        return np.asarray(Image.open(root / "truth" / SIX[camera] / f"{stem}.{name}.png")).astype(float)

    points, colours = [], []
    for camera in range(6):
        depth_m = truth(0, camera, "depth") / 256.0
        v, u = np.nonzero((truth(0, camera, "surface") == STATIC) & (depth_m < 40))
        inverse_px = np.linalg.inv(batch.intrinsics[0, 0, camera].double().numpy())
        in_cam = np.stack([u + 0.5, v + 0.5, np.ones(len(u))], axis=1) @ inverse_px.T * depth_m[v, u][:, None]
        matrix = batch.cam_from_rig[0, 0, camera].double().numpy()
        points.append((in_cam - matrix[:3, 3]) @ matrix[:3, :3])
        colours.append(batch.image_u8[0, 0, camera].numpy()[v, u].astype(float))
    in_key, shown_first = np.concatenate(points), np.concatenate(colours)

    def agreement(step: int, *, moves: bool) -> tuple[float, float]:
        """Return the share of points at the right depth, and how far off their colours are."""
        pose = batch.world_from_rig[0, step].double().numpy() if moves else np.eye(4)
        in_rig = (in_key - pose[:3, 3]) @ pose[:3, :3]
        is_right, difference = [], []
        for camera in range(6):
            uv_px, z_m = projected(in_rig, batch.cam_from_rig[0, step, camera], batch.intrinsics[0, step, camera])
            seen = np.flatnonzero((z_m > 1) & (uv_px >= 0).all(axis=1) & (uv_px < (SIZE[1], SIZE[0])).all(axis=1))
            u, v = uv_px[seen].astype(int).T
            seen, u, v = (values[truth(step, camera, "surface")[v, u] == STATIC] for values in (seen, u, v))
            assert len(seen) > 1000, SIX[camera]
            off = np.abs(truth(step, camera, "depth")[v, u] / 256.0 / z_m[seen] - 1) < 0.02
            difference.append(np.abs(batch.image_u8[0, step, camera].numpy()[v, u] - shown_first[seen]).mean(axis=1))
            is_right.append(off)
        return float(np.concatenate(is_right).mean()), float(np.median(np.concatenate(difference)))

    for step in (1, 2):
        share, colour = agreement(step, moves=True)
        share_still, colour_still = agreement(step, moves=False)
        assert share > 0.9, share
        assert colour < 4.5, colour
        assert share_still < share - 0.03, (share, share_still)
        assert colour_still > 1.8 * colour, (colour, colour_still)


def test_points_when_a_frame_lies_between_then_they_are_the_nearest_sweeps_returns_in_every_image_that_they_fall_into(
    world, root, batch
):
    for rig in tables_of(world)["sweep_rigs"]:
        if rig["step"] > 2:
            continue
        raw = np.fromfile(root / rig["lidar_file"], "<f4").reshape(-1, 5)[:, :3].astype(float)
        raw = raw[np.linalg.norm(raw, axis=1) >= MIN_RANGE_M]
        matrix = np.reshape(rig["rig_from_lidar"], (4, 4))
        in_rig = raw @ matrix[:3, :3].T + matrix[:3, 3]
        for camera, channel in enumerate(SIX):
            view = view_of(world, rig["window"], rig["step"], channel)
            uv_px, z_m = projected(
                in_rig, torch.tensor(view["cam_from_rig"]).view(4, 4), torch.tensor(view["intrinsic_px"]).view(3, 3)
            )
            is_seen = (z_m > 0) & (uv_px >= 0).all(axis=1) & (uv_px < (160, 96)).all(axis=1)
            is_own = (batch.point_window == rig["window"]) & (batch.point_frame == rig["step"]) & (batch.point_camera == camera)
            assert is_seen.sum() > 200
            np.testing.assert_allclose(batch.points[is_own], in_rig[is_seen], atol=1e-5)


def test_points_when_projected_into_their_image_then_the_exact_depth_there_agrees(world, root, batch):
    errors = []
    for step in range(3):
        for camera, channel in enumerate(SIX):
            stem = Path(view_of(world, 0, step, channel)["file"]).stem
            depth_m = np.asarray(Image.open(root / "truth" / channel / f"{stem}.depth.png")) / 256.0
            is_static = np.asarray(Image.open(root / "truth" / channel / f"{stem}.surface.png")) == STATIC
            is_own = (batch.point_window == 0) & (batch.point_frame == step) & (batch.point_camera == camera)
            uv_px, z_m = projected(
                batch.points[is_own].numpy(), batch.cam_from_rig[0, step, camera], batch.intrinsics[0, step, camera]
            )
            u, v = np.clip(uv_px, 0, (159, 95)).astype(int).T
            errors.append((np.abs(depth_m[v, u] - z_m) / z_m)[is_static[v, u]])
    assert len(np.concatenate(errors)) > 10_000
    assert np.median(np.concatenate(errors)) < 0.01


def test_held_out_returns_when_two_cameras_or_two_windows_show_one_then_it_is_held_out_in_all(world, root):
    batch = load(world, root, num_frames=7, held_out_share=0.25)
    assert abs(float(batch.is_held_out.float().mean()) - 0.25) < 0.01
    # six images before the second key frame is the first one, in another window
    first, again = (batch.point_window == 0) & (batch.point_frame == 0), (batch.point_window == 1) & (batch.point_frame == 6)
    torch.testing.assert_close(batch.points[first], batch.points[again], rtol=0, atol=0)
    assert torch.equal(batch.is_held_out[first], batch.is_held_out[again])
    own = batch.points[first].numpy()
    _, of_return, counts = np.unique(own, axis=0, return_inverse=True, return_counts=True)
    held = np.bincount(of_return.ravel(), batch.is_held_out[first].numpy())
    assert (counts == 2).sum() > 100  # at the edge of two images
    assert set(np.unique(held / counts)) == {0.0, 1.0}
    nothing = load(world, root, held_out_share=0.0)
    assert not nothing.is_held_out.any()
    neighbour = (batch.point_window == 0) & (batch.point_frame == 1)
    share = batch.is_held_out[neighbour].float().mean()
    assert 0.2 < share < 0.3


def test_cameras_when_chosen_then_the_batch_has_these_in_this_order(world, root, batch):
    turned = load(world, root, cameras=("CAM_BACK", "CAM_FRONT"))
    assert torch.equal(turned.image_u8[:, :, 0], batch.image_u8[:, :, SIX.index("CAM_BACK")])
    assert torch.equal(turned.cam_from_rig[:, :, 1], batch.cam_from_rig[:, :, 0])
    is_front = batch.point_camera == 0
    torch.testing.assert_close(turned.points[turned.point_camera == 1], batch.points[is_front], rtol=0, atol=0)


def test_window_when_the_manifest_leaves_its_key_frame_out_then_it_is_left_out_and_older_frames_need_not_be_in_it(world, root):
    left = [row for row in world.rows() if row["frame"] == 1]  # neither the first key frame nor the last
    samples = {name: [row[name] for row in left] for name in world.samples}
    loader = ClipLoader(
        Manifest(world.store, world.path, samples), EVERY.model_copy(update={"batch_size": 1}), num_frames=7, image_px=SIZE, placement=Placement(image_root=str(root)))  # fmt: skip
    assert (len(list(loader)), loader.num_left_out) == (1, 1)


def test_reading_when_a_worker_is_sent_it_then_it_reads_the_same(world, root, batch):
    loader = ClipLoader(world, EVERY, num_frames=3, image_px=SIZE, placement=Placement(image_root=str(root)))
    sent = pickle.loads(pickle.dumps(loader._answers))
    memory = np.zeros(loader._layout.num_bytes, np.uint8)
    found = sent._opened().read((0, 1), memory, epoch=0)
    np.testing.assert_array_equal(loader._layout.arrays(memory, 2)["image"], batch.image_u8)
    np.testing.assert_array_equal(found.points, batch.points)


def test_reading_when_files_are_not_there_or_others_then_says_which_and_what_to_do(world, root, tmp_path):
    unit = world.unit_of(world.rows()[0], "windows").key
    image, lidar = view_of(world, 0, 1, "CAM_FRONT")["file"], tables_of(world)["sweep_rigs"][1]["lidar_file"]
    frame = f"scene-0061/CAM_FRONT/{view_of(world, 0, 1, 'CAM_FRONT')['timestamp_us']}"
    with pytest.raises(ManifestError) as error:
        load(world, None)
    assert f"unit '{unit}' refers to files of the source, e.g. image 'samples/CAM_FRONT/" in str(error.value)
    assert "Give the folder of the data set as image_root: name the recipe instead of the store" in str(error.value)
    shutil.copytree(root, tmp_path / "raw")
    (tmp_path / "raw" / lidar).write_bytes(b"other")
    with pytest.raises(StoreError) as error:
        load(world, tmp_path / "raw")
    assert f"LiDAR sweep '{lidar}' has changed since unit '{unit}' noted its digest" in str(error.value)
    assert "Restore the file, or run index_windows again" in str(error.value)
    (tmp_path / "raw" / image).unlink()
    with pytest.raises(StoreError) as error:
        load(world, tmp_path / "raw")
    assert frame in str(error.value)
    assert f"image '{image}' is not below image_root '{tmp_path / 'raw'}'. Restore it, or correct image_root" in str(error.value)


def test_clips_when_longer_than_the_windows_then_says_which_key_to_set(world, root):
    with pytest.raises(ManifestError) as error:
        load(world, root, num_frames=8)
    assert "have 7 frames, the network takes 8. Set stages.index_windows.num_frames to 8 and run the recipe again" in str(
        error.value
    )


def test_returns_when_a_file_has_other_columns_or_is_cut_short_then_it_is_read_by_its_columns_or_refused():
    values = np.arange(24, dtype="<f4").reshape(4, 6)
    np.testing.assert_array_equal(returns_of(values.tobytes(), num_columns=6, where="f"), values[:, :3])
    with pytest.raises(StoreError) as error:
        returns_of(values.tobytes()[:-4], num_columns=6, where="sweeps/f.bin")
    assert str(error.value) == (
        "LiDAR sweep 'sweeps/f.bin' has 92 bytes, expected a multiple of 24 (6 float32 a return). Run index_windows again"
    )
    near = MIN_RANGE_M / np.sqrt(3)
    points = np.array([[near, near, near], [near, near, 0.9 * near], [np.nan, 9.0, 9.0], [0.0, 0.0, -3.0]]) * (1 + 1e-12)
    assert is_return(points).tolist() == [True, False, False, True]


@given(st.integers(0, 2**32 - 1))
def test_falls_into_when_a_camera_is_anywhere_then_a_point_counts_just_where_its_pixel_is_in_front_and_inside(seed):
    rng = np.random.default_rng(seed)
    cam_from_rig = rigid(rng.uniform(-2, 2, 3), rng.normal(size=4))
    intrinsic_px = (70.0, 0.5, 44.0, 0.0, 65.0, 41.0, 0.0, 0.0, 1.0)
    sample = Sample("a/b/1", "t", 0, 82, 88, intrinsic_px, False, {})
    points = rng.uniform(-10, 10, (200, 3))
    uv_px, z_m = projected(points, torch.from_numpy(cam_from_rig), torch.tensor(intrinsic_px).reshape(3, 3))
    expected = (z_m > 0) & (uv_px >= 0).all(axis=1) & (uv_px < (88, 82)).all(axis=1)
    np.testing.assert_array_equal(falls_into(points, cam_from_rig, sample), expected)


@pytest.mark.real_data
def test_real_drive_when_its_images_come_at_10_hz_then_sweeps_of_neighbours_show_one_street(shared, tmp_path):
    raw = shared / "data/kitti0001-as-nuscenes"
    source = {"kind": "nuscenes", "root": str(raw), "version": "v1.0-mini"}
    manifest = made(recipe_of(source, tmp_path / "store", ["CAM_FRONT"], num_frames=3, frames="sweep"), tmp_path / "cache")
    loader = ClipLoader(manifest, EVERY, num_frames=3, image_px=(120, 397), placement=Placement(image_root=str(raw)))
    batch = next(iter(loader))
    assert batch.image_u8.shape == (2, 3, 1, 120, 397, 3)
    torch.testing.assert_close(batch.time_s, torch.tensor([[0.0, -0.1031, -0.2063]] * 2), atol=2e-4, rtol=0)
    for window in range(2):
        own = [batch.points[(batch.point_window == window) & (batch.point_frame == step)].numpy() for step in range(3)]
        assert min(map(len, own)) > 3000
        tree = KDTree(own[0])
        for step in (1, 2):
            pose = batch.world_from_rig[window, step].numpy()
            upright = own[step][(own[step][:, 2] > 0.5) & (np.abs(own[step][:, 1]) < 20)]  # the ground looks alike everywhere
            moved, still = (np.median(tree.query(points)[0]) for points in (upright @ pose[:3, :3].T + pose[:3, 3], upright))
            assert moved < 0.35
            assert moved < 0.7 * still
    images = batch.image_u8[:, :, 0].double()
    assert 1 < (images[:, 1:] - images[:, :-1]).abs().mean() < 40  # neighbours, and not the same
