"""How far a pixel's depth can be trusted, from what is known of its returns.

Why    A loss can weigh pixels, and a reader can leave doubtful ones out, if a number predicts which of them are wrong
How    Each fact adds to the log-odds that a depth is wrong; the sums were fitted to simulated drives with exact depth
Source docs/method/pipeline.md#confidence

Wrong means: the error exceeds half a metre and 3 % of the depth, or the pixel shows the sky. Confidence c stands for the odds
exp(-c / UNITS) of a wrong depth: 0 means every second one, 255 means one in 10,000. The tables are monotone, whatever the fit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

UNITS = 255 / np.log(10_000)
"""Steps of confidence for a factor e in the odds."""


_PART = 4096


class Penalties(NamedTuple):
    """What is taken off the best confidence, in steps, for each fact of a pixel: the least value of a bin, and its penalty.

    Attributes:
        best: confidence of a pixel with the best of all facts.
        num_returns: returns in the front layer.
        front_share: their share of the pixel's returns, in 1/255.
        free_votes: other sweeps that see through one of them.
        depth_m: depth.
    """

    best: int
    num_returns: dict[int, int]
    front_share: dict[int, int]
    free_votes: dict[int, int]
    depth_m: dict[int, int]


WITH_VOTES = Penalties(
    best=235,
    num_returns={1: 84, 2: 43, 3: 31, 4: 25, 5: 22, 6: 20, 8: 18, 12: 13, 16: 0},
    front_share={0: 111, 16: 105, 31: 98, 46: 92, 61: 86, 76: 78, 121: 63, 166: 62, 181: 61, 196: 59, 211: 52, 226: 50, 241: 0},
    free_votes={0: 0, 1: 10, 2: 41, 3: 60, 4: 64},
    depth_m={0: 0, 8: 35, 48: 44, 56: 56, 64: 63, 72: 71, 80: 75, 88: 77, 96: 80, 104: 84},
)
"""Fitted to 106 key frames of nine simulated scenes, 1600x900 and 800x450, with votes of other sweeps."""

WITHOUT_VOTES = Penalties(
    best=201,
    num_returns={1: 103, 2: 42, 3: 27, 4: 21, 5: 18, 6: 17, 8: 15, 12: 11, 16: 0},
    front_share={
        0: 125,
        16: 119,
        31: 114,
        46: 110,
        61: 104,
        76: 97,
        121: 84,
        166: 83,
        181: 81,
        196: 78,
        211: 69,
        226: 62,
        241: 0,
    },
    free_votes={0: 0},
    depth_m={0: 0, 8: 10, 56: 19, 64: 25, 72: 27, 80: 30, 88: 33, 104: 40, 112: 44},
)
"""Fitted to the same without free_space."""


def _table(penalties: dict[int, int]) -> NDArray[np.int32]:
    """Return a penalty for each value of a byte."""
    starts, values = np.array(list(penalties)), np.array(list(penalties.values()), np.int32)
    table: NDArray[np.int32] = values[np.maximum(np.searchsorted(starts, np.arange(256), side="right") - 1, 0)]
    return table


def write_confidence(steps: NDArray[np.uint16], facts: NDArray[np.uint32], out: NDArray[np.uint8], *, has_votes: bool) -> None:
    """Tell the facts of an image's pixels apart, and write how far their depths can be trusted.

    Args:
        steps: (num_pixels,) uint16 depth, 1/256 m, 0 = no measurement.
        facts: (num_pixels,) uint32 from ``front_surface.form_surface``; set back to 0.
        out: (5, num_pixels) uint8 output: the confidence, 1 to 255, 0 where nothing is measured; then the four facts.
        has_votes: other sweeps voted; without them a single return says less.
    """
    penalties = WITH_VOTES if has_votes else WITHOUT_VOTES
    by_number, by_share = _table(penalties.num_returns), _table(penalties.front_share)
    by_votes, by_depth = _table(penalties.free_votes), _table(penalties.depth_m)
    _tell_apart(facts, out[1], out[2], out[3], out[4])
    _take_off(steps, out[1], out[2], out[4], np.int32(penalties.best), by_number, by_share, by_votes, by_depth, out[0])


@njit(cache=True, error_model="numpy")
def _tell_apart(facts, num_returns, shares, spreads, votes):  # type: ignore[no-untyped-def]
    for i in range(len(facts)):
        fact = facts[i]
        num_returns[i], shares[i] = np.uint8(fact), np.uint8(fact >> np.uint32(8))
        spreads[i], votes[i] = np.uint8(fact >> np.uint32(16)), np.uint8(fact >> np.uint32(24))
    facts[:] = 0


@njit(cache=True, error_model="numpy")
def _take_off(  # type: ignore[no-untyped-def]
    steps, num_returns, shares, votes, best, by_number, by_share, by_votes, by_depth, confidence
):
    listed = np.empty(_PART, np.int64)
    for first in range(0, len(steps), _PART):
        count = 0
        for i in range(first, min(first + _PART, len(steps))):  # without a branch: which pixels are measured cannot be predicted
            listed[count] = i
            count += steps[i] > 0
            confidence[i] = 0
        for n in range(count):
            at = np.uint64(listed[n])
            taken = by_number[num_returns[at]] + by_share[shares[at]] + by_votes[votes[at]] + by_depth[steps[at] >> np.uint16(8)]
            confidence[at] = max(best - taken, 1)
