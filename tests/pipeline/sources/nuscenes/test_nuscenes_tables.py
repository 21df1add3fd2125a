from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from pipeline.sources.nuscenes import json_tables
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.json_tables import iterate_table, read_table
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.sources.nuscenes.tables import scenes_of_release
from storage_schemas.errors import SourceError
from storage_schemas.layout import num_rows, rows


@pytest.fixture
def tables(tmp_path):
    """A version folder of its own: tables directly in a test's folder would make the folder of all tests a data root."""
    folder = tmp_path / "v1.0-mini"
    folder.mkdir()
    return folder


def tables_of(folder, *, camera_sweeps=False):
    return {scene.name: scene.tables for scene in scenes_of_release(folder, camera_sweeps=camera_sweeps)}


@pytest.mark.parametrize("piece_bytes", [1, 7, 100, 1000, 10**7])
@pytest.mark.parametrize("indent", [None, 0, 2])
def test_table_when_read_in_pieces_of_any_size_then_is_the_table_read_at_once(
    piece_bytes, indent, tiny_root, tables, monkeypatch
):
    records = read_table(tiny_root / "v1.0-mini", "sample_data")
    (tables / "sample_data.json").write_text(json.dumps(records, indent=indent))
    monkeypatch.setattr(json_tables, "PIECE_BYTES", piece_bytes)
    if piece_bytes == 1:  # a byte at a time is slow; a few records do
        (tables / "sample_data.json").write_text(json.dumps(records[:3], indent=indent))
        records = records[:3]
    assert list(iterate_table(tables, "sample_data")) == records


@pytest.mark.parametrize(
    "content", ["[]", " [ ] \n", '[{"token": "a", "nested": {"x": 1}}, {"token": "b", "nested": {"x": "}"}}]']
)
def test_table_when_empty_or_not_flat_then_is_read_all_the_same(content, tables, monkeypatch):
    monkeypatch.setattr(json_tables, "PIECE_BYTES", 9)
    (tables / "sample_data.json").write_text(content)
    assert list(iterate_table(tables, "sample_data")) == json.loads(content)


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:-300], lambda text: text[:-1], lambda text: "{" + text, lambda text: text.replace(",", ";", 40)]
)
def test_table_when_broken_then_says_so_whatever_the_pieces(spoil, tiny_root, tables, monkeypatch):
    text = (tiny_root / "v1.0-mini" / "sample_data.json").read_text()
    (tables / "sample_data.json").write_text(spoil(text))
    monkeypatch.setattr(json_tables, "PIECE_BYTES", 1000)
    with pytest.raises(SourceError, match=r"sample_data.json' is not valid JSON: .* at line \d+, column \d+"):
        list(iterate_table(tables, "sample_data"))


def test_release_when_read_in_pieces_then_scenes_are_the_same(tiny_root, monkeypatch):
    at_once = tables_of(tiny_root / "v1.0-mini")
    monkeypatch.setattr(json_tables, "PIECE_BYTES", 500)
    assert tables_of(tiny_root / "v1.0-mini") == at_once
    assert list(at_once) == ["scene-0061", "scene-0103"]
    assert at_once["scene-0061"]["scene"]["split"] == ["train"]
    assert at_once["scene-0103"]["scene"]["split"] == ["val"]


def test_release_when_images_between_key_frames_are_asked_for_then_they_come_besides_and_the_rest_is_the_same(tiny_root, tables):
    folder = tables / "v1.0-mini"
    shutil.copytree(tiny_root / "v1.0-mini", folder)
    records = read_table(folder, "sample_data")
    own = [one for one in records if "CAM_FRONT" in one["filename"] and "scene-0061" in one["filename"]]
    assert [one["is_key_frame"] for one in own] == [True] * 3
    # what nuScenes has: an image between that belongs to the next key frame; and a chain that is broken after it
    between = {
        **own[1],
        "token": "between",
        "is_key_frame": False,
        "timestamp": own[1]["timestamp"] - 83_333,
        "filename": "sweeps/b.jpg",
    }
    own[0]["next"], between["prev"], between["next"], own[1]["prev"] = "between", own[0]["token"], own[1]["token"], "between"
    own[1]["next"] = own[2]["prev"] = ""
    (folder / "sample_data.json").write_text(json.dumps([*records, between]))
    plain, more = (tables_of(folder, camera_sweeps=wanted) for wanted in (False, True))
    for scene, tables in plain.items():
        assert tables == {name: more[scene][name] for name in tables}
    found = [row for row in rows(more["scene-0061"]["camera_sweeps"]) if row["camera"] == "CAM_FRONT"]
    assert [(row["file"], row["sample_index"], row["is_keyframe"], row["chain"]) for row in found] == [
        (own[0]["filename"], 0, True, 0),
        ("sweeps/b.jpg", 1, False, 0),
        (own[1]["filename"], 1, True, 0),
        (own[2]["filename"], 2, True, 1),
    ]
    keyframes = {row["file"]: row for row in rows(plain["scene-0061"]["keyframes"])}
    for row in rows(more["scene-0061"]["camera_sweeps"]):
        if row["is_keyframe"]:
            key = keyframes.pop(row["file"])
            assert {name: key[name] for name in row if name in key} == {name: row[name] for name in row if name in key}
    assert not keyframes


def test_source_when_images_between_key_frames_are_indexed_then_scenes_keep_their_digest_and_have_one_more(tiny_root, tables):
    plain, more = (
        NuScenesSource(NuScenesConfig(kind="nuscenes", root=str(tiny_root), version="v1.0-mini", camera_sweeps=wanted), tables)
        for wanted in (False, True)
    )
    assert ["camera_sweeps" in scene.offers for scene in plain.scenes()] == [False, False]
    assert [len(scene.offers["camera_sweeps"]) for scene in more.scenes()] == [64, 64]
    without = [{name: scene.offers[name] for name in scene.offers if name != "camera_sweeps"} for scene in more.scenes()]
    replaced = [dataclasses.replace(scene, offers=offers) for scene, offers in zip(more.scenes(), without, strict=True)]
    assert replaced == plain.scenes()
    assert num_rows(more.reader().camera_sweeps("scene-0061")["camera_sweeps"]) == 6


@pytest.mark.parametrize(
    ("table", "field", "said"),
    [
        ("sample_data", "ego_pose_token", r"sample_data '\w+' refers to ego_pose 'nowhere', which is not in ego_pose.json"),
        ("sample_data", "calibrated_sensor_token", r"sample_data '\w+' refers to calibrated_sensor 'nowhere'"),
        ("sample_annotation", "instance_token", r"sample_annotation '\w+' refers to instance 'nowhere'"),
        ("sample", "scene_token", r"sample '\w+' refers to scene 'nowhere', which is not in scene.json"),
    ],
)
def test_release_when_a_token_leads_nowhere_then_says_who_asked(table, field, said, tiny_root, tables):
    for path in (tiny_root / "v1.0-mini").glob("*.json"):
        (tables / path.name).write_bytes(path.read_bytes())
    records = read_table(tables, table)
    records[1][field] = "nowhere"
    (tables / f"{table}.json").write_text(json.dumps(records))
    with pytest.raises(SourceError, match=said):
        list(scenes_of_release(tables))


def test_release_when_a_value_has_the_wrong_type_then_names_scene_and_table(write_recipe, depthmill, tables):
    from tests.tiny_nuscenes import write_tiny_nuscenes

    root = write_tiny_nuscenes(tables / "data")
    path = root / "v1.0-mini/sample_annotation.json"
    records = json.loads(path.read_text())
    records[0]["size"] = ["wide", 1.0, 2.0]
    path.write_text(json.dumps(records))
    code, text = depthmill("plan", write_recipe(root))
    assert code != 0
    assert 'has the size ["wide", 1.0, 2.0], expected a list of 3 numbers' in text
