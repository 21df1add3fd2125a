"""Calibrations that are unlike nearly all others of their channel in a release: a value that is possible by itself.

Why    A sensor is mounted where it is mounted; one record of fifty that says another place is more likely a slip than another car
Source docs/method/pipeline.md#neighbours
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from pipeline.sources.nuscenes.json_tables import Record

LEAST_ALIKE = 4
"""Of fewer records nothing is said."""

ALIKE_SHARE, ALIKE_M, ODD_M = 0.9, 0.2, 0.5
"""Where so many of a channel lie within the second of their median, one beyond the third is odd. Real cars differ by 0.1 m."""

ODD_TURN, ODD_LENS = np.radians(20), 0.2
"""The same of rotations and of the share of a focal length."""


def odd_calibrations(calibrations: Iterable[Record], channel_of_sensor: Mapping[str, str]) -> dict[str, str]:
    """Return token -> how the calibration differs from the others of its channel, of those that do.

    Args:
        calibrations: records of calibrated_sensor; those that cannot be read as numbers are passed over.
        channel_of_sensor: token of a sensor -> its channel.
    """
    of_channel: dict[str, list[tuple[str, list[float]]]] = {}
    for record in calibrations:
        try:
            numbers = [float(number) for number in (*record["translation"], *record["rotation"], *_lens(record))]
        except (TypeError, ValueError, KeyError, IndexError, OverflowError):
            continue
        if len(numbers) == 8 and np.isfinite(numbers).all():
            of_channel.setdefault(channel_of_sensor.get(record.get("sensor_token", ""), ""), []).append(
                (record["token"], numbers)
            )
    odd: dict[str, str] = {}
    for channel, records in of_channel.items():
        if len(records) < LEAST_ALIKE or not channel:
            continue
        values = np.array([numbers for _, numbers in records])
        middle = np.median(values[:, :3], axis=0)
        metres = np.linalg.norm(values[:, :3] - middle, axis=1)
        usual = values[int(metres.argmin())]
        turn = 2 * np.arccos(np.abs(values[:, 3:7] @ usual[3:7]).clip(0, 1))
        lens = np.abs(values[:, 7] / (np.median(values[:, 7]) or 1.0) - 1) * (values[:, 7] > 0)
        alike = (metres <= ALIKE_M) & (turn <= ODD_TURN / 2) & (lens <= ODD_LENS / 2)
        if alike.mean() < ALIKE_SHARE and (~alike).sum() > 1:
            continue
        for at in np.flatnonzero((metres > ODD_M) | (turn > ODD_TURN) | (lens > ODD_LENS)):
            odd[records[at][0]] = (
                f"It lies {metres[at]:.2f} m and {np.degrees(turn[at]):.0f} degrees from the others, its focal length differs "
                f"by {100 * lens[at]:.0f} %"
            )
    return odd


def _lens(record: Record) -> list[float]:
    intrinsic = record.get("camera_intrinsic")
    return [intrinsic[0][0]] if intrinsic else [0.0]
