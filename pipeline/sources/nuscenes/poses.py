"""Ego poses of a release: rows of numbers, of the wanted poses only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.nuscenes.json_tables import iterate_table, missing_token
from storage_schemas.errors import SourceError


class PosedFile(Protocol):
    """A record of sample_data, as far as its pose goes."""

    @property
    def token(self) -> str:
        """Its own token."""
        ...

    @property
    def pose_token(self) -> str:
        """Token of its ego pose."""
        ...


class Poses:
    """The ego poses of a release.

    Args:
        folder: version folder.
        wanted: tokens of the poses to keep.

    Attributes:
        rows: (n, 7) float64, translation in metres and rotation wxyz.
        times_us: (n,) float64 time of each pose, NaN where the table says none.
    """

    def __init__(self, folder: Path, wanted: set[str]) -> None:
        self._number: dict[str, int] = {}
        self.rows = np.full((len(wanted), 7), np.nan)
        self.times_us = np.full(len(wanted), np.nan)
        for record in iterate_table(folder, "ego_pose"):
            if record["token"] in wanted:
                former = self.rows[self._number[record["token"]]].copy() if record["token"] in self._number else None
                number = self._number.setdefault(record["token"], len(self._number))
                self.rows[number, :3], self.rows[number, 3:] = record["translation"], record["rotation"]
                if former is not None and not np.array_equal(former, self.rows[number]):
                    raise SourceError(
                        f"ego_pose.json has two different poses with the token '{record['token']}'; expected a token for each. "
                        "Correct the tables"
                    )
                time_us = record.get("timestamp")
                if type(time_us) in (int, float):
                    self.times_us[number] = time_us

    def numbers(self, files: Iterable[PosedFile]) -> NDArray[np.int64]:
        """Return the row of each file's pose; SourceError if a pose is not in the table."""
        numbers = []
        for file in files:
            number = self._number.get(file.pose_token)
            if number is None:
                raise missing_token("ego_pose", file.pose_token, asked_by=f"sample_data '{file.token}'")
            numbers.append(number)
        return np.array(numbers, np.int64)
