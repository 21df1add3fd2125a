from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import storage_schemas
from storage_schemas.catalog import LAYOUTS, catalog_page


def test_page_of_stores_when_a_layout_changed_then_must_be_written_again():
    page = Path(storage_schemas.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert page == catalog_page(), "run: python -m storage_schemas"


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout_has_units_descriptions_and_unique_names(layout):
    names = [spec.name for spec in (*layout.arrays, *layout.tables)]
    assert len(set(names)) == len(names)
    for array in layout.arrays:
        assert array.unit
        assert array.description
        np.dtype(array.dtype)
    for table in layout.tables:
        assert all(column.description for column in table.columns)
