"""Six cameras that overlap as those of nuScenes: a return that is measured with is trained on through none of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.data.points import FramePoints
from model.mim4d.clip_points import SeenPoints, held_out, held_out_by_return, rig_points

HEIGHT, WIDTH = 900, 1600
INTRINSIC = np.array([[1266.0, 0, 816.0], [0, 1266.0, 491.0], [0, 0, 1]])
BACK = np.array([[809.0, 0, 829.0], [0, 809.0, 481.0], [0, 0, 1]])
YAWS_DEG = {"FRONT": 0, "FRONT_LEFT": 55, "BACK_LEFT": 110, "BACK": 180, "BACK_RIGHT": 250, "FRONT_RIGHT": 305}


def returns_m(seed: int) -> np.ndarray:
    """One turn of 32 beams at 1.8 m over a street with walls, (n, 3) metres in the rig frame."""
    rng = np.random.default_rng(seed)
    yaw, pitch = np.meshgrid(np.linspace(0, 2 * math.pi, 1080, endpoint=False), np.radians(np.linspace(-30, 10, 32)))
    direction = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], axis=-1).reshape(-1, 3)
    wall_m = 6 + 60 * rng.random(1080)[np.tile(np.arange(1080), 32)]
    with np.errstate(divide="ignore"):
        ground_m = np.where(direction[:, 2] < 0, 1.8 / -direction[:, 2], np.inf)
    reach_m = np.minimum(ground_m, wall_m) * (1 + 0.003 * rng.normal(size=len(direction)))
    return direction * reach_m[:, None] + [0.9, 0, 1.8]


def cam_from_rig(yaw_deg: float) -> np.ndarray:
    yaw = math.radians(yaw_deg)
    matrix = np.eye(4)
    matrix[:3, :3] = [[math.sin(yaw), -math.cos(yaw), 0], [0, 0, -1], [math.cos(yaw), math.sin(yaw), 0]]
    matrix[:3, 3] = -matrix[:3, :3] @ [0.8 + 0.7 * math.cos(yaw), 0.5 * math.sin(yaw), 1.5]
    return matrix


def seen_by(name: str, returns: np.ndarray) -> tuple[SeenPoints, np.ndarray]:
    """What one camera's depth_single holds of the returns, and which return each pixel is."""
    transform, intrinsic = cam_from_rig(YAWS_DEG[name]), BACK if name == "BACK" else INTRINSIC
    in_cam = returns @ transform[:3, :3].T + transform[:3, 3]
    image = in_cam @ intrinsic.T
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = np.floor(image[:, 0] / image[:, 2]), np.floor(image[:, 1] / image[:, 2])
    numbers = np.flatnonzero((in_cam[:, 2] > 0.5) & (u >= 0) & (u < WIDTH) & (v >= 0) & (v < HEIGHT))
    numbers = numbers[np.argsort(-in_cam[numbers, 2], kind="stable")]  # the nearest is written last
    which = np.full((HEIGHT, WIDTH), -1)
    which[v[numbers].astype(int), u[numbers].astype(int)] = numbers
    row, column = np.nonzero(which >= 0)
    number = which[row, column]
    pixels = FramePoints(row.astype(np.int16), column.astype(np.int16), np.rint(in_cam[number, 2] * 256).astype(np.uint16))
    points = rig_points(pixels, intrinsic.ravel().tolist(), transform)
    return SeenPoints(pixels, points, held_out(pixels, f"s/CAM_{name}/1", 0.1), intrinsic, transform), number


def share_trained_on(held: list[np.ndarray], numbers: list[np.ndarray]) -> float:
    """Of the points that are measured with, the share whose return is trained on through another camera."""
    trained = {number for is_held, of_camera in zip(held, numbers, strict=True) for number in of_camera[~is_held]}
    measured = np.concatenate([of_camera[is_held] for is_held, of_camera in zip(held, numbers, strict=True)])
    return sum(number in trained for number in measured) / len(measured)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_points_when_cameras_overlap_then_none_is_trained_on_through_another(seed):
    seen, numbers = zip(*(seen_by(name, returns_m(seed)) for name in YAWS_DEG), strict=True)
    before = [camera.is_held_out for camera in seen]
    assert share_trained_on(before, numbers) == pytest.approx(0.164, abs=0.04)
    held = held_out_by_return(seen)
    assert share_trained_on(held, numbers) == 0.0
    assert np.concatenate(held).mean() == pytest.approx(0.1, abs=0.006)
    assert np.array_equal(held[0], before[0])  # the first camera decides
    of_one_camera = held_out_by_return(seen[:1])
    assert np.array_equal(of_one_camera[0], before[0])


def test_held_out_points_when_a_camera_sees_nothing_then_the_others_are_as_they_were():
    camera, _ = seen_by("FRONT", returns_m(0))
    nothing = FramePoints(np.zeros(0, np.int16), np.zeros(0, np.int16), np.zeros(0, np.uint16))
    blind = SeenPoints(nothing, np.zeros((0, 3), np.float32), np.zeros(0, bool), INTRINSIC, cam_from_rig(180))
    held = held_out_by_return([camera, blind])
    assert np.array_equal(held[0], camera.is_held_out) and not len(held[1])
