"""A detector that errs as it is told to, on cars whose image boxes, angles and places in space agree with each other."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from made_up_cars import KITTI_P2, centres_px, in_cells_of_their_own, made_up_cars

from model.data.objects import Objects, join_objects
from model.data.rectified_camera import bearing_rad, unproject_pixels
from model.monoddle.heading import wrap_angle
from model.monoddle.measured_cameras import FrameCamera

IMAGE_PX = (375, 1242)
CAMERA = FrameCamera(KITTI_P2, IMAGE_PX)


class Errors(NamedTuple):
    """Standard deviations, and shares of the cars that are missed, found twice, or added where nothing is."""

    depth: float = 0.0  # of the depth
    depth_bias: float = 0.0
    centre_px: float = 0.0
    size: float = 0.0  # of the size
    heading_rad: float = 0.0
    box_px: float = 0.0
    missed: float = 0.0
    twice: float = 0.0
    alarms: float = 0.0


def street(seed: int, count: int = 4) -> Objects:
    """Cars far enough from each other in the image that none can be meant for another."""
    return in_cells_of_their_own(made_up_cars(count, image_px=IMAGE_PX, seed=seed), cell_px=60.0)


def detected(truth: Objects, errors: Errors, seed: int) -> Objects:
    """What a detector says of these cars; alarms are small cars far below, which overlap nothing."""
    rng = np.random.default_rng([seed, 1])  # not the draws that made the cars
    found = truth[rng.random(len(truth)) >= errors.missed]
    found = with_errors(found, errors, rng)
    found = replace(found, score=rng.uniform(0.3, 1.0, len(found)))
    again = found[rng.random(len(found)) < errors.twice]
    again = replace(again, location_m=again.location_m + np.array([0.0, 0.0, 9.0]), score=again.score * 0.5)
    again = replace(again, location_m=_on_ray(again, centres_px(found[np.isin(found.score, again.score * 2)])))
    alarms = made_up_cars(int(rng.binomial(len(truth), errors.alarms)), image_px=IMAGE_PX, seed=seed + 10_000)
    alarms = replace(
        alarms,
        location_m=alarms.location_m + np.array([0.0, 300.0, 0.0]),
        box_px=alarms.box_px + np.array([0.0, 2000.0, 0.0, 2000.0]),
        score=rng.uniform(0.1, 0.9, len(alarms)),
    )
    return join_objects([found, again, alarms])


def with_errors(cars: Objects, errors: Errors, rng: np.random.Generator) -> Objects:
    n = len(cars)
    centre = centres_px(cars) + errors.centre_px * rng.normal(size=(n, 2))
    depth_m = cars.location_m[:, 2] * (1 + errors.depth_bias + errors.depth * rng.normal(size=n))
    size = cars.size_hwl_m * (1 + errors.size * rng.normal(size=(n, 3)))
    location = unproject_pixels(KITTI_P2, centre, depth_m)
    location[:, 1] += size[:, 0] / 2
    alpha = wrap_angle(cars.alpha_rad + errors.heading_rad * rng.normal(size=n))
    return replace(
        cars,
        alpha_rad=alpha,
        rotation_y_rad=wrap_angle(alpha + bearing_rad(KITTI_P2, centre)),
        location_m=location,
        size_hwl_m=size,
        box_px=cars.box_px + errors.box_px * rng.normal(size=(n, 4)),
    )


def _on_ray(cars: Objects, centre_px: np.ndarray) -> np.ndarray:
    location = unproject_pixels(KITTI_P2, centre_px, cars.location_m[:, 2])
    location[:, 1] += cars.size_hwl_m[:, 0] / 2
    return location
