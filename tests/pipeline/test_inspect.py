from __future__ import annotations

import pytest

from pipeline.inspect import describe
from storage_schemas.errors import StoreError
from storage_schemas.store import Store


@pytest.mark.parametrize("part", ["depth_single", "depth_single/scene-0061", "depth_single/scene-0061/CAM_FRONT", "scene-0061"])
def test_describe_when_the_name_is_part_of_a_units_key_then_the_error_names_that_unit(part, tiny_store):
    store = Store(tiny_store)
    with pytest.raises(StoreError, match=rf"'{part}' is neither a unit key .* For example '.*{part}") as failure:
        describe(store, part)
    example = str(failure.value).rsplit("'", 2)[1]
    assert describe(store, example).text.startswith(f"unit {example}")


def test_describe_when_nothing_of_the_name_is_there_then_the_error_names_what_is_or_that_nothing_is(tiny_store, tmp_path):
    with pytest.raises(StoreError, match="'elsewhere' is neither .* For example 'depth_"):
        describe(Store(tiny_store), "elsewhere")
    with pytest.raises(StoreError, match="The store holds no unit: run the recipe"):
        describe(Store(tmp_path), "elsewhere")
