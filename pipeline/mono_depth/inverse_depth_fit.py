"""Fit scale and shift between a monocular map and measured depth, in inverse depth.

Why    A monocular network knows nearer from farther, not metres: its inverse depth is right up to a scale and a shift per image
Source docs/method/mono-depth.md#alignment: least squares; no fit with fewer than two points or a singular system. The robust way
       starts from the median of the slopes of all pairs (Theil 1950, Sen 1968: up to 29 % of the points may be anything) and
       reweights by Tukey's biweight (Beaton and Tukey 1974). Huber's weights were tried and rejected: radar clutter is always too
       near, so its errors have one sign, and with a fifth of the points wrong they still pull the line away
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BIWEIGHT_SIGMAS = 4.685
"""Residuals beyond so many deviations have weight 0: 95 % of the efficiency of least squares on Gaussian errors."""

DEVIATION_OF_MAD = 1.4826
"""Standard deviation of a Gaussian, in its median absolute deviations."""

ROUNDS, ENOUGH = 50, 1e-10
"""Reweighting stops after so many rounds, or when scale and shift change by less than this share."""

PAIRED_POINTS = 400
"""Points of which all pairs are looked at; of more, an evenly spaced part in the order of their values."""

LEAST_SPREAD = 1e-12
"""A system is singular when the values' variance is below this share of their mean square: they are one number, rounded."""


@dataclass(frozen=True)
class Fit:
    """``1/depth = scale x value + shift``; scale > 0.

    Attributes:
        scale: 1/m per unit of the value.
        shift: 1/m.
    """

    scale: float
    shift: float


def fit_inverse_depth(value: NDArray[np.float64], depth_m: NDArray[np.float64], *, robust: bool) -> Fit | None:
    """Fit the inverse of measured depth to monocular values.

    Args:
        value: (n,) inverse depth up to scale and shift.
        depth_m: (n,) measured depth at the same pixels, metres, > 0.
        robust: let a minority of wrong measurements count little or nothing.

    Returns:
        The fit; None with fewer than two points, values that are all the same, or a scale that is not positive (the map would be
        turned inside out).
    """
    inverse = 1.0 / depth_m
    fit = _weighted(value, inverse, np.ones_like(inverse))
    if robust and fit is not None:
        fit = _reweighted(value, inverse, _median_of_pairs(value, inverse))
    return fit if fit is not None and fit.scale > 0 else None


def _weighted(value: NDArray[np.float64], inverse: NDArray[np.float64], weight: NDArray[np.float64]) -> Fit | None:
    """Return the weighted least-squares line, centred first so that large values cost no digits; None if it is singular."""
    if np.count_nonzero(weight) < 2:
        return None
    mean_value, mean_inverse = np.average(value, weights=weight), np.average(inverse, weights=weight)
    centred = value - mean_value
    variance = float(np.average(centred**2, weights=weight))
    if not variance > LEAST_SPREAD * float(np.average(value**2, weights=weight)):
        return None
    scale = float(np.average(centred * (inverse - mean_inverse), weights=weight)) / variance
    return Fit(scale, float(mean_inverse - scale * mean_value))


def _median_of_pairs(value: NDArray[np.float64], inverse: NDArray[np.float64]) -> Fit:
    order = np.argsort(value, kind="stable")
    if len(order) > PAIRED_POINTS:
        order = order[np.linspace(0, len(order) - 1, PAIRED_POINTS).astype(np.intp)]
    first, second = np.triu_indices(len(order), k=1)
    across, up = np.subtract(*value[order][[second, first]]), np.subtract(*inverse[order][[second, first]])
    scale = float(np.median(up[across > 0] / across[across > 0]))
    return Fit(scale, float(np.median(inverse - scale * value)))


def _reweighted(value: NDArray[np.float64], inverse: NDArray[np.float64], start: Fit) -> Fit:
    """Return where Tukey's biweight settles from a start; the last line that was not singular."""
    fit = start
    for _ in range(ROUNDS):
        residual = np.abs(inverse - fit.scale * value - fit.shift)
        floor = 1e-9 * float(inverse.mean())  # without it, rounding would reject half of the points where most fit exactly
        reach = BIWEIGHT_SIGMAS * max(DEVIATION_OF_MAD * float(np.median(residual)), floor)
        better = _weighted(value, inverse, np.maximum(0.0, 1.0 - (residual / reach) ** 2) ** 2)
        if better is None:
            break
        former, fit = fit, better
        if np.allclose((fit.scale, fit.shift), (former.scale, former.shift), rtol=ENOUGH, atol=0.0):
            break
    return fit
