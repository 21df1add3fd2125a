"""The history of training rounds: one Parquet file a round, read together as one table.

Each round has its own file. No writer opens what another wrote, so nothing can be lost and no lock is needed.

Writes ``<folder>/<name>.parquet``; names begin with the round's UTC time, so that their order is the order of the rounds
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from uuid import uuid4

from storage_schemas.errors import DepthmillError, LayoutError, StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.layout import ColumnSpec, TableSpec
from storage_schemas.seals import BrokenSealError, check_table, sealed_table
from storage_schemas.table import decode_table, encode_table

_NAME = r"\w[\w.-]*"

OUTCOMES = ("promoted", "kept", "nothing to do", "failed")
"""What became of a round; kept: the former champion stays."""

ROUNDS = TableSpec(
    "rounds",
    description="one row per round: what it was asked, what it made, and whether its training became the champion",
    columns=(
        ColumnSpec("name", "string", "", "name of the round, its UTC start first"),
        ColumnSpec("recipe", "string", "", "recipe file"),
        ColumnSpec("started_utc", "string", "", "ISO 8601, milliseconds"),
        ColumnSpec("finished_utc", "string", "", "ISO 8601, milliseconds"),
        ColumnSpec("outcome", "string", "", f"one of: {', '.join(OUTCOMES)}"),
        ColumnSpec("reason", "string", "", "why there was work, or why there was none, in words"),
        ColumnSpec("note", "string", "", "what else there is to say: a champion measured again, why it was kept, an error"),
        ColumnSpec("request", "string", "", "digest of manifest and training options; equal for rounds that ask the same"),
        ColumnSpec("num_units", "int64", "1", "units made"),
        ColumnSpec("manifest", "string", "", "fingerprint of the pinned manifest", is_nullable=True),
        ColumnSpec("training", "string", "", "folder of the challenger", is_nullable=True),
        ColumnSpec("champion_before", "string", "", "folder of the champion that it met", is_nullable=True),
        ColumnSpec(
            "metric", "string", "", "metric that decides, with the unit of the values; empty: the recipe was not understood"
        ),
        ColumnSpec("cap_m", "double", "m", "pixels with 0 < target <= cap count; null: no depth maps", is_nullable=True),
        ColumnSpec("radar", "string", "", "on or off; null: no depth maps", is_nullable=True),
        ColumnSpec("margin", "double", "", "improvement that a challenger must reach, in the metric's unit"),
        ColumnSpec("num_frames", "int64", "1", "frames that both were measured on, of a pre-training clips", is_nullable=True),
        ColumnSpec("champion_value", "double", "", "mean of the metric over them", is_nullable=True),
        ColumnSpec("challenger_value", "double", "", "mean of the metric over them", is_nullable=True),
        ColumnSpec(
            "difference",
            "double",
            "",
            "mean of challenger - champion, frame by frame; of average precisions their difference",
            is_nullable=True,
        ),
        ColumnSpec("low", "double", "", "lower end of its 95 % interval", is_nullable=True),
        ColumnSpec("high", "double", "", "upper end of its 95 % interval", is_nullable=True),
        ColumnSpec("is_promoted", "bool", "1", "the challenger became the champion"),
        ColumnSpec("seconds", "double", "s", "wall time of the round"),
        ColumnSpec("commit", "string", "", "git commit of depthmill, or unknown"),
        ColumnSpec("is_dirty", "string", "", "true: the working tree had changes; false; unknown"),
        ColumnSpec(
            "needs_interval", "bool", "1", "the interval had to exclude 0; null: a round of a former version", is_nullable=True
        ),
        ColumnSpec(
            "least_share", "double", "1", "frames and pixels that had to be common; null: a former version", is_nullable=True
        ),
        ColumnSpec(
            "line", "string", "", "<recipe>.<family> whose champion it is about; null: a former version", is_nullable=True
        ),
    ),
)


@dataclass(frozen=True)
class Round:
    """One row of ROUNDS; see its columns."""

    name: str
    recipe: str
    started_utc: str
    finished_utc: str
    outcome: str
    reason: str
    note: str
    request: str
    num_units: int
    manifest: str | None
    training: str | None
    champion_before: str | None
    metric: str
    cap_m: float | None
    radar: str | None
    margin: float
    num_frames: int | None
    champion_value: float | None
    challenger_value: float | None
    difference: float | None
    low: float | None
    high: float | None
    is_promoted: bool
    seconds: float
    commit: str
    is_dirty: str
    needs_interval: bool | None = None
    least_share: float | None = None
    line: str | None = None


def new_round_name(now: datetime | None = None) -> str:
    """Return a name that sorts by time (UTC) and that no other process chooses in the same millisecond."""
    now = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{now:%Y-%m-%dT%H-%M-%S}-{now.microsecond // 1000:03d}-{uuid4().hex[:6]}"


def write_round(folder: str, row: Round) -> str:
    """Write one round to a file of its own, atomically; return its path.

    Raises:
        LayoutError: a value does not fit its column, the outcome is unknown, or the name cannot be a file's.
        StoreError: a round of this name exists already, or the folder cannot be written.
    """
    where = f"history '{folder}', round '{row.name}'"
    if not re.fullmatch(_NAME, row.name):
        raise LayoutError(f"{where}: the name must be letters, digits, '.', '_' and '-'. Take new_round_name()")
    if row.outcome not in OUTCOMES:
        raise LayoutError(f"{where}: outcome is '{row.outcome}', expected one of: {', '.join(OUTCOMES)}")
    data = sealed_table(encode_table(ROUNDS, {name: [value] for name, value in asdict(row).items()}, where=where))
    files, key = StoreFiles(folder), f"{row.name}.parquet"
    if files.exists(key):
        raise StoreError(f"{where}: '{files.path(key)}' is there already and is never written twice. Take another name")
    files.put(key, data)
    return files.path(key)


def rounds_newest_first(folder: str) -> Iterator[Round]:
    """Yield the rounds of a folder, reading each file only when it is asked for; nothing if there is no folder.

    Raises:
        StoreError: a file is damaged; the text names it.
    """
    files = StoreFiles(folder)
    for key in reversed(files.names("")):
        if key.endswith(".parquet"):
            yield _read(files, key)


def read_round(folder: str, name: str) -> Round | None:
    """Return a round by its name; None if it is not there, StoreError if its file is damaged."""
    files, key = StoreFiles(folder), f"{name}.parquet"
    return _read(files, key) if re.fullmatch(_NAME, name) and files.exists(key) else None


def read_history(folder: str, *, last: int | None = None) -> list[Round]:
    """Return the rounds of a folder, oldest first; with ``last`` only so many of the newest. StoreError as above."""
    return list(itertools.islice(rounds_newest_first(folder), last))[::-1]


def _read(files: StoreFiles, key: str) -> Round:
    path = files.path(key)
    try:
        content = files.get(key)
        check_table(content)
        columns = decode_table(ROUNDS, content, where=path)
    except (FileNotFoundError, BrokenSealError, DepthmillError) as error:
        cause = error.__cause__ or error
        raise StoreError(f"run history file '{path}' cannot be read: {cause}. Move it away; the other rounds stay") from error
    if (count := len(columns["name"])) != 1:
        raise StoreError(f"run history file '{path}' has {count} rows, expected 1. Move it away; the other rounds stay")
    return Round(**{name: values[0] for name, values in columns.items()})
