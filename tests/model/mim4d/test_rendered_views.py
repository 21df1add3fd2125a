from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.mim4d.batch import views_of
from model.mim4d.clip_draws import clip_generator, draw_rays
from model.mim4d.composite import Rendered
from model.mim4d.config import RenderEvaluationConfig
from model.mim4d.evaluation import EVALUATION_EPOCH, evaluate_renderings
from model.mim4d.net import Mim4d
from model.mim4d.pictured_clips import spread_evenly
from model.mim4d.rendered_views import VIEWS_FILE, rendered_views, write_rendered_views
from tests.model.mim4d.made_up_clips import cast, make_world, small_clip, small_network

CPU = torch.device("cpu")
CAMERAS = ("front", "left", "right")
STEPS_PER_M = 256


def viewed(network, clips, *, width_px=8, flight_frames=0, **options):
    config = RenderEvaluationConfig.model_construct(picture_width_px=width_px, flight_frames=flight_frames)
    return rendered_views(network, clips, config, cameras=CAMERAS, seed=0, device=CPU, **options)


@pytest.fixture(scope="module")
def network() -> Mim4d:
    torch.manual_seed(0)
    return Mim4d(small_network()).eval()


@pytest.fixture(scope="module")
def found(network):
    return viewed(network, [small_clip(0), small_clip(1)], flight_frames=4)


class TrueWorld:
    """A network that shows what is truly there: the made-up world of a clip, a metre farther when rebuilt."""

    def __init__(self, seed: int, **changes) -> None:
        self.config = small_network(**changes)
        self.temporal = object()
        self._world = make_world(seed)
        self.origins: list[torch.Tensor] = []

    def volumes(self, views, is_seen):
        self.is_seen = is_seen
        return torch.zeros(1, views.image.shape[1], 1)

    def reconstruct(self, volumes, views, targets):
        assert list(targets) == [0]
        return torch.ones(1, 1)

    def show(self, volume, origin_m, direction) -> Rendered:
        distance, colour = cast(self._world, origin_m[0], direction[0], time_s=0.0)
        is_hit = distance.isfinite() & (distance < 40)
        depth_m = torch.where(is_hit, distance, 0.0) + volume.max()
        self.origins.append(origin_m[0, 0])
        ones = torch.ones_like(depth_m)
        return Rendered(colour[None], depth_m[None], ones[None], direction, ones[None], is_hit[None])


@pytest.fixture(scope="module")
def true():
    """A clip with all points held out, and what the true world shows of it."""
    network = TrueWorld(3)
    clip = small_clip(3, elevations=40, azimuths=180)
    clip = replace(clip, is_held_out=torch.ones_like(clip.is_held_out))
    return clip, viewed(network, [clip], width_px=64, flight_frames=3), network


def test_colour_when_the_volume_is_the_true_world_then_the_image_itself(true):
    clip, found, _ = true
    assert found["step_px"] == 1 and found["direct_rgb_u8"].shape == (1, 3, 32, 64, 3)
    is_hit = found["direct_steps"] > 0
    assert 0.4 < is_hit.mean() < 0.95
    assert np.array_equal(found["reconstruct_steps"] > 0, is_hit)  # a ray that misses shows nothing, whatever it says
    assert np.array_equal(found["direct_rgb_u8"][is_hit], clip.image_u8[:, 0].numpy()[is_hit])
    assert np.array_equal(found["image_u8"], clip.image_u8[:, 0].numpy())


def test_depth_when_the_volume_is_the_true_world_then_that_of_lidar_and_held_out_points(true):
    _, found, _ = true
    measured = found["held_out_steps"] > 0
    assert measured.sum() > 300
    for name, off_m in (("direct", 0.0), ("reconstruct", 1.0)):
        error_m = found[f"{name}_held_out_steps"][measured].astype(float) / STEPS_PER_M - off_m
        error_m -= found["held_out_steps"][measured] / STEPS_PER_M
        assert np.median(np.abs(error_m)) < 0.02  # cameras and LiDAR stand apart, so some points are hidden from the camera
        assert (np.abs(error_m) < 0.05).mean() > 0.9
    assert (found["direct_held_out_steps"][~measured] == 0).all()
    # the made-up points all say that they were read from the first camera
    lidar = found["lidar_steps"][0, 0]
    assert (found["lidar_steps"][0, 1:] == 0).all() and (lidar > 0).sum() > 100
    near = (lidar > 0) & (found["held_out_steps"][0, 0] > 0)
    assert near.sum() > 50
    both = lidar[near].astype(int) - found["held_out_steps"][0, 0][near]
    assert (np.abs(both) <= 1).all()


def test_maps_when_two_points_meet_then_the_nearer_is_kept(network):
    clip = small_clip(0)
    points = torch.tensor([[20.0, 0.3, -1.0], [10.2, 0.15, -0.6], [15.1, 0.225, -0.8]])
    one = replace(
        clip,
        points=points,
        point_window=torch.zeros(3, dtype=torch.int64),
        point_frame=torch.zeros(3, dtype=torch.int64),
        point_camera=torch.zeros(3, dtype=torch.int64),
        is_held_out=torch.tensor([True, True, False]),
    )
    found = viewed(network, [one])
    lidar, held_out = (found[name][0, 0] for name in ("lidar_steps", "held_out_steps"))
    assert np.count_nonzero(lidar) == 1 and np.count_nonzero(held_out) == 1
    centre = torch.linalg.inv(clip.cam_from_rig[0, 0, 0])[:3, 3]
    nearest_m = float((points[1] - centre).norm())
    assert lidar.max() == held_out.max() == round(nearest_m * STEPS_PER_M)


def test_colour_when_the_network_learned_blue_green_red_then_shown_as_red_green_blue(true):
    clip, found, _ = true
    swapped = TrueWorld(3, render={"rays": {"rays_per_camera": 8, "rgb_order": "released_bgr"}, **small_render()})
    other = viewed(swapped, [clip], width_px=64)
    assert np.array_equal(other["direct_rgb_u8"], found["direct_rgb_u8"][..., ::-1])


def small_render():
    return {key: value for key, value in small_network().render.model_dump().items() if key not in ("rays", "grid_align")}


def test_flight_when_flown_then_ends_where_the_forward_camera_is(true):
    clip, found, network = true
    assert found["flight_rgb_u8"].shape == (3, 32, 64, 3) and found["flight_steps"].dtype == np.uint16
    assert np.array_equal(found["flight_rgb_u8"][-1], found["direct_rgb_u8"][0, 0])
    assert np.array_equal(found["flight_steps"][-1], found["direct_steps"][0, 0])
    assert not np.array_equal(found["flight_rgb_u8"][0], found["direct_rgb_u8"][0, 0])
    centre = torch.linalg.inv(clip.cam_from_rig[0, 0, 0])[:3, 3]
    back = clip.world_from_rig[0, :, :3, 3].diff(dim=0).norm(dim=-1).sum()  # the whole path, as it is short
    assert float((network.origins[-3] - centre).norm()) == pytest.approx(float(back), rel=0.05)


def test_views_when_two_clips_then_stacked_and_a_flight_of_the_first_only(found):
    assert found["window_keys"].tolist() == ["world-0/0", "world-1/1"] and tuple(found["cameras"]) == CAMERAS
    shapes = {name: found[name].shape for name in ("direct_rgb_u8", "direct_steps", "reconstruct_opacity_u8", "lidar_steps")}
    assert shapes == {
        "direct_rgb_u8": (2, 3, 4, 8, 3),
        "direct_steps": (2, 3, 4, 8),
        "reconstruct_opacity_u8": (2, 3, 4, 8),
        "lidar_steps": (2, 3, 32, 64),
    }
    assert found["step_px"] == 8 and found["flight_steps"].shape == (4, 4, 8)


def test_pixels_when_only_some_are_rendered_then_those_of_the_whole_picture(network):
    clip = small_clip(0)
    views = views_of(clip)
    few = viewed(network, [clip], width_px=8)
    # the middle of a square of 8 is a corner of four pixels: the rays of a camera of an eighth of the size
    smaller = replace(clip, intrinsics=clip.intrinsics / torch.tensor([8.0, 8.0, 1.0])[:, None])
    rays = pixel_rays(smaller, 4, 8)
    volume = network.volumes(views, seen_of(network, clip))[:, 0]
    shown = network.show(volume, *rays)
    assert np.abs(few["direct_steps"][0].reshape(-1) - (shown.depth_m[0].detach() * STEPS_PER_M).numpy()).max() < 2


def pixel_rays(clip, rows, columns):
    v, u = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    in_image = torch.stack([u, v, torch.ones_like(u)], dim=-1).view(-1, 3)
    origins, directions = [], []
    for camera in range(clip.intrinsics.shape[2]):
        rig_from_cam = torch.linalg.inv(clip.cam_from_rig[0, 0, camera])
        along = in_image @ torch.linalg.inv(clip.intrinsics[0, 0, camera]).T @ rig_from_cam[:3, :3].T
        directions.append(torch.nn.functional.normalize(along, dim=-1))
        origins.append(rig_from_cam[:3, 3].expand_as(along))
    return torch.cat(origins)[None], torch.cat(directions)[None]


def seen_of(network, clip):
    generator = clip_generator(clip.window_keys[0], seed=0, epoch=EVALUATION_EPOCH)
    return draw_rays(clip, network.config, targets=[(0,)], generators=[generator], of_points=clip.is_held_out).is_seen


def test_hidden_patches_when_shown_then_those_of_the_evaluation(network, monkeypatch):
    clip, given = small_clip(0), []
    volumes = network.volumes
    monkeypatch.setattr(network, "volumes", lambda views, is_seen: given.append(is_seen) or volumes(views, is_seen))
    evaluate_renderings(network, lambda: iter([clip]), rays_per_camera=4, seed=0, device=CPU)
    found = viewed(network, [clip])
    assert torch.equal(given[0], given[-1])
    assert np.array_equal(found["is_seen"][0], given[-1][0, 0].numpy()) and 0 < found["is_seen"].mean() < 1


def test_views_when_nothing_is_hidden_and_frames_are_single_then_seen_and_direct_only():
    torch.manual_seed(0)
    network = Mim4d(small_network(num_frames=1, mask={"hidden_ratio": 0.0})).eval()
    found = viewed(network, [small_clip(0, num_frames=1)], flight_frames=2)
    assert found["is_seen"].all() and not any(name.startswith("reconstruct") for name in found)
    assert found["flight_steps"].shape == (2, 4, 8)


def test_views_when_made_again_then_the_same_and_the_network_is_unchanged(network, found):
    again = viewed(network, [small_clip(0), small_clip(1)], flight_frames=4)
    assert all(np.array_equal(again[name], one) for name, one in found.items())
    assert all(one.grad is None for one in network.parameters()) and not network.training


def test_views_when_no_point_is_held_out_then_pictures_without_errors(network):
    clip = small_clip(0)
    found = viewed(network, [replace(clip, is_held_out=torch.zeros_like(clip.is_held_out))])
    assert not found["held_out_steps"].any() and not found["direct_held_out_steps"].any() and found["lidar_steps"].any()


def test_file_when_written_then_read_back_and_gone_when_there_is_nothing(found, tmp_path):
    write_rendered_views(tmp_path, found)
    with np.load(tmp_path / VIEWS_FILE, allow_pickle=False) as back:
        assert set(back.files) == set(found) and all(np.array_equal(back[name], one) for name, one in found.items())
    write_rendered_views(tmp_path, viewed(None, []))
    assert not (tmp_path / VIEWS_FILE).exists()


@pytest.mark.parametrize(
    ("num_clips", "num_wanted", "places"), [(10, 2, [2, 7]), (1, 2, [0]), (3, 3, [0, 1, 2]), (5, 1, [2]), (7, 0, [])]
)
def test_clips_when_chosen_then_spread_over_the_split(num_clips, num_wanted, places):
    assert spread_evenly(num_clips, num_wanted) == places
