"""When the sensors of one scene fire, where every scene has clocks of its own (`clocks: drawn`).

The scanner turns at 20 Hz with a jitter below a millisecond, and now and then a sweep is lost. Most key frames are ten
sweeps apart, some eight to twelve. Cameras follow the scanner. Each radar starts at a phase of its own and its clock is
up to 1 % fast or slow, so that a key scan lies anywhere in +-38 ms around its sweep. All times are integer microseconds.

Source docs/method/world.md#motion.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.sources.synthetic.rigid import Ints

JITTER_US: Final = 350.0
JITTER_LIMIT_US: Final = 2_300
CAMERA_JITTER_US: Final = 700.0
UNEVEN_SHARE: Final = 0.09
UNEVEN_SWEEPS: Final = (8, 9, 11, 12)
LOST_SHARE: Final = 0.5
CLOCK_ERROR: Final = 0.01


def drawn_sweeps(num_keys: int, *, start_us: int, period_us: int, key_every: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return the times (s,) of all sweeps and the places (k,) of the key frames among them.

    One sweep is missing in half of the scenes; it is never a key frame.
    """
    uneven = rng.uniform(size=num_keys - 1) < UNEVEN_SHARE
    gaps = np.where(uneven, rng.choice(UNEVEN_SWEEPS, size=num_keys - 1), key_every)
    keys = np.concatenate([[0], np.cumsum(gaps)]).astype(np.int64)
    jitter = np.clip(rng.laplace(0.0, JITTER_US, int(keys[-1]) + 1), -JITTER_LIMIT_US, JITTER_LIMIT_US)
    times = start_us + np.arange(len(jitter), dtype=np.int64) * period_us + np.rint(jitter).astype(np.int64)
    if rng.uniform() < LOST_SHARE and len(times) > 2:
        lost = int(rng.choice(np.setdiff1d(np.arange(1, len(times) - 1), keys)))
        times, keys = np.delete(times, lost), keys - (keys > lost)
    return times, keys


def drawn_camera(key_us: Ints, lead_us: int, rng: np.random.Generator) -> Ints:
    """Return the times (k,) of a camera's key images: `lead_us` before the key sweeps, give or take a millisecond."""
    jitter = np.clip(rng.normal(0.0, CAMERA_JITTER_US, len(key_us)), -JITTER_LIMIT_US, JITTER_LIMIT_US)
    return key_us - lead_us + np.rint(jitter).astype(np.int64)


def drawn_radar(first_us: int, end_us: int, period_us: int, rng: np.random.Generator) -> Ints:
    """Return the times (r,) of a radar's scans before `end_us`: from up to one period before `first_us` on, at its own pace."""
    pace = period_us * (1.0 + rng.uniform(-CLOCK_ERROR, CLOCK_ERROR))
    start = first_us - period_us // 2 + rng.uniform(0.0, pace)
    count = max(int(np.ceil((end_us - start) / pace)), 1)
    times: Ints = np.rint(start + np.arange(count) * pace).astype(np.int64)
    return times
