from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.data.rectified_camera import project_points, unproject_pixels
from model.monoddle.affine_view import AffineView, centred_view, resting_view, warp_depth_steps, warp_image
from model.monoddle.augment import DetectionAugmentConfig, draw_detection_view

P2 = np.array([[721.5, 0.4, 609.6, 44.9], [0.0, 718.0, 172.9, 0.22], [0.0, 0.0, 1.0, 0.0027]])
SIZES = [(375, 1242), (370, 1224), (376, 1241), (96, 320)]

VIEWS = st.builds(
    centred_view,
    image_px=st.sampled_from(SIZES),
    input_px=st.sampled_from([(384, 1280), (96, 320)]),
    is_flipped=st.booleans(),
    scale=st.floats(0.6, 1.4),
    shift_px=st.tuples(st.floats(-70, 70), st.floats(-240, 240)),
)


def small_view(*, is_flipped: bool = False, scale: float = 1.0, shift_px: tuple[float, float] = (0.0, 0.0)) -> AffineView:
    return centred_view((30, 50), (32, 64), is_flipped=is_flipped, scale=scale, shift_px=shift_px)


def cells_in_image(view: AffineView, *, stride: int) -> np.ndarray:
    """Where the image shows the centres of the cells (h, w, 2)."""
    columns, rows = (stride * (np.arange(size // stride) + 0.5) for size in (view.input_width, view.input_height))
    return view.to_image(np.stack(np.meshgrid(columns, rows), axis=2))


def on_a_border(view: AffineView, *, stride: int) -> np.ndarray:
    """Cells whose centre is, but for rounding, between two pixels, where either is nearest, or at the image's edge."""
    where = cells_in_image(view, stride=stride)
    return (np.abs(where - np.round(where)) < 1e-4).any(axis=2)


@settings(max_examples=50)
@given(VIEWS, st.floats(-200, 1500), st.floats(-200, 600))
def test_pixels_when_moved_to_the_input_and_back_then_unmoved(view, u, v):
    point = np.array([[u, v]])
    assert view.to_image(view.to_input(point)) == pytest.approx(point, abs=1e-9)
    assert view.inverse @ view.matrix == pytest.approx(np.eye(3), abs=1e-9)


@settings(max_examples=50)
@given(VIEWS, st.floats(-20, 20), st.floats(-3, 3), st.floats(2, 80))
def test_a_point_of_the_world_when_scaled_by_a_then_seen_where_the_view_shows_it(view, x, y, z):
    """The same rays: the input pixel with a times the depth is a times the point, through the projection of the view."""
    pixel = view.to_input(project_points(P2, np.array([[x, y, z]])))
    found = unproject_pixels(view.projection(P2), pixel, np.array([view.scale * z]))
    expected = view.scale * np.array([[-x if view.is_flipped else x, y, z]])
    assert found == pytest.approx(expected, abs=1e-9)
    assert view.projection(P2)[2].tolist() == [0, 0, 1, 0]
    assert view.projection(P2)[0, 0] > 0


def test_resting_view_when_of_kitti_then_the_widths_meet_and_a_row_is_lost():
    view = resting_view((375, 1242), (384, 1280))
    assert view.zoom == pytest.approx(1280 / 1242)
    assert view.left_px == 0
    assert view.top_px == pytest.approx(1.2)  # docs/method/monoddle.md#affine-view
    corners = view.to_input(np.array([[0.0, 1.2], [1242.0, 373.8], [621.0, 187.5]]))
    assert corners == pytest.approx(np.array([[0, 0], [1280, 384], [640, 192]]))
    assert not view.is_cropped
    assert not centred_view((375, 1242), (384, 1280), is_flipped=True).is_cropped
    assert centred_view((375, 1242), (384, 1280), scale=1.1).is_cropped
    assert centred_view((375, 1242), (384, 1280), shift_px=(0.0, 3.0)).is_cropped


def test_boxes_when_mirrored_then_left_stays_left():
    view = centred_view((100, 200), (100, 200), is_flipped=True)
    assert view.boxes_to_input(np.array([[10.0, 20.0, 50.0, 40.0]])).tolist() == [[150, 20, 190, 40]]
    assert view.boxes_to_input(np.zeros((0, 4))).shape == (0, 4)


def test_projection_when_not_of_a_rectified_camera_then_refused():
    tilted = P2.copy()
    tilted[2, 0] = 0.01
    with pytest.raises(ValueError, match=r"third row \[0.01, 0.0, 1.0, 0.0027\], expected \(3, 4\) and 0 0 1 x.*rectify"):
        small_view().projection(tilted)
    with pytest.raises(ValueError, match=r"shape \(3, 3\)"):
        small_view().projection(np.eye(3))


@pytest.mark.parametrize("is_flipped", [False, True])
def test_image_when_looked_at_then_each_pixel_shows_what_its_ray_meets(is_flipped):
    view = small_view(is_flipped=is_flipped, scale=1.2, shift_px=(1.5, -4.0))
    column, row = np.meshgrid(np.arange(50) + 0.5, np.arange(30) + 0.5)
    image = np.stack([4 * column, 6 * row, np.full_like(row, 200)], axis=2).round().astype(np.uint8)
    found = warp_image(image, view)
    assert found.shape == (32, 64, 3)
    grid = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(32) + 0.5), axis=2)
    u, v = np.moveaxis(view.to_image(grid), 2, 0)
    inner = (u > 1) & (u < 49) & (v > 1) & (v < 29)
    assert inner.sum() > 500
    assert np.abs(found[inner][:, 0] - 4 * u[inner]).max() <= 1.1  # a ramp stays one when it is interpolated
    assert np.abs(found[inner][:, 1] - 6 * v[inner]).max() <= 1.1
    outside = (u < 0) | (u > 50) | (v < 0) | (v > 30)
    assert outside.sum() > 100
    assert not found[outside].any()


@pytest.mark.parametrize("is_flipped", [False, True])
@pytest.mark.parametrize("scale", [0.6, 0.83, 1.0, 1.25])
def test_image_when_enlarged_then_as_the_general_affine_transform_makes_it(is_flipped, scale):
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    view = small_view(is_flipped=is_flipped, scale=scale, shift_px=(4.3, -9.1))
    assert view.zoom > 1
    coefficients = tuple(view.inverse[:2].ravel())
    general = Image.fromarray(image).transform((64, 32), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    difference = warp_image(image, view).astype(int) - np.asarray(general)
    assert np.abs(difference).max() <= 1


def test_image_when_shrunk_then_thin_lines_stay():
    image = np.zeros((60, 200, 3), np.uint8)
    image[:, 3::5] = 250
    found = warp_image(image, resting_view((60, 200), (12, 40)))
    assert np.abs(found[:, 1:-1].astype(int) - 50).max() <= 25  # every pixel covers one line
    assert found[:, 1:-1].min() > 0


def test_image_when_the_view_shows_none_of_it_then_black():
    image = np.full((30, 50, 3), 255, np.uint8)
    assert not warp_image(image, small_view(shift_px=(0.0, 60.0))).any()
    assert warp_image(image, small_view(shift_px=(0.0, 49.0)))[:, 0].any()


def test_image_when_nothing_is_changed_then_equal():
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    assert np.array_equal(warp_image(image, resting_view((32, 64), (32, 64))), image)


@settings(max_examples=50)
@given(st.floats(0.6, 1.4), st.floats(-6, 6), st.floats(-10, 10), st.integers(0, 1000))
def test_image_and_depth_when_mirrored_then_those_of_the_mirrored_image(scale, down, right, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (30, 50, 3), dtype=np.uint8)
    steps = rng.integers(0, 30000, (30, 50)).astype(np.uint16)
    plain, mirrored = (small_view(is_flipped=flip, scale=scale, shift_px=(down, right)) for flip in (False, True))
    difference = warp_image(image, mirrored).astype(int) - warp_image(image[:, ::-1], plain)
    assert np.abs(difference[~on_a_border(mirrored, stride=1)]).max() <= 1
    differ = warp_depth_steps(steps, mirrored, stride=4) != warp_depth_steps(steps[:, ::-1], plain, stride=4)
    assert not differ[~on_a_border(mirrored, stride=4)].any()


@pytest.mark.parametrize(
    ("image_px", "input_px"), [((96, 320), (96, 320)), ((375, 1242), (384, 1280)), ((48, 160), (96, 320)), ((40, 192), (96, 640))]
)
def test_depth_when_mirrored_at_rest_then_mirrored_cell_for_cell(image_px, input_px):
    """Also where every cell's centre lies on the border of two pixels."""
    steps = np.random.default_rng(0).integers(0, 30000, image_px).astype(np.uint16)
    plain, mirrored = (centred_view(image_px, input_px, is_flipped=flip) for flip in (False, True))
    found = warp_depth_steps(steps, mirrored, stride=4)
    assert np.array_equal(found[:, ::-1], warp_depth_steps(steps, plain, stride=4))


@settings(max_examples=50)
@given(st.booleans(), st.floats(0.6, 1.4), st.floats(-6, 6), st.floats(-10, 10), st.integers(0, 1000))
def test_depth_when_looked_at_then_the_pixel_below_each_centre_times_a_and_nothing_blended(flip, scale, down, right, seed):
    view = small_view(is_flipped=flip, scale=scale, shift_px=(down, right))
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random((30, 50)) < 0.2, 0, rng.integers(1, 65536, (30, 50))).astype(np.uint16)
    found = warp_depth_steps(steps, view, stride=4)
    assert found.shape == (8, 16)
    assert found.dtype == np.uint16
    u, v = np.moveaxis(np.floor(cells_in_image(view, stride=4)).astype(int), 2, 0)
    is_inside = (u >= 0) & (u < 50) & (v >= 0) & (v < 30)
    source = np.where(is_inside, steps[v.clip(0, 29), u.clip(0, 49)], 0)
    is_clear = ~on_a_border(view, stride=4)
    assert is_clear.any()
    assert np.abs(found - np.minimum(source * scale, 65535.0))[is_clear].max() <= 0.51
    assert np.array_equal(found[is_clear] == 0, source[is_clear] == 0)


def test_depth_when_nothing_is_scaled_then_bit_for_bit():
    steps = np.arange(1, 129, dtype=np.uint16).reshape(8, 16)
    assert np.array_equal(warp_depth_steps(steps, resting_view((8, 16), (32, 64)), stride=4), steps)


def test_depth_when_scaled_to_less_than_half_a_step_then_still_a_value():
    steps = np.array([[1, 1], [0, 1]], np.uint16)
    found = warp_depth_steps(steps, centred_view((2, 2), (8, 8), scale=0.4), stride=4)
    assert found.tolist() == [[1, 1], [0, 1]]


def test_image_and_depth_when_not_of_the_views_size_then_refused():
    with pytest.raises(ValueError, match="image is 50x31, the view is of an image of 50x30; make the view from the size"):
        warp_image(np.zeros((31, 50, 3), np.uint8), small_view())
    with pytest.raises(ValueError, match="depth map is 49x30, the view is of an image of 50x30"):
        warp_depth_steps(np.zeros((30, 49), np.uint16), small_view(), stride=4)


def draw(number: int, config: DetectionAugmentConfig | None = None, **changes) -> AffineView:
    given = {"input_px": (384, 1280), "seed": 3, "epoch": 0, "frame_key": f"scene/CAM_2/{number}", **changes}
    return draw_detection_view(config or DetectionAugmentConfig(), (375, 1242), **given)


def test_views_when_drawn_twice_then_the_same_and_others_for_other_seeds_epochs_and_frames():
    assert draw(1) == draw(1)
    views = [draw(1), draw(2), draw(1, epoch=1), draw(1, seed=4), draw(5), draw(6), draw(7), draw(8)]
    assert len(set(views)) > 3


def test_views_when_many_are_drawn_then_as_published():
    views = [draw(number) for number in range(4000)]
    cropped = [view for view in views if view.is_cropped]
    assert np.mean([view.is_flipped for view in views]) == pytest.approx(0.5, abs=0.03)
    assert len(cropped) / len(views) == pytest.approx(0.5, abs=0.03)
    scales = np.array([view.scale for view in cropped])
    assert (scales.min(), scales.max()) == (pytest.approx(0.6), pytest.approx(1.4))
    assert np.mean(scales == scales.max()) == pytest.approx(0.159, abs=0.02)  # beyond one standard deviation
    right = np.array([view.to_image(np.array([640.0, 192.0])) for view in cropped])[:, 0] - 621
    assert np.abs(right).max() == pytest.approx(0.2 * 1242)
    assert np.std(right) == pytest.approx(0.0969 * 1242, rel=0.05)  # clipped at two standard deviations


def test_views_when_nothing_may_be_drawn_then_resting():
    config = DetectionAugmentConfig(flip_probability=0, crop_probability=0)
    assert {draw(number, config) for number in range(20)} == {resting_view((375, 1242), (384, 1280))}
