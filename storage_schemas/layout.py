"""How a store describes itself: arrays with dimensions and units, tables with typed columns, and the check of both.

A *unit* is one immutable folder of a store: the Zarr arrays and Parquet tables of one scene (and camera) made by one stage.
A layout says what is in it. ``check`` runs on every write and on every read, so that a wrong axis order or a lost column
is an error that names the array, not a quietly wrong training run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import LayoutError

Columns = dict[str, Any]
"""A table in memory: column name -> 1-D numpy array, or list for strings and nested values."""


PIN_PREFIX = "unit_"
"""Columns of a manifest that name units begin with this."""


@dataclass(frozen=True)
class ArraySpec:
    """One array of a unit.

    Attributes:
        name: array name; carries its unit, e.g. ``depth_m``.
        dims: dimension names; equal names have equal sizes within a unit.
        dtype: stored NumPy dtype.
        unit: unit of the decoded value in UDUNITS spelling ("m", "s", "pixel", "1").
        description: one line for humans.
        scale: stored value times scale = value in ``unit``; None = stored as is.
        invalid: stored value that means "no measurement"; None = every value is valid.
        flags: meanings of the values 0, 1, 2, ... of an enumeration.
        is_required: False for arrays that a recipe may leave out.
        is_compressed: False for bytes that do not compress (JPEG).
        remark: what the page of all stores says besides; not stored with the array, so that it changes no unit.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    unit: str
    description: str
    scale: float | None = None
    invalid: int | None = None
    flags: tuple[str, ...] = ()
    is_required: bool = True
    is_compressed: bool = True
    remark: str = ""

    def attributes(self) -> dict[str, Any]:
        """Return the CF attributes that make xarray decode the array (scale, mask, unit)."""
        attrs: dict[str, Any] = {"units": self.unit, "long_name": self.description}
        if self.scale is not None:
            attrs["scale_factor"] = self.scale
        if self.flags:
            attrs["flag_values"] = list(range(len(self.flags)))
            attrs["flag_meanings"] = " ".join(self.flags)
        return attrs


@dataclass(frozen=True)
class ColumnSpec:
    """One column of a table: name, Arrow type in words (see table.py), unit, description, nullability."""

    name: str
    type: str
    unit: str
    description: str
    is_nullable: bool = False


@dataclass(frozen=True)
class TableSpec:
    """One Parquet table of a unit, stored as ``<name>.parquet``.

    Attributes:
        name: table name.
        columns: columns that the table has.
        description: one line for humans.
        is_required: False for a table that a unit may lack.
        open_prefix: further columns may stand beside ``columns`` if their names begin with this; they hold fingerprints or null.
            A manifest pins the stores of other packages so. Empty = no further column is allowed.
    """

    name: str
    columns: tuple[ColumnSpec, ...]
    description: str
    is_required: bool = True
    open_prefix: str = ""

    def with_open_columns(self, names: Iterable[str]) -> TableSpec:
        """Return the spec with those of the names as columns that it does not have and ``open_prefix`` allows, in their order."""
        if not self.open_prefix:
            return self
        column_names = {column.name for column in self.columns}
        added = [name for name in names if name.startswith(self.open_prefix) and name not in column_names]
        return replace(self, columns=(*self.columns, *(pin_column(name) for name in added)))


def pin_column(name: str, more: str = "") -> ColumnSpec:
    """Return the column of a manifest that names a unit of one store by its fingerprint; null = the sample has no such unit."""
    return ColumnSpec(name, "string", "", f"fingerprint{more}", is_nullable=True)


@dataclass(frozen=True)
class StoreLayout:
    """Everything about one store.

    Attributes:
        name: store name; the first part of its units' paths.
        version: rises whenever a reader of the former layout would misread the new one.
        description: one line for humans.
        arrays: Zarr arrays of a unit.
        tables: Parquet tables of a unit.
        per: there is one unit per scene and camera, one per scene for all its cameras, or one over the whole data set.
        is_pinned: every row of a manifest names the unit that holds its sample; False for stores that no training reads.
    """

    name: str
    version: int
    description: str
    arrays: tuple[ArraySpec, ...] = ()
    tables: tuple[TableSpec, ...] = ()
    per: Literal["scene", "camera", "dataset"] = "camera"
    is_pinned: bool = True

    @property
    def pin(self) -> str:
        """Name of the manifest's column for this store."""
        return f"{PIN_PREFIX}{self.name}"

    def array(self, name: str) -> ArraySpec:
        """Return the spec of one array, or raise LayoutError naming those that exist."""
        for spec in self.arrays:
            if spec.name == name:
                return spec
        raise LayoutError(f"store '{self.name}' has no array '{name}'; it has: {', '.join(a.name for a in self.arrays)}")

    def table(self, name: str) -> TableSpec:
        """Return the spec of one table, or raise LayoutError naming those that exist."""
        for spec in self.tables:
            if spec.name == name:
                return spec
        raise LayoutError(f"store '{self.name}' has no table '{name}'; it has: {', '.join(t.name for t in self.tables)}")


@dataclass
class UnitData:
    """The content of one unit in memory: arrays in their stored dtype, tables as columns."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    tables: dict[str, Columns] = field(default_factory=dict)


def num_rows(columns: Columns) -> int:
    """Return the number of rows of a table in memory (0 for a table without columns)."""
    return len(next(iter(columns.values()))) if columns else 0


def rows(columns: Columns) -> list[dict[str, Any]]:
    """Turn columns into a list of row dicts, for loops over few rows."""
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def columns_from_rows(spec: TableSpec, table_rows: list[dict[str, Any]]) -> Columns:
    """Turn row dicts into columns in the order of the spec; a missing key becomes None, and other keys are left out."""
    return {column.name: _column(column.name, table_rows) for column in spec.columns}


def _column(name: str, table_rows: list[dict[str, Any]]) -> list[Any]:
    try:
        return list(map(itemgetter(name), table_rows))  # half the time of ``get``, for millions of rows
    except KeyError:
        return [row.get(name) for row in table_rows]


def check(layout: StoreLayout, data: UnitData, *, where: str) -> None:
    """Compare a unit's content with its layout.

    Args:
        layout: what the content should be.
        data: arrays and tables in memory.
        where: name of the unit, for the error text.

    Raises:
        LayoutError: names the unit, the array or column, the value found and the value expected.
    """
    _check_names(layout, data, where)
    check_shapes(layout, {name: (values.dtype, values.shape) for name, values in data.arrays.items()}, where=where)
    for name, columns in data.tables.items():
        _check_table(layout.table(name), columns, where)


def _check_names(layout: StoreLayout, data: UnitData, where: str) -> None:
    for kind, specs, present in (("array", layout.arrays, set(data.arrays)), ("table", layout.tables, set(data.tables))):
        spec_names = {spec.name for spec in specs}
        if unknown := sorted(present - spec_names):
            raise LayoutError(
                f"{where}: unknown {kind} '{unknown[0]}'; layout {layout.name} v{layout.version} has: "
                f"{', '.join(sorted(spec_names)) or 'none'}"
            )
        if missing := sorted({spec.name for spec in specs if spec.is_required} - present):
            raise LayoutError(f"{where}: {kind} '{missing[0]}' is missing; layout {layout.name} v{layout.version} asks for it")


def check_shapes(layout: StoreLayout, arrays: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], *, where: str) -> None:
    """Compare the type and shape of each array with a unit's layout; LayoutError names the array that does not fit."""
    sizes: dict[str, tuple[int, str]] = {}
    for name, (dtype, shape) in arrays.items():
        spec = layout.array(name)
        if dtype != np.dtype(spec.dtype):
            raise LayoutError(f"{where}: array '{name}' has dtype {dtype}, expected {spec.dtype}")
        if len(shape) != len(spec.dims):
            raise LayoutError(f"{where}: array '{name}' has {len(shape)} dimensions {shape}, expected {spec.dims}")
        for dim, size in zip(spec.dims, shape, strict=True):
            known_size, known_from = sizes.setdefault(dim, (size, name))
            if known_size != size:
                raise LayoutError(f"{where}: dimension '{dim}' is {size} in array '{name}' but {known_size} in '{known_from}'")


def _check_table(spec: TableSpec, columns: Columns, where: str) -> None:
    expected = [column.name for column in spec.with_open_columns(columns).columns]
    if unknown := [name for name in columns if name not in expected]:
        raise LayoutError(f"{where}: table '{spec.name}' has an unknown column '{unknown[0]}'; expected: {', '.join(expected)}")
    if missing := [name for name in expected if name not in columns]:
        raise LayoutError(f"{where}: table '{spec.name}' lacks column '{missing[0]}'")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise LayoutError(f"{where}: columns of table '{spec.name}' differ in length: {lengths}")
