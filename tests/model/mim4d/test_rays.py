from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch
from pydantic import ValidationError

from model.errors import InputError
from model.mim4d.rays import NO_DEPTH, FrameViews, Rays, rays_through, sample_rays
from model.mim4d.render_config import RayConfig, RenderConfig
from model.mim4d.voxel_grid import VoxelGrid
from tests.model.mim4d.analytic_fields import checker

GRID = VoxelGrid((-25.6, -25.6, -5.0), (25.6, 25.6, 3.0), (5, 8, 8))
IMAGE = (48, 80)
NUM_CAMERAS = 3
CAM_AXES = torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # rig: x ahead, y left, z up


def pose(yaw: float, move: tuple[float, float, float]) -> torch.Tensor:
    matrix = torch.eye(4)
    matrix[:2, :2] = torch.tensor([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    matrix[:3, 3] = torch.tensor(move)
    return matrix


def cameras(clips: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Cameras all around, each clip's a little different, as cameras of a moving rig are; and their intrinsics."""
    cam_from_rig, intrinsics = torch.empty(clips, NUM_CAMERAS, 4, 4), torch.zeros(clips, NUM_CAMERAS, 3, 3)
    for clip in range(clips):
        for number in range(NUM_CAMERAS):
            rig_from_cam = pose(2.1 * number + 0.05 * clip, (0.5 + 0.2 * clip, 0.1 * number, -0.3))
            rig_from_cam[:3, :3] = rig_from_cam[:3, :3] @ CAM_AXES.T
            cam_from_rig[clip, number] = torch.linalg.inv(rig_from_cam)
            intrinsics[clip, number] = torch.tensor([[40.0 + number, 0.0, 39.0], [0.0, 41.0, 24.0 + clip], [0.0, 0.0, 1.0]])
    return cam_from_rig, intrinsics


def ground_points(clips: int = 2, num: int = 400, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    radius, azimuth = 4 + 20 * torch.rand(clips, num, generator=generator), 6.283 * torch.rand(clips, num, generator=generator)
    return torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), torch.full_like(radius, -1.84)], dim=-1)


def take(points_m: torch.Tensor | None = None, *, num: int = 32, seed: int = 0, **options) -> Rays:
    points_m = ground_points() if points_m is None else points_m
    clips = points_m.shape[0]
    cam_from_rig, intrinsics = cameras(clips)
    given = {
        "images": torch.rand(clips, NUM_CAMERAS, 3, *IMAGE, generator=torch.Generator().manual_seed(9)),
        "cam_from_rig": cam_from_rig,
        "intrinsics": intrinsics,
        "grid": GRID,
        "config": RenderConfig(rays=RayConfig(rays_per_camera=num)),
        "generator": torch.Generator().manual_seed(seed),
    }
    given.update(options)
    views = FrameViews(**{name: given.pop(name) for name in FrameViews.__dataclass_fields__ if name in given})
    return sample_rays(points_m, views, **given)


def farthest_m(places_m: torch.Tensor, points_m: torch.Tensor) -> float:
    """How far the place that is farthest from all points is from the nearest one."""
    return (places_m[:, None] - points_m).norm(dim=-1).amin(dim=-1).max().item()


def test_rays_when_followed_for_their_depth_then_pass_the_image_where_they_say_and_end_at_a_point() -> None:  # G10
    points_m = ground_points()
    rays = take(points_m)
    cam_from_rig, intrinsics = cameras()
    assert rays.is_measured.sum() > 100
    end_m = rays.origin_m + rays.direction * rays.depth_m[..., None]
    which = rays.camera[..., None, None]
    in_cam = (
        cam_from_rig.gather(1, which.expand(-1, -1, 4, 4)) @ torch.cat([end_m, torch.ones_like(end_m[..., :1])], -1)[..., None]
    )[..., :3, :]
    homogeneous = (intrinsics.gather(1, which.expand(-1, -1, 3, 3)) @ in_cam)[..., 0]
    uv_px = homogeneous[..., :2] / homogeneous[..., 2:]
    assert (uv_px - rays.uv_px)[rays.is_measured].abs().max() < 1e-3
    for clip in range(2):
        assert farthest_m(end_m[clip, rays.is_measured[clip]], points_m[clip]) < 1e-3
    torch.testing.assert_close(rays.direction.norm(dim=-1), torch.ones_like(rays.depth_m))


def test_rays_when_the_rig_has_moved_since_then_each_frame_shows_the_colour_of_the_same_point() -> None:  # G10
    rig_from_world = torch.stack([torch.linalg.inv(pose(0.0, (0.0, 0.0, 0.0))), torch.linalg.inv(pose(-0.03, (-1.7, 0.2, 0.0)))])
    cam_from_rig, intrinsics = cameras(2)
    rows, columns = torch.meshgrid(torch.arange(IMAGE[0]) + 0.5, torch.arange(IMAGE[1]) + 0.5, indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).reshape(1, 1, -1, 2).expand(2, NUM_CAMERAS, -1, 2)
    origin_m, direction = rays_through(pixels, cam_from_rig=cam_from_rig, intrinsics=intrinsics)
    length = (-1.84 - origin_m[..., 2:]) / direction[..., 2:].clamp(max=-1e-3)
    world_from_rig = torch.linalg.inv(rig_from_world)

    def to_world(points_m: torch.Tensor) -> torch.Tensor:
        return points_m @ world_from_rig[:, :3, :3].transpose(1, 2) + world_from_rig[:, None, :3, 3]

    def colour(points_m: torch.Tensor) -> torch.Tensor:
        return checker(to_world(points_m) * 0.2)

    images = colour((origin_m + length * direction).flatten(1, 2)).reshape(2, NUM_CAMERAS, *IMAGE, 3).permute(0, 1, 4, 2, 3)
    in_world = ground_points(1)  # the same points, in the rig frame of each of the two frames
    points_m = in_world @ rig_from_world[:, :3, :3].transpose(1, 2) + rig_from_world[:, None, :3, 3]
    rays = take(points_m, images=images)
    near = rays.is_measured & (rays.depth_m < 8)  # farther away a pixel covers metres of ground
    end_m = rays.origin_m + rays.direction * rays.depth_m[..., None]
    assert near.sum(dim=1).min() > 10
    assert (rays.rgb - colour(end_m))[near].abs().max() < 0.1


def test_rays_when_hits_are_fewer_than_asked_for_then_pixels_without_depth_fill_up_below_the_top() -> None:
    rays = take(ground_points(num=12), num=40)
    is_filler = rays.is_ray & ~rays.is_measured
    per_camera = rays.is_measured.reshape(2, NUM_CAMERAS, 40)
    assert rays.is_ray.all() and (per_camera.sum(-1) < 40).all()
    assert (per_camera.int().diff(dim=-1) <= 0).all()  # hits first
    assert (rays.depth_m[is_filler] == NO_DEPTH).all()
    assert (rays.uv_px[is_filler] % 4 == 0.5).sum() > 0
    uv_px = rays.uv_px[is_filler]
    assert uv_px[:, 1].min() >= math.ceil(0.4 * IMAGE[0])
    assert ((uv_px[:, 0] - 0.5) % 4 == 0).all() and ((uv_px[:, 1] - 20.5) % 4 == 0).all()


def test_rays_when_hits_are_more_than_asked_for_then_are_drawn_without_repetition_by_the_generator() -> None:
    one, again, other = take(num=16), take(num=16), take(num=16, seed=1)
    assert one.is_measured.all()
    for name in (field.name for field in fields(Rays)):
        assert torch.equal(getattr(one, name), getattr(again, name)), name
    assert not torch.equal(one.uv_px, other.uv_px)
    places = one.uv_px.reshape(2, NUM_CAMERAS, 16, 2)
    for camera in places.flatten(0, 1):
        assert len(camera.unique(dim=0)) == 16


def test_rays_when_the_image_has_too_few_pixels_then_the_slots_left_hold_no_ray_and_are_finite() -> None:
    rays = take(ground_points(num=3), num=400)
    num_filler = math.ceil((48 - 20) / 4) * 20
    for camera in range(NUM_CAMERAS):
        of_camera = rays.camera == camera
        hits = (rays.is_measured & of_camera).sum(dim=1)
        assert ((rays.is_ray & of_camera).sum(dim=1) == num_filler + hits).all()
    empty = ~rays.is_ray
    assert empty.sum() > 1000
    assert (rays.depth_m[empty] == NO_DEPTH).all() and not rays.rgb[empty].any() and not rays.is_masked[empty].any()
    torch.testing.assert_close(rays.direction.norm(dim=-1), torch.ones_like(rays.depth_m))


def test_rays_when_there_are_no_points_then_all_are_filler() -> None:
    rays = take(torch.zeros(2, 0, 3), num=8)
    assert rays.is_ray.all() and not rays.is_measured.any()


def test_rays_when_points_cannot_be_rendered_then_are_not_chosen() -> None:
    nan = math.nan
    points_m = torch.tensor(
        [
            [10.0, 0.0, -0.3],  # the only good one
            [2.0, 0.0, -0.3],  # on the vehicle
            [10.0, 0.0, 3.5],  # above the box
            [26.0, 0.0, -0.3],  # beside the box
            [-10.0, 0.1, -0.3],  # behind the first camera
            [10.0, nan, -0.3],
            [math.inf, 0.0, -0.3],
            [11.0, 0.2, -0.3],  # no point, see below
        ]
    )[None]
    is_point = torch.ones(1, 8, dtype=torch.bool)
    is_point[0, 7] = False
    rays = take(points_m, num=20, is_point=is_point)
    first = rays.is_measured[0] & (rays.camera[0] == 0)
    assert first.sum() == 1
    assert rays.depth_m[0, first].item() == pytest.approx(9.5)
    for values in (rays.origin_m, rays.direction, rays.uv_px, rays.rgb):
        assert values.isfinite().all()
    far = take(points_m, num=20, config=RenderConfig(rays=RayConfig(rays_per_camera=20, max_radius_m=9.0)))
    assert not far.is_measured.any()
    near = take(points_m[:, :1], num=20, config=RenderConfig(near_m=9.6, rays=RayConfig(rays_per_camera=20)))
    assert not near.is_measured.any()  # the renderer does not look so near


def test_rays_when_points_are_padded_then_the_padding_is_never_chosen() -> None:
    points_m = ground_points(num=50)
    is_point = torch.zeros(2, 50, dtype=torch.bool)
    is_point[0, :30], is_point[1, :4] = True, True
    rays = take(points_m, num=64, is_point=is_point)
    end_m = rays.origin_m + rays.direction * rays.depth_m[..., None]
    for clip, num in enumerate((30, 4)):
        found = end_m[clip, rays.is_measured[clip]]
        assert len(found) > 0
        assert farthest_m(found, points_m[clip, :num]) < 1e-3


def test_colours_when_read_then_are_of_the_pixel_that_the_place_lies_in() -> None:
    column = torch.arange(IMAGE[1]).expand(IMAGE) / 100
    row = torch.arange(IMAGE[0])[:, None].expand(IMAGE) / 100
    images = torch.stack([column, row, torch.full(IMAGE, 0.9)]).expand(2, NUM_CAMERAS, 3, *IMAGE)
    rays = take(images=images)
    torch.testing.assert_close(rays.rgb[..., :2] * 100, rays.uv_px.floor())
    released = take(images=images, config=RenderConfig(rays=RayConfig(rays_per_camera=32, rgb_order="released_bgr")))
    assert torch.equal(released.rgb, rays.rgb.flip(-1))


def test_hidden_flag_when_patches_were_hidden_then_is_true_for_the_places_in_them() -> None:
    is_seen = torch.rand(2, NUM_CAMERAS, 3, 5, generator=torch.Generator().manual_seed(2)) > 0.4
    rays = take(is_seen=is_seen)
    cell = (rays.uv_px / 16).long()
    clip = torch.arange(2)[:, None].expand_as(rays.camera)
    assert torch.equal(rays.is_masked, ~is_seen[clip, rays.camera, cell[..., 1], cell[..., 0]])
    assert 0 < rays.is_masked.sum() < rays.is_masked.numel()
    assert not take().is_masked.any()


def test_rays_when_the_images_are_padded_then_stay_inside_the_picture() -> None:
    rays = take(num=400, image_px=(40, 70))
    uv_px = rays.uv_px[rays.is_ray]
    assert (uv_px[:, 0] < 70).all() and (uv_px[:, 1] < 40).all()
    assert uv_px[:, 0].max() > 60 and uv_px[:, 1].max() > 35


def test_to_when_a_device_is_named_then_all_tensors_are_there() -> None:
    moved = take(num=2).to("meta")
    assert all(getattr(moved, field.name).device.type == "meta" for field in fields(Rays))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": torch.zeros(2, 3, 48, 80)},
            r"images of rays have shape \(2, 3, 48, 80\); expected \(clips, cameras, 3, height, width\)",
        ),
        ({"cam_from_rig": torch.zeros(2, 2, 4, 4)}, r"cam_from_rig of rays has shape \(2, 2, 4, 4\).*expected \(2, 3, 4, 4\)"),
        ({"intrinsics": torch.zeros(2, 3, 4, 4)}, r"intrinsics of rays has shape \(2, 3, 4, 4\).*expected \(2, 3, 3, 3\)"),
        ({"is_point": torch.ones(2, 7, dtype=torch.bool)}, r"is_point of rays has shape \(2, 7\).*expected \(2, 400\)"),
        (
            {"is_seen": torch.ones(2, 3, 5, 7, dtype=torch.bool)},
            r"is_seen of rays has shape \(2, 3, 5, 7\).*divide 48 x 80 pixels",
        ),
        ({"image_px": (49, 80)}, r"image_px of rays is \(49, 80\); expected a height and width within the padded \(48, 80\)"),
    ],
)
def test_rays_when_shapes_do_not_fit_then_error_names_the_input_and_what_was_expected(changes, message) -> None:
    with pytest.raises(InputError, match=message):
        take(**changes)


def test_config_when_the_radii_are_the_wrong_way_round_then_error_says_so() -> None:
    with pytest.raises(ValidationError, match="min_radius_m is 60 and max_radius_m 50"):
        RayConfig(min_radius_m=60.0)
