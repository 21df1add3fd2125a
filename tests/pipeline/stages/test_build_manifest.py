from __future__ import annotations

from storage_schemas.catalog import FRAMES
from storage_schemas.layout import rows
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store


def test_samples_when_compared_with_the_index_then_all_key_frames_but_the_last_of_every_scene(tiny_store):
    """The rule that makes 5,869 evaluation frames of the 6,019 key frames in nuScenes' 150 validation scenes."""
    store = Store(str(tiny_store))
    samples = open_manifest(store).rows()
    indices = store.units(FRAMES.name)
    assert len(indices) == 2
    for path in indices:
        unit = store.open_unit(path)
        times = sorted(row["timestamp_us"] for row in rows(unit.table("keyframes")) if row["camera"] == "CAM_FRONT")
        chosen = sorted(row["timestamp_us"] for row in samples if row["scene"] == path.scene)
        assert chosen == times[:-1]
