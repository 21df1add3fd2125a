"""What road users are built of: boxes, upright cylinders and ellipsoids in the road user's own frame.

Frame x forward, y left, z up, origin on the ground below the middle, metres. A shape stays `INSET_M` inside its box, so that
a box that is interpolated between key frames still holds every return. A wheel is an octagon of boxes across the vehicle.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.sources.synthetic.actors import Material, Part

INSET_M: Final = 0.05
Colour = tuple[float, float, float]
Size = tuple[float, float, float]

BLACK: Final = (0.05, 0.05, 0.055)
GLASS: Final = (0.1, 0.12, 0.15)
WHITE: Final = (0.85, 0.85, 0.82)
ORANGE: Final = (0.9, 0.33, 0.08)
PLATE: Final = (0.85, 0.85, 0.8)
_SKIN: Final = ((0.8, 0.62, 0.5), (0.55, 0.4, 0.3), (0.35, 0.24, 0.18))


def _box(x: float, y: float, z: float, half: Size, material: Material, colour: Colour) -> Part:
    """Return a box with its middle at (x, y, z)."""
    return Part("box", (x, y, z, *half), material, colour)


def _post(x: float, y: float, radius: float, low: float, high: float, material: Material, colour: Colour) -> Part:
    """Return an upright cylinder."""
    return Part("cylinder", (x, y, radius, low, high), material, colour)


def _axle(x: float, half_w: float, radius: float) -> tuple[Part, Part]:
    """Return a pair of wheels: two boxes across the vehicle that together look like an octagon from the side."""
    flat = _box(x, 0.0, radius, (radius, half_w, 0.6 * radius), Material.TYRE, BLACK)
    tall = _box(x, 0.0, radius, (0.6 * radius, half_w, radius), Material.TYRE, BLACK)
    return flat, tall


def _plates(half_l: float, height: float) -> tuple[Part, ...]:
    """Return the number plates at both ends."""
    size = (0.01, 0.26, 0.06)
    return tuple(_box(side * half_l, 0.0, height, size, Material.PLATE, PLATE) for side in (1, -1))


def car(size_wlh_m: Size, paint: Colour, rng: np.random.Generator) -> tuple[Part, ...]:
    """Return a saloon, an estate or a van, by its height."""
    width, length, height = size_wlh_m
    half_w, half_l, top = width / 2 - INSET_M, length / 2 - INSET_M, height - 0.02
    waist = float(np.clip(0.56 * height, 0.82, 1.1))
    back = float(rng.uniform(0.3, 0.42)) if height < 1.6 else float(rng.uniform(0.42, 0.47))
    front = float(rng.uniform(0.12, 0.2)) if height < 1.9 else 0.36
    cabin_x, cabin_half = (front - back) * length / 2, (front + back) * length / 2
    body = _box(0.0, 0.0, (0.2 + waist) / 2, (half_l, half_w, (waist - 0.2) / 2), Material.CAR_BODY, paint)
    rise = top - waist
    glass = (cabin_half, half_w - 0.1, 0.3 * rise)
    low = _box(cabin_x, 0.0, waist + 0.3 * rise, glass, Material.CAR_CABIN, GLASS)
    # the windscreen and the rear window lean: the upper half of the cabin is shorter, and ends in the painted roof
    upper = (cabin_half - 0.3 * rise, half_w - 0.15, 0.5 * rise)
    high = _box(cabin_x - 0.12 * rise, 0.0, waist + 0.5 * rise, upper, Material.CAR_CABIN, paint)
    wheels = (*_axle(0.3 * length, half_w + 0.02, 0.32), *_axle(-0.29 * length, half_w + 0.02, 0.32))
    return (body, low, high, *wheels, *_plates(half_l, 0.5))


def truck(size_wlh_m: Size, paint: Colour, rng: np.random.Generator) -> tuple[Part, ...]:
    """Return a lorry: cab, load, wheels; small ones are pick-ups and vans."""
    width, length, height = size_wlh_m
    half_w, half_l, top = width / 2 - INSET_M, length / 2 - INSET_M, height - 0.02
    cab_top, cab_half = min(top, 2.6), 0.16 * length if length < 7.5 else 1.1
    load_colour = WHITE if rng.uniform() < 0.6 else paint
    cab_x, load_half = half_l - cab_half, half_l - cab_half - 0.15
    cab = _box(cab_x, 0.0, (0.45 + cab_top) / 2, (cab_half, half_w - 0.03, (cab_top - 0.45) / 2), Material.TRUCK, paint)
    pane = _box(half_l, 0.0, 0.72 * cab_top, (0.015, half_w - 0.15, 0.16 * cab_top), Material.GLASS, GLASS)
    load = _box(load_half - half_l, 0.0, (0.75 + top) / 2, (load_half, half_w, (top - 0.75) / 2), Material.TRUCK, load_colour)
    frame = _box(-0.1, 0.0, 0.65, (half_l - 0.2, 0.4, 0.12), Material.TYRE, BLACK)
    wheels = [part for x in (0.33, -0.24, -0.36)[: 3 if length > 8 else 2] for part in _axle(x * length, half_w - 0.02, 0.45)]
    return (cab, pane, load, frame, *wheels, *_plates(half_l + 0.01, 0.6))


def bus(size_wlh_m: Size, paint: Colour, rng: np.random.Generator) -> tuple[Part, ...]:
    """Return a bus with a band of windows."""
    width, length, height = size_wlh_m
    half_w, half_l, top = width / 2 - INSET_M, length / 2 - INSET_M, height - 0.02
    body = _box(0.0, 0.0, (0.35 + top) / 2, (half_l, half_w, (top - 0.35) / 2), Material.TRUCK, paint)
    band = _box(0.0, 0.0, 0.6 * top, (half_l - 0.3, half_w + 0.015, 0.16 * top), Material.GLASS, GLASS)
    ends = _box(0.0, 0.0, 0.58 * top, (half_l + 0.015, half_w - 0.15, 0.2 * top), Material.GLASS, GLASS)
    wheels = (*_axle(0.3 * length, half_w + 0.02, 0.48), *_axle(-0.25 * length, half_w + 0.02, 0.48))
    return (body, band, ends, *wheels, *_plates(half_l + 0.02, 0.6))


def trailer(size_wlh_m: Size, paint: Colour, rng: np.random.Generator) -> tuple[Part, ...]:
    """Return a trailer: a load on a frame, wheels at its rear, a leg at its front."""
    width, length, height = size_wlh_m
    half_w, half_l, top = width / 2 - INSET_M, length / 2 - INSET_M, height - 0.02
    load = _box(0.0, 0.0, (1.0 + top) / 2, (half_l, half_w, (top - 1.0) / 2), Material.TRUCK, paint)
    frame = _box(0.0, 0.0, 0.85, (half_l - 0.1, 0.4, 0.15), Material.TYRE, BLACK)
    leg = _box(0.35 * length, 0.0, 0.4, (0.08, 0.6, 0.4), Material.POLE, BLACK)
    wheels = [part for x in (-0.24, -0.36) for part in _axle(x * length, half_w - 0.02, 0.45)]
    return (load, frame, leg, *wheels)


def construction_vehicle(size_wlh_m: Size, paint: Colour, rng: np.random.Generator) -> tuple[Part, ...]:
    """Return an excavator: tracks, cab, counterweight, boom and bucket."""
    width, length, height = size_wlh_m
    half_w, half_l, top = width / 2 - INSET_M, length / 2 - INSET_M, height - 0.02
    tracks = [
        _box(-0.15 * length, side * (half_w - 0.25), 0.4, (0.3 * length, 0.25, 0.4), Material.TYRE, BLACK) for side in (1, -1)
    ]
    house = _box(-0.2 * length, 0.0, 1.3, (0.22 * length, 0.85 * half_w, 0.45), Material.TRUCK, paint)
    cab_size = (0.1 * length, 0.4 * half_w, (top - 0.9) / 2)
    cab = _box(-0.08 * length, 0.4 * half_w, (0.9 + top) / 2, cab_size, Material.CAR_CABIN, GLASS)
    boom = _box(0.18 * length, -0.15, 0.75 * top, (0.2 * length, 0.18, 0.2), Material.TRUCK, paint)
    arm = _box(0.4 * length, -0.15, 0.5 * top, (0.05 * length, 0.15, 0.27 * top), Material.TRUCK, paint)
    bucket = _box(half_l - 0.08 * length, -0.15, 0.35, (0.08 * length, 0.45, 0.3), Material.TRUCK, BLACK)
    return (*tracks, house, cab, boom, arm, bucket)


def motorcycle(size_wlh_m: Size, paint: Colour, rng: np.random.Generator, *, has_rider: bool) -> tuple[Part, ...]:
    """Return a motorcycle or scooter, with or without its rider."""
    width, length, height = size_wlh_m
    half_l, bike_top = length / 2 - INSET_M, min(height - 0.05, 1.05)
    radius = 0.29
    wheels = [part for x in (half_l - radius, radius - half_l) for part in _axle(x, 0.06, radius)]
    tank = _box(0.05, 0.0, 0.68, (0.42, 0.16, 0.17), Material.CYCLE, paint)
    engine = _box(0.0, 0.0, 0.42, (0.3, 0.14, 0.16), Material.CYCLE, BLACK)
    fork = _box(half_l - radius - 0.08, 0.0, 0.62, (0.05, 0.07, 0.3), Material.CYCLE, BLACK)
    bar = _box(half_l - radius - 0.16, 0.0, bike_top - 0.04, (0.04, width / 2 - INSET_M, 0.04), Material.CYCLE, BLACK)
    rider = _rider(-0.15, 0.8, height, rng, has_helmet=True) if has_rider else ()
    return (*wheels, tank, engine, fork, bar, *rider)


def bicycle(size_wlh_m: Size, paint: Colour, rng: np.random.Generator, *, has_rider: bool) -> tuple[Part, ...]:
    """Return a bicycle, with or without its rider."""
    width, length, height = size_wlh_m
    half_l = length / 2 - INSET_M
    radius = 0.33
    wheels = [part for x in (half_l - radius, radius - half_l) for part in _axle(x, 0.02, radius)]
    frame = _box(0.0, 0.0, 0.62, (0.45, 0.03, 0.05), Material.CYCLE, paint)
    tube = _box(-0.18, 0.0, 0.65, (0.03, 0.03, 0.28), Material.CYCLE, paint)
    saddle = _box(-0.2, 0.0, 0.95, (0.13, 0.07, 0.03), Material.CYCLE, BLACK)
    bar = _box(0.42, 0.0, 1.0, (0.03, width / 2 - INSET_M, 0.03), Material.CYCLE, BLACK)
    rider = _rider(-0.12, 0.95, height, rng, has_helmet=bool(rng.uniform() < 0.4)) if has_rider else ()
    return (*wheels, frame, tube, saddle, bar, *rider)


def _rider(x: float, seat: float, height: float, rng: np.random.Generator, *, has_helmet: bool) -> tuple[Part, ...]:
    """Return a seated person on a seat of this height, whose head ends at `height`."""
    shirt, trousers = clothes(rng), clothes(rng)
    neck = height - 0.32
    legs = [_box(x + 0.22, side * 0.12, seat - 0.22, (0.22, 0.07, 0.25), Material.PERSON, trousers) for side in (1, -1)]
    trunk = _box(x + 0.04, 0.0, (seat + neck) / 2, (0.12, 0.19, (neck - seat) / 2), Material.PERSON, shirt)
    arms = [_box(x + 0.3, side * 0.21, neck - 0.14, (0.24, 0.05, 0.06), Material.PERSON, shirt) for side in (1, -1)]
    colour = clothes(rng) if has_helmet else skin(rng)
    head = Part("ellipsoid", (x + 0.08, 0.0, height - 0.17, 0.12, 0.15), Material.PERSON, colour)
    return (*legs, trunk, *arms, head)


def person(size_wlh_m: Size, rng: np.random.Generator, *, is_walking: bool) -> tuple[Part, ...]:
    """Return an upright person; who walks has one foot ahead of the other."""
    width, length, height = size_wlh_m
    shirt, trousers = clothes(rng), clothes(rng)
    hip, neck, half_w = 0.47 * height, 0.82 * height, min(width / 2 - INSET_M, 0.3)
    stride = min(0.16, length / 2 - 0.13) if is_walking else 0.02
    legs = [_post(side * stride, side * 0.1, 0.085, 0.0, hip, Material.PERSON, trousers) for side in (1, -1)]
    trunk = _box(0.0, 0.0, (hip + neck) / 2, (0.12, half_w - 0.09, (neck - hip) / 2), Material.PERSON, shirt)
    arm_low = 0.9 * hip
    arm_size = (0.055, 0.045, (neck - arm_low) / 2)
    arms = [
        _box(-side * stride * 0.6, side * (half_w - 0.045), (arm_low + neck) / 2, arm_size, Material.PERSON, shirt)
        for side in (1, -1)
    ]
    head = Part("ellipsoid", (0.02, 0.0, height - 0.16, 0.1, 0.14), Material.PERSON, skin(rng))
    return (*legs, trunk, *arms, head)


def cone(size_wlh_m: Size) -> tuple[Part, ...]:
    """Return a traffic cone: a foot, and three shrinking rings."""
    width, _, height = size_wlh_m
    foot = _box(0.0, 0.0, 0.025, (width / 2, width / 2, 0.025), Material.CONE, BLACK)
    rings = []
    for k, colour in enumerate((ORANGE, WHITE, ORANGE)):
        half = (0.36 - 0.1 * k) * width
        rings.append(_box(0.0, 0.0, (k + 0.5) * height / 3, (half, half, height / 6), Material.CONE, colour))
    return (foot, *rings)


def barrier(size_wlh_m: Size) -> tuple[Part, ...]:
    """Return a red and white barrier on two feet, which runs across its own heading."""
    width, length, height = size_wlh_m
    half_w, foot = width / 2 - 0.02, (length / 2 - 0.02, 0.05, 0.4 * height)
    boards = [
        _box(0.0, 0.0, z * height, (0.05, half_w, 0.13 * height), Material.BARRIER, colour)
        for z, colour in ((0.85, (0.8, 0.12, 0.1)), (0.45, WHITE))
    ]
    feet = [_box(0.0, side * 0.8 * half_w, 0.4 * height, foot, Material.BARRIER, BLACK) for side in (1, -1)]
    return (*boards, *feet)


def clothes(rng: np.random.Generator) -> Colour:
    """Return the colour of a piece of clothing, mostly dark."""
    base = float(rng.choice([0.08, 0.15, 0.3, 0.55, 0.75], p=[0.3, 0.25, 0.2, 0.15, 0.1]))
    tint = rng.normal(0.0, 0.06, size=3)
    r, g, b = np.clip(base + tint, 0.03, 0.9).tolist()
    return r, g, b


def skin(rng: np.random.Generator) -> Colour:
    """Return a colour of skin."""
    return _SKIN[int(rng.integers(len(_SKIN)))]


def paint(rng: np.random.Generator) -> Colour:
    """Return the paint of a vehicle: white, silver, grey, black, and few colours."""
    greys = (0.85, 0.66, 0.4, 0.12, 0.06)
    if rng.uniform() < 0.78:
        grey = greys[int(rng.choice(len(greys), p=[0.28, 0.24, 0.18, 0.14, 0.16]))]
        return grey, grey, grey * 1.02
    bright = ((0.5, 0.07, 0.07), (0.08, 0.16, 0.42), (0.1, 0.3, 0.25), (0.45, 0.35, 0.18), (0.25, 0.32, 0.45), (0.7, 0.5, 0.08))
    return bright[int(rng.integers(len(bright)))]
