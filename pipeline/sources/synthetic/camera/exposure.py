"""Exposure of a scene: how long, how bright, how grainy, and the tone curve from light to 8 bits.

Auto exposure brings the mean of a picture to the scene's own target; at night it stops at the highest gain, so a dark street
stays dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.rigid import Floats

GAMMA: Final = 2.4
TONE_STEPS: Final = 4096
TONE_LIMIT: Final = 4.0
METER_STEP: Final = 8


@dataclass(frozen=True)
class Exposure:
    """How a scene's pictures are exposed.

    seconds the shutter is open; target mean grey 0..1; max_gain the highest gain; shot the noise variance a unit of exposed
    light, read the noise sd without light, colour_noise the share of it that differs between channels; saturation 1 keeps
    the colours; balance (3,) is the error of the white balance; bloom (3,) see `optics_kernels.scattered`; lift is the
    darkest grey; above the knee the tone curve bends towards white, toe bends its dark end.
    """

    seconds: float
    target: float
    max_gain: float
    shot: float
    read: float
    colour_noise: float
    saturation: float
    balance: Floats
    bloom: Floats
    lift: float
    knee: float
    toe: float

    def gain_for(self, light: NDArray[np.float32]) -> float:
        """Return the gain that brings the mean grey of a picture of linear light (y, x, 3) to the target."""
        grey = light[::METER_STEP, ::METER_STEP].astype(np.float64) @ np.array([0.3, 0.59, 0.11])
        curve = tone_curve(self)
        low, high = 1e-4, self.max_gain
        for _ in range(24):
            middle = float(np.sqrt(low * high))
            at = np.sqrt(np.clip(middle * grey, 0.0, TONE_LIMIT) / TONE_LIMIT) * (TONE_STEPS - 1)
            if curve[at.astype(np.int64)].mean() > self.target:
                high = middle
            else:
                low = middle
        return low


def tone_curve(exposure: Exposure) -> NDArray[np.float32]:
    """Return the grey 0..1 (TONE_STEPS,) over the square root of the exposed light from 0 to TONE_LIMIT."""
    light = np.linspace(0.0, np.sqrt(TONE_LIMIT), TONE_STEPS) ** 2
    room = 1.0 - exposure.knee
    bent = np.where(light < exposure.knee, light, exposure.knee + room * (1.0 - np.exp(-(light - exposure.knee) / room)))
    low = exposure.toe ** (1 / GAMMA)
    curve = ((bent + exposure.toe) ** (1 / GAMMA) - low) / ((1.0 + exposure.toe) ** (1 / GAMMA) - low)
    tones: NDArray[np.float32] = np.clip(exposure.lift + (1.0 - exposure.lift) * curve, 0.0, 1.0).astype(np.float32)
    return tones


def draw_exposure(rng: np.random.Generator, *, is_night: bool, is_rain: bool) -> Exposure:
    """Return one scene's exposure."""
    target, seconds, colour = rng.uniform(-1.0, 1.0), rng.uniform(), rng.uniform()
    balance = 1.0 + (0.07 if is_night else 0.03) * np.clip(rng.normal(size=3), -2.0, 2.0)
    if is_night:
        return Exposure(
            seconds=0.016 + 0.012 * seconds,
            target=0.17 + 0.03 * target,
            max_gain=20.0,
            shot=5e-5,
            read=1.1e-2,
            colour_noise=0.6,
            saturation=0.95 + 0.3 * colour,
            balance=balance,
            bloom=np.array([0.16, 0.10, 0.06]),
            lift=0.045,
            knee=0.8,
            toe=0.03,
        )
    return Exposure(
        seconds=0.002 + 0.004 * seconds + (0.004 if is_rain else 0.0),
        target=0.41 + 0.02 * target,
        max_gain=20.0,
        shot=1.2e-4,
        read=2.0e-3,
        colour_noise=0.4,
        saturation=0.65 + 0.3 * colour,
        balance=balance,
        bloom=np.array([0.04, 0.02, 0.02]),
        lift=0.035,
        knee=0.75,
        toe=0.008,
    )
