from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import KDTree

from model.data.images import resized
from model.data.points import FramePoints
from model.mim4d.batch import ClipBatch
from model.mim4d.clip_points import held_out, rig_points
from model.mim4d.config import ClipDataConfig
from model.mim4d.data import ClipLoader
from model.mim4d.reader import ClipReading
from pipeline.geometry import rigid, transform_points
from storage_schemas.byte_ranges import RangeReader
from storage_schemas.errors import ManifestError
from storage_schemas.layout import rows
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.store import Store
from tests.model.mim4d.made_manifest import SIX, made, projected, recipe_of
from tests.tiny_nuscenes import CAMERAS as TINY_CAMERAS

STATIC = 1  # number of the surface in depth_truth
EVERY = ClipDataConfig(order="manifest")


@pytest.fixture(scope="module")
def tiny(tiny_root, tmp_path_factory) -> Manifest:
    """Two cameras of different sizes, two scenes of three key frames; a car that drives 2.5 m from one to the next."""
    folder = tmp_path_factory.mktemp("tiny-clips")
    source = {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}
    return made(recipe_of(source, folder / "store", TINY_CAMERAS, num_frames=2), folder / "cache")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Manifest:
    """A simulated street with moving cars, seen by six cameras at three key frames."""
    folder = tmp_path_factory.mktemp("clip-world")
    source = {
        "kind": "synthetic", "scenes": 1, "seconds": 1.5, "seed": 3, "image_size": [160, 96], "lidar_azimuth_steps": 240,
        "root": str(folder / "raw"),
    }  # fmt: skip
    return made(recipe_of(source, folder / "store", SIX, num_frames=3), folder / "cache")


def only(loader: ClipLoader) -> ClipBatch:
    """Return the only batch of an epoch."""
    (batch,) = loader
    return batch


def load_all(manifest: Manifest, **options) -> ClipBatch:
    """Return every window of the training split in one batch, as it is stored."""
    config = EVERY.model_copy(update={"batch_size": 2, **options.pop("config", {})})
    return only(ClipLoader(manifest, config, **{"num_frames": 2, "image_px": (32, 64), **options}))


def truth_of(manifest: Manifest, camera: str, name: str) -> np.ndarray:
    """Return an array of depth_truth, the newest frame first."""
    row = next(row for row in manifest.rows() if row["camera"] == camera)
    return manifest.store.open_unit(manifest.unit_of(row, "depth_truth")).array(name)[::-1]


def test_batch_when_cameras_differ_in_size_then_images_are_of_one_and_matrices_follow(tiny):
    batch = load_all(tiny)
    assert batch.image_u8.shape == (2, 2, 2, 32, 64, 3)
    assert batch.image_u8.dtype == torch.uint8
    assert batch.intrinsics.dtype == batch.cam_from_rig.dtype == batch.world_from_rig.dtype == batch.points.dtype == torch.float32
    # 64x36 with its centre at (32, 18) and 48x30 with (24, 15); focal lengths are 0.8 of the width
    expected = [
        [[0.8 * 64, 0, 32], [0, 0.8 * 64 * 32 / 36, 16], [0, 0, 1]],
        [[0.8 * 64, 0, 32], [0, 0.8 * 48 * 32 / 30, 16], [0, 0, 1]],
    ]
    torch.testing.assert_close(batch.intrinsics, torch.tensor(expected).expand(2, 2, 2, 3, 3))
    row = next(row for row in tiny.rows() if row["camera"] == "CAM_BACK" and row["frame"] == 1)
    file = tiny.store.open_unit(tiny.unit_of(row, "images"))
    with Image.open(io.BytesIO(bytes(file.array("encoded", 1)))) as image:
        whole = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(batch.image_u8[0, 0, 1], resized(whole, (32, 64)))
    np.testing.assert_array_equal(batch.image_u8[1, 1, 1], batch.image_u8[0, 0, 1])  # one frame in two windows


def test_batch_when_the_car_drives_then_times_and_poses_are_relative_to_the_newest_frame(tiny):
    batch = load_all(tiny)
    times = [key.split("/")[1] for key in batch.window_keys]
    assert {key.split("/")[0] for key in batch.window_keys} == {"scene-0061"}
    assert int(times[1]) - int(times[0]) == 500_000
    torch.testing.assert_close(batch.time_s, torch.tensor([[0.0, -0.5]] * 2))
    past = torch.eye(4)
    past[0, 3] = -2.5
    torch.testing.assert_close(batch.world_from_rig, torch.stack([torch.eye(4), past]).expand(2, 2, 4, 4))
    # the images come 20 ms before the sweep: the cameras, 1.5 m ahead, are 0.1 m behind where the rig then is
    centres = -(batch.cam_from_rig[..., :3, :3].mT @ batch.cam_from_rig[..., :3, 3:])[..., 0]
    torch.testing.assert_close(centres, torch.tensor([1.4, 0.0, 1.5]).expand(2, 2, 2, 3), atol=1e-5, rtol=0)


def test_points_when_read_from_depth_maps_then_they_are_the_returns_of_the_frames_own_sweep(tiny, tiny_root):
    batch = load_all(tiny)
    row = next(row for row in tiny.rows() if row["camera"] == "CAM_FRONT" and row["frame"] == 0)
    index = next(path for path in tiny.named_units() if path.layout == "frames" and path.scene == row["scene"])
    sweeps = [one for one in rows(tiny.store.open_unit(index).table("sweeps")) if one["channel"] == "LIDAR_TOP"]
    for frame in (0, 1):  # of window 0: key frames 1 and 0
        sweep = next(one for one in sweeps if one["is_keyframe"] and one["sample_index"] == 1 - frame)
        raw = np.fromfile(tiny_root / sweep["file"], "<f4").reshape(-1, 5)[:, :3].astype(float)
        ego_from_lidar = rigid(sweep["ego_from_sensor_translation_m"], sweep["ego_from_sensor_rotation_wxyz"])
        is_own = (batch.point_window == 0) & (batch.point_frame == frame)
        for camera, focal_px in ((0, 0.8 * 64), (1, 0.8 * 48)):
            points = batch.points[is_own & (batch.point_camera == camera)].numpy().astype(float)
            assert len(points) > 10
            distance_m, _ = KDTree(transform_points(ego_from_lidar, raw)).query(points)
            pixel_m = np.abs(points[:, 0] - 1.4) / focal_px  # both cameras look along the street
            assert (distance_m <= np.sqrt(0.5) * pixel_m + 2 / 256).all()  # half a pixel across, a step along


def test_points_when_projected_into_their_own_camera_then_each_falls_on_the_pixel_it_was_read_from(tiny):
    batch = load_all(tiny, image_px=(36, 64))  # the size of CAM_FRONT as it is stored
    row = next(row for row in tiny.rows() if row["camera"] == "CAM_FRONT" and row["frame"] == 1)
    steps = tiny.store.open_unit(tiny.unit_of(row, "depth_single")).array("depth_m", 1)
    is_own = (batch.point_window == 0) & (batch.point_frame == 0) & (batch.point_camera == 0)
    pixels, depth_m = projected(batch.points[is_own].numpy(), batch.cam_from_rig[0, 0, 0], batch.intrinsics[0, 0, 0])
    np.testing.assert_array_equal(np.floor(pixels[:, ::-1]).astype(int), np.argwhere(steps))
    np.testing.assert_allclose(pixels % 1, 0.5, atol=1e-3)
    np.testing.assert_allclose(depth_m, steps[steps > 0] / 256, atol=1e-4)


def test_rig_points_when_the_camera_is_turned_and_moved_then_they_project_back_to_pixel_and_depth():
    rng = np.random.default_rng(0)
    pixels = FramePoints(*(rng.integers(0, 90, 50).astype(np.int16) for _ in range(2)), rng.integers(1, 60_000, 50, np.uint16))
    intrinsic_px = (70.0, 0.5, 44.0, 0.0, 65.0, 41.0, 0.0, 0.0, 1.0)
    cam_from_rig = rigid([0.3, -1.0, 2.0], [0.5, -0.4, 0.6, 0.2])
    points = rig_points(pixels, intrinsic_px, cam_from_rig)
    uv_px, depth_m = projected(points, torch.from_numpy(cam_from_rig), torch.tensor(intrinsic_px).reshape(3, 3))
    np.testing.assert_allclose(uv_px, np.stack([pixels.column, pixels.row], axis=1) + 0.5, atol=1e-3)
    np.testing.assert_allclose(depth_m, pixels.depth / 256, rtol=1e-5)


def test_resized_when_an_image_is_a_ramp_then_every_pixel_shows_what_lies_below_its_centre():
    ramp = np.broadcast_to(2 * np.arange(100)[None, :, None] + np.arange(40)[:, None, None], (40, 100, 3)).astype(np.uint8)
    found = resized(ramp, (20, 50)).astype(float)
    # pixel (j, k) covers rows 2j and 2j + 1, columns 2k and 2k + 1; half a pixel beside that is one level off
    expected = 2 * (2 * np.arange(50) + 0.5)[None, :] + (2 * np.arange(20) + 0.5)[:, None]
    inner = (slice(1, -1), slice(1, -1))  # at the border there is nothing on the other side
    assert np.abs(found - expected[..., None])[inner].max() <= 0.5
    assert resized(ramp, (40, 100)) is ramp


def test_static_points_when_seen_again_half_a_second_before_then_depth_and_colour_agree_in_all_six_cameras(world):
    """Ray round trip (docs/method/mim4d.md#checks): key frame to history views through world_from_rig and cam_from_rig."""
    batch = load_all(world, num_frames=3, image_px=(96, 160))
    depth_m = np.stack([truth_of(world, camera, "depth_m") for camera in SIX]) / 256.0
    surface = np.stack([truth_of(world, camera, "surface") for camera in SIX])
    key_points, key_colours = [], []
    for camera in range(6):
        v, u = np.nonzero((surface[camera, 0] == STATIC) & (depth_m[camera, 0] < 40))
        rays = (
            np.stack([u + 0.5, v + 0.5, np.ones(len(u))], axis=1)
            @ np.linalg.inv(batch.intrinsics[0, 0, camera].double().numpy()).T
        )
        in_cam = rays * depth_m[camera, 0, v, u][:, None]
        matrix = batch.cam_from_rig[0, 0, camera].double().numpy()
        key_points.append((in_cam - matrix[:3, 3]) @ matrix[:3, :3])
        key_colours.append(batch.image_u8[0, 0, camera].numpy()[v, u].astype(float))
    points, colours = np.concatenate(key_points), np.concatenate(key_colours)

    def agreement(frame: int, *, moves: bool) -> tuple[float, float]:
        """Return the share of points at the right depth, and how far off the colours of these are; -1 where nothing is seen."""
        pose = batch.world_from_rig[0, frame].double().numpy() if moves else np.eye(4)
        in_rig = (points - pose[:3, 3]) @ pose[:3, :3]
        is_right, difference = [], []
        for camera in range(6):
            uv_px, z_m = projected(in_rig, batch.cam_from_rig[0, frame, camera], batch.intrinsics[0, frame, camera])
            seen = np.flatnonzero((z_m > 1) & (uv_px >= 0).all(axis=1) & (uv_px < (160, 96)).all(axis=1))
            u, v = uv_px[seen].astype(int).T
            seen, u, v = (values[surface[camera, frame, v, u] == STATIC] for values in (seen, u, v))
            assert len(seen) > 1000, SIX[camera]
            off = np.abs(depth_m[camera, frame, v, u] / z_m[seen] - 1) < 0.05
            shown = batch.image_u8[0, frame, camera].numpy()[v, u].astype(float)
            is_right.append(off)
            difference.append(np.abs(shown - colours[seen]).mean(axis=1)[off])
        return float(np.concatenate(is_right).mean()), float(np.median(np.concatenate(difference)))

    for frame in (1, 2):
        share, colour = agreement(frame, moves=True)
        share_still, colour_still = agreement(frame, moves=False)
        assert share > 0.9, share
        assert colour < 8, colour
        assert share_still < share - 0.1
        assert colour_still > 2 * colour


def test_lidar_when_rays_go_to_it_then_the_exact_depth_of_the_pixel_agrees(world):
    batch = load_all(world, num_frames=3, image_px=(96, 160))
    errors = []
    for camera, channel in enumerate(SIX):
        depth_m, surface = truth_of(world, channel, "depth_m") / 256.0, truth_of(world, channel, "surface")
        for frame in range(3):
            is_own = (batch.point_frame == frame) & (batch.point_camera == camera)
            uv_px, z_m = projected(
                batch.points[is_own].numpy(), batch.cam_from_rig[0, frame, camera], batch.intrinsics[0, 0, camera]
            )
            u, v = uv_px.astype(int).T
            is_static = surface[frame, v, u] == STATIC
            errors.append(np.abs(depth_m[frame, v, u] - z_m)[is_static] / z_m[is_static])
    assert len(np.concatenate(errors)) > 5000
    assert np.median(np.concatenate(errors)) < 0.01


def test_points_of_when_each_window_asks_for_its_own_frame_then_training_and_held_out_points_share_out_all(tiny):
    batch = load_all(tiny, config={"held_out_share": 0.25})
    frames = torch.tensor([1, 0])
    found = {use: batch.points_of(frames, use=use) for use in ("training", "held_out", "all")}
    for window, frame in enumerate(frames.tolist()):
        is_own = (batch.point_window == window) & (batch.point_frame == frame)
        own = {use: points[window][is_point[window]] for use, (points, is_point) in found.items()}
        torch.testing.assert_close(own["all"], batch.points[is_own], rtol=0, atol=0)
        torch.testing.assert_close(own["training"], batch.points[is_own & ~batch.is_held_out], rtol=0, atol=0)
        torch.testing.assert_close(own["held_out"], batch.points[is_own & batch.is_held_out], rtol=0, atol=0)
        assert 0.15 < len(own["held_out"]) / len(own["all"]) < 0.35
    points, is_point = found["all"]
    assert points.shape[1] == int(is_point.sum(dim=1).max())
    assert not points[~is_point].any()


def test_held_out_points_when_a_frame_is_in_two_windows_or_the_batch_is_another_then_they_are_the_same(tiny):
    batch = load_all(tiny)
    first = (batch.point_window == 0) & (batch.point_frame == 0)
    second = (batch.point_window == 1) & (batch.point_frame == 1)  # the same key frame
    torch.testing.assert_close(batch.points[first], batch.points[second], rtol=0, atol=0)
    assert torch.equal(batch.is_held_out[first], batch.is_held_out[second])
    single = list(ClipLoader(tiny, EVERY, num_frames=1, image_px=(64, 96)))
    assert [len(one) for one in single] == [1, 1]
    torch.testing.assert_close(single[0].points, batch.points[first], rtol=0, atol=0)
    assert torch.equal(single[0].is_held_out, batch.is_held_out[first])


def test_held_out_when_share_and_frame_change_then_share_is_kept_pixels_nest_and_frames_differ():
    row, column = (values.ravel().astype(np.int16) for values in np.mgrid[:100, :200])
    pixels = FramePoints(row, column, np.ones(20_000, np.uint16))
    tenth, third = held_out(pixels, "a", 0.1), held_out(pixels, "a", 1 / 3)
    assert abs(tenth.mean() - 0.1) < 0.01
    assert abs(third.mean() - 1 / 3) < 0.01
    assert not (tenth & ~third).any()
    assert not held_out(pixels, "a", 0.0).any()
    assert abs((tenth & held_out(pixels, "b", 0.1)).mean() - 0.01) < 0.005  # independent of each other
    grid = tenth.reshape(100, 200)
    assert abs((grid[:, 1:] & grid[:, :-1]).mean() - 0.01) < 0.005  # and neighbours are
    assert abs((grid[1:] & grid[:-1]).mean() - 0.01) < 0.005
    assert np.flatnonzero(tenth)[:4].tolist() == [4, 10, 18, 27]  # another rule would train old runs on what they hold out


def test_cameras_when_chosen_then_the_batch_has_these_in_this_order(tiny):
    both = load_all(tiny)
    turned = load_all(tiny, config={"cameras": ("CAM_BACK", "CAM_FRONT")})
    assert torch.equal(turned.image_u8, both.image_u8.flip(2))
    assert torch.equal(turned.cam_from_rig, both.cam_from_rig.flip(2))
    loader = ClipLoader(tiny, EVERY.model_copy(update={"cameras": ("CAM_BACK",)}), num_frames=2, image_px=(32, 64))
    assert loader.cameras == ("CAM_BACK",)
    assert next(iter(loader)).image_u8.shape == (1, 2, 1, 32, 64, 3)


def test_reading_when_a_window_has_many_images_then_one_request_brings_all_and_a_worker_can_be_sent_it(tiny, monkeypatch):
    requests = []
    read = RangeReader.read

    def counted(self, ranges):
        requests.append(len(ranges))
        return read(self, ranges)

    loader = ClipLoader(tiny, EVERY.model_copy(update={"batch_size": 2}), num_frames=2, image_px=(32, 64))
    here = only(loader)  # opens units, too
    monkeypatch.setattr(RangeReader, "read", counted)
    loader.set_epoch(0)
    only(loader)
    assert requests == [8, 8]  # two windows of two frames and two cameras: image and sweep of each
    sent = pickle.loads(pickle.dumps(loader._answers))
    assert isinstance(sent._reading, ClipReading)
    memory = np.zeros(loader._layout.num_bytes, np.uint8)
    found = sent._opened().read((0, 1), memory, epoch=0)
    np.testing.assert_array_equal(loader._layout.arrays(memory, 2)["image"], here.image_u8)
    np.testing.assert_array_equal(found.points, here.points)


def test_order_when_shuffled_then_it_depends_on_seed_and_epoch_and_resumes(tiny):
    def keys(loader) -> list[str]:
        return [key for batch in loader for key in batch.window_keys]

    config = ClipDataConfig(split="val")
    loader = ClipLoader(tiny, config, num_frames=1, image_px=(32, 32))
    epochs = [keys(loader) for _ in range(6)]
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert all(sorted(epoch) == sorted(epochs[0]) and len(epoch) == 2 for epoch in epochs)
    half = ClipLoader(tiny, config, num_frames=1, image_px=(32, 32))
    next(iter(half))
    rest = ClipLoader(tiny, config, num_frames=1, image_px=(32, 32))
    rest.load_state_dict(half.state_dict())
    assert keys(rest) == epochs[0][1:]


def test_windows_when_the_manifest_leaves_out_their_last_key_frame_then_they_are_left_out_and_counted(tiny_root, tmp_path):
    source = {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}
    recipe = recipe_of(source, tmp_path / "store", ["CAM_FRONT"], num_frames=2, drop_last=True)
    loader = ClipLoader(made(recipe, tmp_path / "cache"), EVERY, num_frames=2, image_px=(32, 64))
    assert (len(loader), loader.num_left_out) == (1, 1)


@pytest.mark.parametrize(
    ("config", "num_frames", "words"),
    [
        ({}, 3, "have 2 frames, the network takes 3. Set stages.index_windows.num_frames to 3 and run the recipe again"),
        ({"cameras": ("CAM_SIDE",)}, 2, "camera 'CAM_SIDE' has no frame in split 'train'"),
        ({"order": "shuffled", "batch_size": 3}, 2, "has 2 windows, one training step of 1 ranks with batch_size 3 takes 3"),
        ({"split": "test"}, 2, "split 'test' is empty in manifest"),
    ],
)
def test_loader_when_it_cannot_have_what_it_is_asked_for_then_says_what_and_what_to_do(tiny, config, num_frames, words):
    with pytest.raises(ManifestError) as error:
        ClipLoader(tiny, EVERY.model_copy(update=config), num_frames=num_frames, image_px=(32, 64))
    assert words in str(error.value)


def test_loader_when_the_recipe_made_no_windows_then_says_which_key_to_set(tiny_store):
    with pytest.raises(ManifestError) as error:
        ClipLoader(open_manifest(Store(tiny_store)), EVERY, num_frames=1, image_px=(32, 64))
    assert "has no windows. Set stages.index_windows.enabled to true in the recipe and run it again" in str(error.value)


@pytest.mark.parametrize(
    ("windows", "cameras", "words"),
    [
        ({"cameras": ("CAM_BACK",)}, ("CAM_FRONT",), "without camera 'CAM_FRONT'; cameras there: CAM_BACK. Choose among these"),
        (
            {"num_frames": 3},
            (),
            "has no complete window: its scenes have 1, and each has a key frame that the manifest lacks for one of CAM_FRONT, CAM_BACK",
        ),
        ({"num_frames": 4}, (), "has no window: each of its 1 scenes has fewer frames than one takes"),
    ],
)
def test_loader_when_windows_and_manifest_do_not_fit_then_says_so(tiny_root, tmp_path, windows, cameras, words):
    source = {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}
    recipe = recipe_of(source, tmp_path / "store", TINY_CAMERAS, num_frames=1, drop_last=True)
    params = recipe.stages.index_windows.model_copy(update=windows)
    recipe = recipe.model_copy(update={"stages": recipe.stages.model_copy(update={"index_windows": params})})
    manifest = made(recipe, tmp_path / "cache")
    with pytest.raises(ManifestError) as error:
        ClipLoader(manifest, EVERY.model_copy(update={"cameras": cameras}), num_frames=1, image_px=(32, 64))
    assert words in str(error.value)


@pytest.mark.real_data
def test_real_key_frame_when_a_window_of_one_then_six_images_and_their_points_come_with_it(shared, tmp_path):
    source = {"kind": "nuscenes", "root": str(shared / "data" / "nuscenes-keyframe"), "version": "v1.0-mini"}
    manifest = made(recipe_of(source, tmp_path / "store", SIX, num_frames=1), tmp_path / "cache")
    batch = only(ClipLoader(manifest, EVERY, num_frames=1, image_px=(224, 384)))
    assert batch.image_u8.shape == (1, 1, 6, 224, 384, 3)
    assert (batch.image_u8.flatten(3, 5).float().std(dim=-1) > 20).all()
    per_camera = torch.bincount(batch.point_camera)
    assert per_camera.shape == (6,)
    assert (per_camera > 3000).all()
    assert abs(float(batch.is_held_out.float().mean()) - 0.1) < 0.01
    # the ego frame lies on the road: so does the lower part of what a scanner sees
    near = batch.points[batch.points[:, :2].norm(dim=1) < 12]
    assert abs(float(near[:, 2].quantile(0.2))) < 0.15
    # what two cameras see at the edge of their images is one thing: FRONT and FRONT_LEFT
    left, front = (batch.points[batch.point_camera == camera].numpy() for camera in (SIX.index("CAM_FRONT_LEFT"), 0))
    distance_m, _ = KDTree(left).query(front)
    assert (distance_m < 0.05).sum() > 100
