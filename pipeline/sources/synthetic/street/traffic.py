"""Who is on the street: cars ahead and oncoming, parked cars, pedestrians, and one truck without annotation.

Places are street coordinates (s, l) of `route.py`. The ego vehicle drives at l = 0 in the right of two lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sources.synthetic.actors import Actor, Surface, car_parts, person_parts, truck_parts
from pipeline.sources.synthetic.drive import Drive, positions_along
from pipeline.sources.synthetic.rigid import Floats, Ints
from pipeline.sources.synthetic.route import Route

CENTRE_LEFT_M = 1.8
LANE_M = 3.6
PARKING_LEFT_M = 4.75
PAVEMENT_LEFT_M = 8.1
PARKED_SHARES = (0.03, 0.1)
TRUCK_SIZE = (2.5, 8.0, 3.5)

_PAINTS = ((0.62, 0.62, 0.64), (0.16, 0.17, 0.19), (0.75, 0.75, 0.74), (0.5, 0.1, 0.1), (0.12, 0.2, 0.42), (0.3, 0.34, 0.3))
_CLOTHES = ((0.2, 0.22, 0.35), (0.5, 0.2, 0.2), (0.25, 0.25, 0.22), (0.6, 0.55, 0.4))


@dataclass(frozen=True)
class EgoTrack:
    """The ego vehicle on its own line: times (n,), distance driven (n,), first and last time of the scene."""

    time_us: Ints
    s_m: Floats
    first_us: int
    last_us: int

    def s_at(self, share: float) -> tuple[int, float]:
        """Return the time at a share 0..1 of the scene, and the distance driven until then."""
        time_us = int(self.first_us + share * (self.last_us - self.first_us))
        return time_us, float(np.interp(time_us, self.time_us, self.s_m))


def make_traffic(drive: Drive, route: Route, *, seed: tuple[int, int]) -> list[Actor]:
    """Return the actors of scene `seed[1]`; each kind has its own random numbers."""
    time_us, _, s_m = positions_along(drive)
    track = EgoTrack(time_us, s_m, int(drive.sweep_us[0]), int(drive.sweep_us[-1]))
    actors = [
        *_cars_ahead(track, np.random.default_rng((*seed, 11))),
        *_oncoming_cars(track, np.random.default_rng((*seed, 12))),
        *_parked_cars(track, route, np.random.default_rng((*seed, 13))),
        *_pedestrians(track, route, np.random.default_rng((*seed, 14))),
    ]
    return [*actors, _truck(track, np.random.default_rng((*seed, 15)), is_oncoming=seed[1] % 2 == 0)]


def _car(
    name: str, rng: np.random.Generator, *, surface: Surface, time_us: Ints, s_m: Floats, left_m: float, back: bool
) -> Actor:
    """Return one car of random size and paint."""
    size = (float(rng.uniform(1.8, 2.0)), float(rng.uniform(4.3, 4.9)), float(rng.uniform(1.48, 1.75)))
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    return Actor(name, "vehicle.car", size, car_parts(size), paint, surface, time_us, s_m, left_m, back)


def _cars_ahead(track: EgoTrack, rng: np.random.Generator) -> list[Actor]:
    """Return two cars that drive ahead in the ego lane, at a slowly varying distance."""
    t = (track.time_us - track.first_us) * 1e-6
    cars = []
    for i, gap_m in enumerate((rng.uniform(28.0, 32.0), rng.uniform(46.0, 50.0))):
        wave = rng.uniform(1.0, 2.0) * np.sin(2 * np.pi * t / rng.uniform(9.0, 14.0) + rng.uniform(0, 6.28))
        s = track.s_m + gap_m + wave
        cars.append(_car(f"ahead-{i}", rng, surface=Surface.MOVING, time_us=track.time_us, s_m=s, left_m=0.0, back=False))
    return cars


def _oncoming_cars(track: EgoTrack, rng: np.random.Generator) -> list[Actor]:
    """Return cars in the other lane, which pass the ego vehicle one after another; the middle is left to the truck."""
    seconds = (track.last_us - track.first_us) * 1e-6
    count = max(2, round(seconds / 9.0))
    cars = []
    for i in range(count):
        share = (i + rng.uniform(0.3, 0.7)) / count + 0.12
        meet_us, meet_s = track.s_at(share)
        s = meet_s - rng.uniform(8.5, 9.5) * (track.time_us - meet_us) * 1e-6
        cars.append(_car(f"oncoming-{i}", rng, surface=Surface.MOVING, time_us=track.time_us, s_m=s, left_m=LANE_M, back=True))
    return cars


def _parked_cars(track: EgoTrack, route: Route, rng: np.random.Generator) -> list[Actor]:
    """Return cars parked at both kerbs."""
    cars = []
    for side, share in zip((-1, 1), PARKED_SHARES, strict=True):
        for k, s in enumerate(np.arange(-60.0, route.s_m[-1] - 20.0, 7.5)):
            is_taken, shift = rng.uniform() < share, rng.uniform(-0.6, 0.6)
            left_m = CENTRE_LEFT_M + side * PARKING_LEFT_M
            car = _car(
                f"parked-{'right' if side < 0 else 'left'}-{k}",
                rng,
                surface=Surface.PARKED,
                time_us=track.time_us[:1],
                s_m=np.array([s + shift]),
                left_m=left_m,
                back=side > 0,
            )
            clear = route.clearance(route.place([s + shift], left_m), left_m=CENTRE_LEFT_M)[0]
            if is_taken and clear > PARKING_LEFT_M - 0.3:
                cars.append(car)
    return cars


def _pedestrians(track: EgoTrack, route: Route, rng: np.random.Generator) -> list[Actor]:
    """Return people who walk along the pavements."""
    people = []
    t = (track.time_us - track.first_us) * 1e-6
    for k, s0 in enumerate(np.arange(8.0, track.s_m[-1] + 60.0, 17.0)):
        side, is_back = int(rng.choice([-1, 1])), bool(rng.uniform() < 0.5)
        s = s0 + rng.uniform(-5, 5) + rng.uniform(0.9, 1.5) * (-1.0 if is_back else 1.0) * (t - t[-1] / 2)
        size = (float(rng.uniform(0.62, 0.75)), float(rng.uniform(0.62, 0.8)), float(rng.uniform(1.6, 1.9)))
        clothes = _CLOTHES[int(rng.integers(len(_CLOTHES)))]
        left_m = CENTRE_LEFT_M + side * (PAVEMENT_LEFT_M + rng.uniform(-0.3, 0.3))
        people.append(
            Actor(
                f"person-{k}",
                "human.pedestrian.adult",
                size,
                person_parts(size),
                clothes,
                Surface.MOVING,
                track.time_us,
                s,
                left_m,
                is_back,
            )
        )
    return people


def _truck(track: EgoTrack, rng: np.random.Generator, *, is_oncoming: bool) -> Actor:
    """Return the truck without annotation: oncoming and still ahead when the scene ends, or pulling away ahead."""
    meet_us, meet_s = track.last_us, float(np.interp(track.last_us, track.time_us, track.s_m)) + 36.0
    t = (track.time_us - meet_us) * 1e-6
    if is_oncoming:
        s, left_m = meet_s - rng.uniform(10.0, 11.0) * t, LANE_M
    else:
        s, left_m = track.s_m + 58.0 + np.maximum((track.time_us - track.first_us) * 1e-6, 0.0) * rng.uniform(1.0, 1.5), 0.0
    return Actor(
        "truck",
        "vehicle.truck",
        TRUCK_SIZE,
        truck_parts(TRUCK_SIZE),
        (0.7, 0.7, 0.68),
        Surface.UNANNOTATED,
        track.time_us,
        s,
        left_m,
        is_oncoming,
    )
