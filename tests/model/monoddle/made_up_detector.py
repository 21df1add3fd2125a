"""A detector that errs as it is told to, on cars whose angles and places in space agree with each other."""

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
FAR_BELOW_PX = 2000.0


class Errors(NamedTuple):
    """Standard deviations, and shares of the cars that are missed, found twice, or added where nothing is."""

    depth: float = 0.0  # of the depth
    depth_bias: float = 0.0  # of the depth
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


def detected(truth: Objects, errors: Errors, seed: int) -> tuple[Objects, np.ndarray]:
    """Return what a detector says of these cars, and (n,) of which car it is the surest detection, -1 = of none.

    A car that is found twice has a less sure detection on the same ray, 300 m deeper, and with its image box far below all cars. An
    alarm is far below all cars too, also in space. So what is no car's surest detection overlaps nothing.
    """
    rng = np.random.default_rng([seed, 1])  # not the draws that made the cars
    car = np.flatnonzero(rng.random(len(truth)) >= errors.missed)
    cars, down = truth[car], np.array([0.0, FAR_BELOW_PX, 0.0, FAR_BELOW_PX])
    first = replace(with_errors(cars, errors, rng), score=rng.uniform(0.3, 1.0, len(cars)))
    some = first[rng.random(len(first)) < errors.twice]
    deeper = _at_depth(some, some.location_m[:, 2] + 300.0)
    again = replace(some, location_m=deeper, box_px=some.box_px + down, score=0.5 * some.score)
    alarms = made_up_cars(int(rng.binomial(len(truth), errors.alarms)), image_px=IMAGE_PX, seed=seed + 10_000)
    alarms = replace(
        alarms,
        location_m=alarms.location_m + np.array([0.0, 300.0, 0.0]),
        box_px=alarms.box_px + down,
        score=rng.uniform(0.1, 0.9, len(alarms)),
    )
    every = join_objects([first, again, alarms])
    return every, np.concatenate([car, np.full(len(every) - len(car), -1)])


def with_errors(cars: Objects, errors: Errors, rng: np.random.Generator) -> Objects:
    """The same cars as a network would say them: angles follow from the observation angle and where the centre is seen."""
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


def _at_depth(cars: Objects, depth_m: np.ndarray) -> np.ndarray:
    location = unproject_pixels(KITTI_P2, centres_px(cars), depth_m)
    location[:, 1] += cars.size_hwl_m[:, 0] / 2
    return location
