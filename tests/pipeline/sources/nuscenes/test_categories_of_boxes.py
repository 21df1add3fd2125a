from __future__ import annotations

import json

from pipeline.finding import Finding
from pipeline.sources.nuscenes import source
from pipeline.sources.nuscenes.config import NuScenesConfig
from tests.tiny_nuscenes import write_tiny_nuscenes


def scenes_with(folder, category: str):
    """Index the tiny set with another name for cars."""
    root = write_tiny_nuscenes(folder / category / "data", ("scene-0061",))
    table = root / "v1.0-mini/category.json"
    records = json.loads(table.read_text())
    for record in records:
        record["name"] = category if record["name"] == "vehicle.car" else record["name"]
    table.write_text(json.dumps(records))
    config = NuScenesConfig(kind="nuscenes", root=str(root), version="v1.0-mini")
    return source.NuScenesSource(config, folder / category / "cache").scenes()


def test_scene_when_a_category_is_unknown_then_it_is_named_and_counted_and_known_ones_are_not(tmp_path):
    (scene,) = scenes_with(tmp_path, "gokart")
    assert [finding for finding in scene.findings if "category" in finding.what] == [
        Finding(
            "boxes are of the category 'gokart', which is not known to move and counts as standing still", "scene-0061", 6,
            advice="If such objects move, name it in stages.accumulate_lidar.movable",
        )
    ]  # fmt: skip
    for known in ("car", "traffic_cone", "vehicle.car"):
        assert not [finding for finding in scenes_with(tmp_path, known)[0].findings if "category" in finding.what]


def test_digest_when_a_category_was_read_otherwise_before_then_is_another_than_that_of_the_tables(tmp_path, monkeypatch):
    names = ("vehicle.car", "car", "traffic_cone")
    of_today = {name: scenes_with(tmp_path / "a", name)[0].digest for name in names}
    monkeypatch.setattr(source, "read_otherwise_before", lambda _: [])
    of_tables = {name: scenes_with(tmp_path / "b", name)[0].digest for name in names}
    assert [of_today[name] == of_tables[name] for name in names] == [True, False, True]
