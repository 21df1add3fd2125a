"""A depth model of simulated worlds: exact depth, corrupted in known ways.

Why    Alignment, cleaning by monocular depth and the plug-in branch can be compared with the truth, at any size of error
Source docs/method/mono-depth.md#models-without-weights
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.mono_depth.model import MonoDepthError, MonoDepthInput, MonoDepthMap, Sight, ValueKind
from pipeline.resample import resize_bilinear, short_side_grid

GROSS_NEAR_M, GROSS_FAR_M = 2.0, 80.0
"""Wrong patches get a depth between these, uniform in inverse depth as a network's own mistakes roughly are."""

GROSS_SIDE = (0.05, 0.25)
"""Sides of a wrong patch, in shares of the image's."""


@dataclass(frozen=True)
class Corruption:
    """How exact depth is corrupted, frame by frame.

    Attributes:
        scale_spread: standard deviation of the logarithm of a frame's scale.
        shift_spread_per_m: standard deviation of a frame's shift of inverse depth, 1/m; metric depth has none.
        noise: standard deviation of the smooth relative noise of inverse depth.
        noise_cells: cells of that noise along the shorter side; between them it is interpolated.
        gross: share of the image, at least, that patches of a wrong depth cover.
        seed: of all of it; a frame draws from (seed, frame key).
    """

    scale_spread: float = 0.0
    shift_spread_per_m: float = 0.0
    noise: float = 0.0
    noise_cells: int = 6
    gross: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class CorruptedTruth:
    """Exact depth on a coarser grid, corrupted.

    Attributes:
        short_side_px: pixels of the shorter side of its grid.
        kind: what it gives: inverse_relative, with its own scale and shift in every frame, or metric, with a scale only.
        corruption: what is wrong with it.
    """

    short_side_px: int
    kind: ValueKind
    corruption: Corruption
    name: str = "truth"
    sees: frozenset[Sight] = frozenset({"truth"})

    def predict(self, frame: MonoDepthInput) -> MonoDepthMap:
        """Return the corrupted truth.

        Raises:
            MonoDepthError: the source knows no exact depth.
        """
        if frame.exact_m is None:
            raise MonoDepthError(
                f"teacher 'truth' was given no exact depth for {frame.frame_key}; only a simulated world has it. Set "
                "source.kind to synthetic, or stages.predict_mono_depth.teacher to another teacher"
            )
        p, rng = self.corruption, frame_generator(self.corruption.seed, frame.frame_key)
        with np.errstate(divide="ignore"):
            exact_per_m = np.where(frame.exact_m > 0, 1.0 / frame.exact_m, 0.0)
        grid = short_side_grid(frame.height, frame.width, self.short_side_px)
        per_m = resize_bilinear(exact_per_m, grid).astype(np.float64)
        # drawn even if unused: otherwise a change of one parameter would change the other random numbers
        scale, shift = np.exp(p.scale_spread * rng.standard_normal()), p.shift_spread_per_m * rng.standard_normal()
        per_m *= np.exp(p.noise * smooth_noise(rng, grid, cells=p.noise_cells))
        place_gross(per_m, rng, share=p.gross)
        if self.kind == "inverse_relative":
            return MonoDepthMap((scale * (per_m + shift)).astype(np.float32), self.kind)
        is_sky = per_m <= 0
        with np.errstate(divide="ignore"):
            value = np.where(is_sky, 0.0, scale / per_m)
        limit = float(np.finfo(np.float16).max)  # a cell that is nearly all sky may be farther than it can be stored
        return MonoDepthMap(np.minimum(value, limit).astype(np.float32), self.kind, is_sky=is_sky)

    def provenance(self) -> Mapping[str, str]:
        """Return nothing: the model uses no code beyond this package."""
        return {}


def frame_generator(seed: int, frame_key: str) -> np.random.Generator:
    """Return the generator of one frame: a function of seed and frame key alone, so the order of frames does not matter."""
    digest = hashlib.blake2b(f"{seed}/{frame_key}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], *, cells: int) -> NDArray[np.float64]:
    """Return noise (y, x) that varies over about one ``cells``-th of the shorter side, mean about 0 and deviation about 1."""
    step = min(shape) / cells
    coarse = rng.standard_normal((max(2, round(shape[0] / step)), max(2, round(shape[1] / step))))
    return resize_bilinear(coarse, shape).astype(np.float64) * 1.5  # interpolation between independent cells leaves 2/3


def place_gross(per_m: NDArray[np.float64], rng: np.random.Generator, *, share: float) -> None:
    """Give random rectangles a random depth, in place, until they cover ``share`` of a map (y, x) of inverse depth, 1/m."""
    is_hit = np.zeros(per_m.shape, bool)
    while is_hit.mean() < share:
        rows, columns = (max(1, round(size * rng.uniform(*GROSS_SIDE))) for size in per_m.shape)
        top, left = rng.integers(0, per_m.shape[0] - rows + 1), rng.integers(0, per_m.shape[1] - columns + 1)
        patch = np.s_[top : top + rows, left : left + columns]
        per_m[patch] = rng.uniform(1 / GROSS_FAR_M, 1 / GROSS_NEAR_M)
        is_hit[patch] = True
