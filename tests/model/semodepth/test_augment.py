from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.semodepth import augment
from model.semodepth.augment import View, draw_view, stack_views, view_image, view_intrinsics, view_nearest, view_points
from model.semodepth.batch import Batch, Points
from model.semodepth.config import AugmentConfig
from model.semodepth.dense import dense_batch

HEIGHT, WIDTH = 40, 60
INTRINSIC = torch.tensor([[[50.0, 0.3, 28.5], [0.0, 55.0, 21.25], [0.0, 0.0, 1.0]]])

VIEWS = st.builds(
    View,
    is_flipped=st.booleans(),
    scale=st.sampled_from([1.0, 0.6, 0.83, 1.37]),
    left_px=st.integers(-5, 9),
    top_px=st.integers(-4, 7),
    keeps_mono=st.just(True),
)


def batch_of(view: View, **fields) -> Batch:
    image = torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.uint8)
    defaults = {"frame_keys": ("s/c/1",), "image_u8": image, "intrinsics": INTRINSIC, "is_night": torch.tensor([False])}
    return Batch(**{**defaults, **fields}, views=stack_views([view], height=34, width=50))


def points_at(pixels: list[tuple[int, int]], depth: torch.Tensor) -> Points:
    row, column = torch.tensor(pixels, dtype=torch.int16).reshape(-1, 2).T
    return Points(torch.zeros(len(pixels), dtype=torch.int16), row, column, depth)


@settings(deadline=None)
@given(VIEWS, st.floats(-3, 3), st.floats(-3, 3), st.floats(3, 60))
def test_point_of_the_world_lands_on_the_pixel_that_shows_it(view, x, y, z):
    """A point P on a pixel of the frame is, in the view, a * P (mirrored if flipped), and projects onto the pixel that shows it."""
    u, v, _ = (INTRINSIC[0].double() @ torch.tensor([x, y, z], dtype=torch.float64) / z).tolist()
    if not (0 <= u < WIDTH and 0 <= v < HEIGHT):
        return
    views = stack_views([view], height=34, width=50)
    seen = torch.tensor([-x if view.is_flipped else x, y, z], dtype=torch.float64) * view.scale
    found = view_intrinsics(INTRINSIC, views, width=WIDTH)[0].double() @ seen / seen[2]
    expected_u = ((WIDTH - u) if view.is_flipped else u) / view.scale - view.left_px
    assert found[0] == pytest.approx(expected_u, abs=1e-3)
    assert found[1] == pytest.approx(v / view.scale - view.top_px, abs=1e-3)
    row, column, _ = view_points(*(torch.tensor([value]) for value in (int(v), int(u), 0)), views, width=WIDTH)
    assert abs(float(column) + 0.5 - float(found[0])) <= 0.5 + 0.5 / view.scale + 1e-3  # pixel centre against point
    assert abs(float(row) + 0.5 - float(found[1])) <= 0.5 + 0.5 / view.scale + 1e-3


@settings(deadline=None)
@given(VIEWS, st.integers(0, 2**31))
def test_every_pixel_keeps_its_ray_and_depth_grows_by_the_scale(view, seed):
    steps = torch.from_numpy(np.random.default_rng(seed).integers(1, 20000, (1, HEIGHT, WIDTH)).astype(np.uint16))
    dense = dense_batch(batch_of(view, target_steps=steps), max_depth_m=120.0)
    rays = torch.linalg.inv(dense.intrinsics[0].double())
    seen = torch.nonzero(dense.target_m[0])
    for row, column in seen[:: max(1, len(seen) // 20)].tolist():
        ray = rays @ torch.tensor([column + 0.5, row + 0.5, 1.0], dtype=torch.float64)
        u, v, _ = (INTRINSIC[0].double() @ (ray * torch.tensor([-1.0 if view.is_flipped else 1.0, 1.0, 1.0]))).tolist()
        if min(abs(u - round(u)), abs(v - round(v))) < 1e-3:
            continue  # on the border of two pixels
        expected = float(steps[0, int(v), int(u)]) / 256 * view.scale
        assert float(dense.target_m[0, row, column]) == pytest.approx(expected, rel=1e-6)


@given(VIEWS.filter(lambda view: view.scale == 1.0), st.integers(0, 2**31))
def test_points_maps_and_image_move_together_when_nothing_is_scaled(view, seed):
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random((HEIGHT, WIDTH)) < 0.1, rng.integers(1, 30000, (HEIGHT, WIDTH)), 0).astype(np.uint16)
    image = torch.from_numpy(np.repeat((steps % 251).astype(np.uint8)[None, :, :, None], 3, axis=3))
    pixels = [tuple(pixel) for pixel in np.argwhere(steps)]
    batch = batch_of(
        view,
        image_u8=image,
        target_steps=torch.from_numpy(steps[None]),
        sparse=points_at(pixels, torch.from_numpy(steps[steps > 0])),
        radar=points_at(pixels, torch.from_numpy(steps[steps > 0].astype(np.float32) / 256)),
    )
    dense = dense_batch(batch, max_depth_m=1000.0)
    assert torch.equal(dense.sparse_m, dense.target_m)
    assert torch.equal(dense.radar_m, dense.target_m)
    assert torch.equal(dense.image_u8[..., 0], ((dense.target_m * 256).int() % 251).to(torch.uint8))


@settings(deadline=None)
@given(VIEWS, st.integers(0, 2**31))
def test_scaled_points_land_within_a_pixel_of_the_scaled_map(view, seed):
    rng = np.random.default_rng(seed)
    row, column = int(rng.integers(3, HEIGHT - 3)), int(rng.integers(3, WIDTH - 3))
    target = np.zeros((1, HEIGHT, WIDTH), np.uint16)
    target[0, row - 2 : row + 3, column - 2 : column + 3] = 5000
    batch = batch_of(view, target_steps=torch.from_numpy(target), sparse=points_at([(row, column)], torch.tensor([20.0])))
    dense = dense_batch(batch, max_depth_m=120.0)
    at = torch.nonzero(dense.sparse_m[0])
    assert len(at) <= 1
    for y, x in at.tolist():
        assert dense.sparse_m[0, y, x] == pytest.approx(20.0 * view.scale)
        assert dense.target_m[0, y, x] == pytest.approx(5000 / 256 * view.scale)


def test_flip_of_the_whole_frame_mirrors_columns():
    steps = torch.arange(HEIGHT * WIDTH).reshape(1, HEIGHT, WIDTH).to(torch.float32)
    views = stack_views([View(True, 1.0, 0, 0, True)], height=HEIGHT, width=WIDTH)
    assert torch.equal(view_nearest(steps, views), steps.flip(2))
    image = (steps % 256).to(torch.uint8)[..., None].expand(-1, -1, -1, 3).contiguous()
    assert torch.equal(view_image(image, views), image.flip(2))


def test_image_when_scaled_then_is_bilinear_and_black_outside():
    ramp = torch.arange(WIDTH, dtype=torch.float32)[None, None, :, None].expand(1, HEIGHT, WIDTH, 3) * 4
    views = stack_views([View(False, 1.25, -6, -4, True)], height=HEIGHT, width=WIDTH)
    seen = view_image(ramp.to(torch.uint8), views)[0, HEIGHT // 2, :, 0].float()
    expected = ((torch.arange(WIDTH) + 0.5 - 6) * 1.25 - 0.5) * 4  # the ramp at the centre of each pixel
    inside = (expected >= 0) & (expected <= 4 * (WIDTH - 1))
    assert torch.all((seen - expected)[inside].abs() <= 0.5 + 1e-3)
    assert torch.all(seen[:5] == 0) and torch.all(seen[-5:] == 0)


def test_nearest_return_wins_and_far_ones_are_clipped():
    radar = points_at([(3, 4), (3, 4), (3, 4), (7, 8)], torch.tensor([30.0, 12.5, 80.0, 250.0]))
    image = torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.uint8)
    batch = Batch(("s/c/1",), image, INTRINSIC, torch.tensor([False]), radar=radar)
    radar_m = dense_batch(batch, max_depth_m=120.0).radar_m
    assert radar_m[0, 3, 4] == 12.5 and radar_m[0, 7, 8] == 120.0
    assert torch.count_nonzero(radar_m) == 2


def test_view_is_a_function_of_seed_epoch_and_key():
    config = AugmentConfig(flip_probability=0.5, scale_probability=0.5, crop_px=(20, 30))

    def draw(seed=0, epoch=0, key="a/b/1"):
        return draw_view(config, height=HEIGHT, width=WIDTH, seed=seed, epoch=epoch, frame_key=key)

    assert draw() == draw()
    assert len({draw(seed=seed) for seed in range(20)}) > 10
    assert len({draw(epoch=epoch) for epoch in range(20)}) > 10
    drawn = [draw(key=f"a/b/{number}") for number in range(400)]
    assert 0.4 < np.mean([view.is_flipped for view in drawn]) < 0.6
    assert 0.4 < np.mean([view.scale != 1 for view in drawn]) < 0.6
    assert all(0.8 <= view.scale <= 1.25 for view in drawn)
    inside = [view for view in drawn if view.scale == 1]
    assert {view.left_px for view in inside} == set(range(31)) and {view.top_px for view in inside} == set(range(21))


def test_config_when_bounds_are_swapped_then_says_so():
    with pytest.raises(ValueError, match="scale_min 2.0 is larger than scale_max 1.25; swap them"):
        AugmentConfig(scale_min=2.0)
    with pytest.raises(ValueError, match=r"crop_px must be two positive numbers of pixels, got \(0, 5\)"):
        AugmentConfig(crop_px=(0, 5))


@pytest.mark.parametrize("flips", [(True, True), (False, True), (False, False)])
def test_views_when_only_mirrored_then_no_pixel_is_looked_up_and_the_bits_are_the_same(flips, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=generator)
    depth = torch.rand(2, HEIGHT, WIDTH, generator=generator)
    views = stack_views([View(flip, 1.0, 0, 0, True) for flip in flips], height=HEIGHT, width=WIDTH)
    by_look_up = dataclasses.replace(views, is_moved=True)
    expected = view_image(image, by_look_up), view_nearest(depth, by_look_up)
    monkeypatch.setattr(augment, "_source_px", lambda *_: pytest.fail("a look-up of every pixel takes seven times as long"))
    assert torch.equal(view_image(image, views), expected[0])
    assert torch.equal(view_nearest(depth, views), expected[1])
    assert torch.equal(expected[1][1], depth[1].flip(1) if flips[1] else depth[1])


@pytest.mark.parametrize("view", [View(True, 1.0, 1, 0, True), View(False, 1.0, 0, -1, True), View(True, 0.5, 0, 0, True)])
def test_views_when_moved_or_scaled_then_looked_up(view):
    views = stack_views([view], height=HEIGHT, width=WIDTH)
    assert views.is_moved or views.is_scaled
    smaller = stack_views([View(True, 1.0, 0, 0, True)], height=34, width=50)
    depth = torch.rand(1, HEIGHT, WIDTH)
    assert torch.equal(view_nearest(depth, smaller), depth.flip(2)[:, :34, :50])
