"""Statistics of pictures, measured in the same way on real and on simulated ones.

A picture is RGB (y, x, 3) uint8. Grey is Rec. 601 luma. Shares and means are 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

WHITE = 0.97
BLACK = 0.04
ENTROPY_LEVELS = 64
PATCH_PX = 8
FLAT_SHARE = 0.1
NOISE_GREYS = ((5, 25), (25, 60), (60, 120))
THUMBNAIL_PX = (32, 18)
MIN_PATCHES = 20


def _grey(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Tones:
    """How light and how colourful a picture is: mean and sd of grey, entropy (bits), shares, mean saturation."""

    mean: float
    sd: float
    entropy: float
    white: float
    black: float
    saturation: float


def tones(image: NDArray[np.uint8]) -> Tones:
    """Return the tones of one picture."""
    rgb = image.astype(np.float64) / 255.0
    grey = _grey(image) / 255.0
    shares = np.bincount((grey * ENTROPY_LEVELS).astype(int).clip(0, ENTROPY_LEVELS - 1).ravel(), minlength=ENTROPY_LEVELS)
    shares = shares[shares > 0] / grey.size
    high, low = rgb.max(axis=2), rgb.min(axis=2)
    saturation = (high - low) / np.maximum(high, 1e-6)
    return Tones(
        float(grey.mean()),
        float(grey.std()),
        float(-(shares * np.log2(shares)).sum()),
        float((grey > WHITE).mean()),
        float((grey < BLACK).mean()),
        float(saturation.mean()),
    )


def noise_by_grey(image: NDArray[np.uint8]) -> list[float]:
    """Return the noise sd (grey levels) within each of `NOISE_GREYS`, NaN where hardly any patch is that light.

    Of the patches of 8 x 8 pixels with such a mean, a tenth is flatter than this: what is left there is noise.
    """
    grey = _grey(image)
    rows, columns = grey.shape[0] // PATCH_PX, grey.shape[1] // PATCH_PX
    patches = grey[: rows * PATCH_PX, : columns * PATCH_PX].reshape(rows, PATCH_PX, columns, PATCH_PX)
    patches = patches.transpose(0, 2, 1, 3).reshape(-1, PATCH_PX * PATCH_PX)
    sd, mean = patches.std(axis=1), patches.mean(axis=1)
    chosen = [sd[(mean >= low) & (mean < high)] for low, high in NOISE_GREYS]
    return [float(np.quantile(part, FLAT_SHARE)) if len(part) >= MIN_PATCHES else float("nan") for part in chosen]


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a picture's grey (18, 32), each value the mean of a block."""
    grey = _grey(image)
    rows = np.linspace(0, grey.shape[0], THUMBNAIL_PX[1] + 1).astype(int)
    columns = np.linspace(0, grey.shape[1], THUMBNAIL_PX[0] + 1).astype(int)
    return np.array([[grey[a:b, c:d].mean() for c, d in pairwise(columns)] for a, b in pairwise(rows)])


def thumbnail_correlations(images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return the correlation (pairs,) of the thumbnails of all pairs of pictures."""
    table = np.corrcoef([thumbnail(image).ravel() for image in images])
    return table[np.triu_indices(len(images), 1)]
