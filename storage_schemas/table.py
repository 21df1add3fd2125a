"""Parquet: the only file that imports pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage_schemas.checksum import REPAIR
from storage_schemas.errors import LayoutError, StoreError
from storage_schemas.layout import Columns, TableSpec

_ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "list<double>": pa.list_(pa.float64()),
}


def arrow_schema(spec: TableSpec) -> pa.Schema:
    """Return the Arrow schema of a table, units and descriptions in each field's metadata."""
    return pa.schema(
        [
            pa.field(
                column.name,
                _ARROW_TYPES[column.type],
                nullable=column.is_nullable,
                metadata={"units": column.unit, "long_name": column.description},
            )
            for column in spec.columns
        ],
        metadata={"table": spec.name, "description": spec.description},
    )


def encode_table(spec: TableSpec, columns: Columns, *, where: str) -> bytes:
    """Encode columns as a Parquet file.

    Raises:
        LayoutError: a value does not fit its column's type, or a null stands where none is allowed.
    """
    schema = arrow_schema(spec.with_open_columns(columns))
    arrays = []
    for field in schema:
        try:
            array = pa.array(columns[field.name], type=field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise LayoutError(
                f"{where}: column '{field.name}' of table '{spec.name}' does not fit {field.type}: {error}"
            ) from error
        if array.null_count and not field.nullable:
            raise LayoutError(
                f"{where}: column '{field.name}' of table '{spec.name}' has {array.null_count} nulls, none are allowed"
            )
        arrays.append(array)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink, compression="zstd")
    return bytes(sink.getvalue())


def decode_table(spec: TableSpec, data: bytes, *, where: str) -> Columns:
    """Decode a Parquet file into columns: Python lists in the order of the spec.

    A nullable column that the file lacks reads as all None: it was added to the layout after the file was written, and a
    manifest must stay readable for as long as a training names it. A pin that the spec does not know is read too: the package
    that brought its store may be missing here.

    Raises:
        StoreError: the bytes are not Parquet.
        LayoutError: a column is missing or has another type.
    """
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False)  # Arrow's threads abort a process that ends soon after
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{where}: table '{spec.name}' is not readable Parquet: {error}. {REPAIR}") from error
    spec = spec.with_open_columns(table.column_names)
    for column in spec.columns:
        if column.name not in table.column_names:
            if column.is_nullable:
                continue
            raise LayoutError(
                f"{where}: table '{spec.name}' lacks column '{column.name}'; it has: {', '.join(table.column_names)}"
            )
        stored, expected = table.schema.field(column.name).type, _ARROW_TYPES[column.type]
        if stored != expected:
            raise LayoutError(f"{where}: column '{column.name}' of table '{spec.name}' is {stored}, expected {expected}")
    names, length = table.column_names, table.num_rows
    try:
        return {
            column.name: table.column(column.name).to_pylist() if column.name in names else [None] * length
            for column in spec.columns
        }
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise StoreError(f"{where}: table '{spec.name}' has a value that cannot be read: {error}. {REPAIR}") from error


class SceneTableWriter:
    """Writes one table of all scenes to a local Parquet file, a row group per scene, without holding more than one scene.

    Args:
        path: file to write.
        spec: the table.
    """

    def __init__(self, path: str, spec: TableSpec) -> None:
        self._spec = spec
        self._schema = arrow_schema(spec).append(pa.field("scene_key", pa.string(), nullable=False))
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def add(self, scene: str, columns: Columns) -> None:
        """Append one scene's rows; LayoutError if a value does not fit its column."""
        keys = [scene] * len(columns[self._spec.columns[0].name])
        if not keys:
            return
        try:
            table = pa.Table.from_pydict({**columns, "scene_key": keys}, schema=self._schema)
            self._writer.write_table(table)  # finds what is null and must not be
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
            raise LayoutError(f"scene {scene}: a value of table '{self._spec.name}' has the wrong type: {error}") from error

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def read_matching(path: str, columns: Sequence[str], column: str, values: Sequence[str]) -> Columns:
    """Read some columns of all scenes from a file of ``SceneTableWriter``: the rows whose ``column`` is one of ``values``."""
    table = _read_indexed(path, columns=list(columns), filters=[(column, "in", list(values))])
    return {name: table.column(name).to_pylist() for name in columns}


def read_rows(path: str, spec: TableSpec, *, scene: str) -> Columns:
    """Read one scene's rows back from a file of ``SceneTableWriter``, touching only its row group."""
    table = _read_indexed(path, filters=[("scene_key", "=", scene)])
    return {
        column.name: table.column(column.name).to_pylist() if column.name in table.column_names else [None] * table.num_rows
        for column in spec.columns
    }


def _read_indexed(path: str, **choice: Any) -> Any:
    try:
        return pq.read_table(path, use_threads=False, **choice)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"the index cache '{path}' is damaged or gone: {error}. Run the same command again: it is made anew"
        ) from error
