"""Ego poses of a release: rows of numbers, of the wanted poses only."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.nuscenes.json_tables import Record, iterate_table, missing_token
from storage_schemas.errors import SourceError
from storage_schemas.remote_path import DataPath


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

    def __init__(self, folder: DataPath, wanted: set[str]) -> None:
        self._number: dict[str, int] = {}
        values, times_us = array("d"), array("d")  # rows of a NumPy array would be filled at a third of the speed
        for record in iterate_table(folder, "ego_pose"):
            token = record["token"]
            if token in wanted:
                if token in self._number:
                    self._refuse_another(record, values)
                    continue
                self._number[token] = len(times_us)
                values.extend(record["translation"])
                values.extend(record["rotation"])
                time_us = record.get("timestamp")
                times_us.append(time_us if type(time_us) is int else np.nan)
        self.rows = np.frombuffer(values, np.float64).reshape(-1, 7)
        self.times_us = np.frombuffer(times_us, np.float64)
        if len(self.rows) != len(self.times_us):
            raise ValueError(f"{len(values)} numbers of {len(self.times_us)} poses")

    def _refuse_another(self, record: Record, values: Sequence[float]) -> None:
        first = 7 * self._number[record["token"]]
        if [*record["translation"], *record["rotation"]] != list(values[first : first + 7]):
            raise SourceError(
                f"ego_pose.json has two different poses with the token '{record['token']}'; expected a token for each. "
                "Correct the tables"
            )

    def numbers(self, files: Iterable[PosedFile]) -> NDArray[np.int64]:
        """Return the row of each file's pose; SourceError if a pose is not in the table."""
        numbers = []
        for file in files:
            number = self._number.get(file.pose_token)
            if number is None:
                raise missing_token("ego_pose", file.pose_token, asked_by=f"sample_data '{file.token}'")
            numbers.append(number)
        return np.array(numbers, np.int64)
