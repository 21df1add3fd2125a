"""An evaluation on disk: one folder with two Parquet files, every frame at every cap, and every frame's errors by range.

Not a unit of a store: a folder beside a run, written anew by every ``depthmill evaluate`` and pinned by nothing. Metrics are kept
frame by frame, so that any mean, group or comparison can be made later without the network.

Writes frames.parquet, ranges.parquet
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from storage_schemas.errors import LayoutError, StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.layout import Columns, ColumnSpec, StoreLayout, TableSpec, UnitData, check
from storage_schemas.seals import BrokenSealError, check_table, sealed_table
from storage_schemas.table import decode_table, encode_table

RADAR = ("on", "off")
"""Values of the column ``radar``: the network saw the frame's returns, or an empty radar map."""

METRIC_COLUMNS = (
    ColumnSpec("mae_mm", "double", "mm", "mean |error|", is_nullable=True),
    ColumnSpec("rmse_mm", "double", "mm", "root of the mean squared error", is_nullable=True),
    ColumnSpec("imae_per_km", "double", "km-1", "mean |error of the inverse depth|", is_nullable=True),
    ColumnSpec("irmse_per_km", "double", "km-1", "root of the mean squared error of the inverse depth", is_nullable=True),
    ColumnSpec("abs_rel", "double", "1", "mean |error| / target", is_nullable=True),
    ColumnSpec("sq_rel_m", "double", "m", "mean error^2 / target", is_nullable=True),
    ColumnSpec("delta1", "double", "1", "share of pixels with max(p/t, t/p) < 1.25", is_nullable=True),
    ColumnSpec("delta2", "double", "1", "share of pixels with max(p/t, t/p) < 1.25^2", is_nullable=True),
    ColumnSpec("delta3", "double", "1", "share of pixels with max(p/t, t/p) < 1.25^3", is_nullable=True),
)
"""The metrics in the field's order; null for a frame without pixels."""

_FRAME = (
    ColumnSpec("frame_key", "string", "", "<scene>/<camera>/<timestamp_us>"),
    ColumnSpec("is_night", "bool", "1", "recorded at night"),
    ColumnSpec("radar", "string", "", "on: the network saw the radar returns; off: an empty radar map"),
)

FRAME_METRICS = TableSpec(
    "frames",
    description="one row per frame, radar on or off, and cap",
    columns=(
        *_FRAME,
        ColumnSpec("cap_m", "double", "m", "pixels with 0 < target <= cap count"),
        ColumnSpec("num_pixels", "int64", "1", "such pixels"),
        *METRIC_COLUMNS,
    ),
)

RANGE_ERRORS = TableSpec(
    "ranges",
    description="one row per frame, radar on or off, and range bin",
    columns=(
        *_FRAME,
        ColumnSpec("low_m", "double", "m", "pixels with low < target <= high count"),
        ColumnSpec("high_m", "double", "m", "upper edge"),
        ColumnSpec("num_pixels", "int64", "1", "such pixels"),
        ColumnSpec("sum_error_m", "double", "m", "sum of |error| over them"),
    ),
)

EVALUATION = StoreLayout(
    name="evaluation",
    version=1,
    description="Errors of one network on one manifest, frame by frame",
    tables=(FRAME_METRICS, RANGE_ERRORS),
)


def write_evaluation(folder: str, frames: Columns, ranges: Columns) -> None:
    """Write an evaluation, each file atomically, ``frames`` last.

    Args:
        folder: path or URL; what it holds of a former evaluation is replaced.
        frames: columns of FRAME_METRICS; NaN in a metric is stored as null.
        ranges: columns of RANGE_ERRORS.

    Raises:
        LayoutError: the columns do not fit, a row occurs twice, or radar is neither "on" nor "off"; nothing is written.
        StoreError: the folder cannot be written.
    """
    nulled = {column.name: _none_for_nan(frames[column.name]) for column in METRIC_COLUMNS if column.name in frames}
    tables = {RANGE_ERRORS: ranges, FRAME_METRICS: {**frames, **nulled}}
    check(EVALUATION, UnitData(tables={spec.name: columns for spec, columns in tables.items()}), where=f"evaluation '{folder}'")
    _check_rows(frames, "cap_m", where=f"evaluation '{folder}', table '{FRAME_METRICS.name}'")
    _check_rows(ranges, "low_m", where=f"evaluation '{folder}', table '{RANGE_ERRORS.name}'")
    write_evaluation_tables(folder, tables)


def write_evaluation_tables(folder: str, tables: Mapping[TableSpec, Columns]) -> None:
    """Write tables that fit their layout to sealed files, each atomically, in this order.

    Raises:
        LayoutError: a value does not fit its column; nothing is written.
        StoreError: the folder cannot be written.
    """
    where, files = f"evaluation '{folder}'", StoreFiles(folder)
    # all tables are encoded before one is written: an error then leaves no half evaluation
    encoded = {_file(spec): sealed_table(encode_table(spec, columns, where=where)) for spec, columns in tables.items()}
    for name, data in encoded.items():
        files.put(name, data)


def read_evaluation(folder: str) -> tuple[Columns, Columns]:
    """Return the columns of FRAME_METRICS and of RANGE_ERRORS as lists; None in a metric = a frame without pixels.

    Raises:
        StoreError: a file is missing or damaged; the text names it.
    """
    files = StoreFiles(folder)
    return read_evaluation_table(files, FRAME_METRICS), read_evaluation_table(files, RANGE_ERRORS)


def _file(spec: TableSpec) -> str:
    return f"{spec.name}.parquet"


def read_evaluation_table(files: StoreFiles, spec: TableSpec) -> Columns:
    """Return the columns of one table of an evaluation's folder; StoreError if its file is missing or damaged."""
    path = files.path(_file(spec))
    try:
        content = files.get(_file(spec))
        check_table(content)
        return decode_table(spec, content, where=path)
    except FileNotFoundError as error:
        raise StoreError(
            f"evaluation file '{path}' is missing. Check the folder, or run depthmill evaluate to write it"
        ) from error
    except BrokenSealError as error:
        raise StoreError(f"evaluation file '{path}' is damaged: {error}. Run depthmill evaluate to write it again") from error
    except LayoutError as error:
        raise StoreError(f"{error}. Run depthmill evaluate to write '{path}' again") from error
    except StoreError as error:
        if error.__cause__ is None or isinstance(error.__cause__, PermissionError):
            raise
        raise StoreError(
            f"evaluation file '{path}' is damaged: {error.__cause__}. Run depthmill evaluate to write it again"
        ) from error


def _check_rows(columns: Columns, part: str, *, where: str) -> None:
    """Check that every row has a known radar value and occurs once: a frame that counts twice would shift every mean."""
    if unknown := sorted({str(value) for value in columns["radar"]} - set(RADAR)):
        raise LayoutError(f"{where}: radar is '{unknown[0]}', expected one of: {', '.join(RADAR)}")
    counts = Counter(zip(columns["frame_key"], columns["radar"], columns[part], strict=True))
    for (key, radar, value), count in counts.items():
        if count > 1:
            raise LayoutError(
                f"{where}: frame '{key}' with radar {radar} and {part} {value:g} is there {count} times, expected once. "
                "Evaluate every frame once: no repeated samples to fill the last batch or rank"
            )


def _none_for_nan(values: Iterable[float | None]) -> list[float | None]:
    return [None if value is None or value != value else float(value) for value in values]
