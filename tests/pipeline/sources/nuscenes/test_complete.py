"""What is on the disk is used, what is not is named, and what arrives later is made by the same command."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline.sources.nuscenes import complete
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.wanted_files import WantedFiles
from tests.flows.test_cli import BARE
from tests.tiny_nuscenes import write_tiny_nuscenes

WANTED = WantedFiles({"CAM_FRONT": "keyframes", "LIDAR_TOP": "all", "RADAR_FRONT": "keyframes"})


@pytest.fixture
def root(tmp_path) -> Path:
    return write_tiny_nuscenes(tmp_path / "data")


def scenes_of(root: Path, wanted: WantedFiles = WANTED):
    config = NuScenesConfig(kind="nuscenes", root=str(root), version="v1.0-mini")
    source = NuScenesSource(config, root.parent / "cache").asked_for(wanted)
    return {scene.name: scene for scene in source.scenes()}, source.reader()


def files(root: Path, channel: str, scene: str = "scene-0103") -> list[Path]:
    return sorted(root.glob(f"*/{channel}/tiny-{scene}__*"), key=lambda path: path.name)


def lines(scene) -> list[str]:
    return [f"{finding.what} ({finding.count})" for finding in scene.findings]


def test_scenes_when_all_files_are_there_then_are_those_of_the_index(root):
    with_files, _ = scenes_of(root)
    assert with_files == scenes_of(root, WantedFiles())[0]
    assert not any(scene.left_out or scene.findings for scene in with_files.values())


def test_scenes_when_one_sweep_is_missing_then_has_a_gap_that_is_counted(root):
    whole, _ = scenes_of(root, WantedFiles())
    victim = next(path for path in files(root, "LIDAR_TOP") if path.parts[-3] == "sweeps")
    victim.unlink()
    found, reader = scenes_of(root)
    assert found["scene-0061"] == whole["scene-0061"]
    assert lines(found["scene-0103"]) == ["LIDAR_TOP files between key frames are not on the disk (1)"]
    assert found["scene-0103"].digest != whole["scene-0103"].digest
    sweeps = reader.scene_tables("scene-0103")["sweeps"]
    assert sweeps["channel"].count("LIDAR_TOP") == 10
    assert str(victim.relative_to(root)) not in sweeps["file"]


def test_scenes_when_many_sweeps_are_missing_then_is_left_out_with_an_example(root):
    victims = [path for path in files(root, "LIDAR_TOP") if path.parts[-3] == "sweeps"][:3]
    for path in victims:
        path.unlink()
    name = victims[0].relative_to(root)
    why = f"LIDAR_TOP files are not on the disk (3 of 11, e.g. {name})"
    assert scenes_of(root)[0]["scene-0103"].left_out == f"{why}; stages.accumulate_lidar.neighbors: keyframes does without them"
    keyframes = WantedFiles({"CAM_FRONT": "keyframes", "LIDAR_TOP": "keyframes"})
    assert not scenes_of(root, keyframes)[0]["scene-0103"].left_out  # who reads key frames only needs no sweep


@pytest.mark.parametrize(
    ("channel", "num_frames", "said"),
    [
        ("CAM_FRONT", 2, "CAM_FRONT files of key frames are not on the disk (1)"),
        ("LIDAR_TOP", 2, "key frames are left out, since they have no LIDAR_TOP file (1)"),
        ("RADAR_FRONT", 3, "RADAR_FRONT files of key frames are not on the disk (1)"),
    ],
)
def test_scenes_when_a_file_of_a_key_frame_is_missing_then_the_frame_is_left_out_or_has_no_return(
    root, channel, num_frames, said
):
    files(root, channel)[5 if channel == "LIDAR_TOP" else 1].unlink()
    found, reader = scenes_of(root)
    assert lines(found["scene-0103"]) == [said]
    assert not found["scene-0103"].left_out
    tables = reader.scene_tables("scene-0103")
    assert tables["keyframes"]["camera"].count("CAM_FRONT") == num_frames
    assert tables["scene"]["num_keyframes"] == [3]


def test_scenes_when_no_scene_has_a_sensors_files_then_is_as_if_it_were_not_there(root):
    for folder in ("samples", "sweeps"):
        shutil.rmtree(root / folder / "LIDAR_TOP")
    scene = scenes_of(root)[0]["scene-0103"]
    assert not scene.left_out
    assert "LIDAR_TOP" not in scene.channels and "lidar" not in scene.offers
    assert lines(scene) == ["no file of LIDAR_TOP is on the disk, in no scene (0)"]


def test_answer_when_folders_are_quiet_is_kept_and_when_one_changes_is_made_anew(root, monkeypatch):
    files(root, "LIDAR_TOP")[5].unlink()
    monkeypatch.setattr(complete, "UNSETTLED_NS", 0)
    first, _ = scenes_of(root)
    (kept,) = (root.parent / "cache").rglob("complete-*.json")
    assert json.loads(kept.read_text())["lacks"].keys() == {"scene-0103"}
    monkeypatch.setattr(os, "scandir", lambda path: pytest.fail(f"{path} is listed again"))
    assert scenes_of(root)[0] == first
    monkeypatch.undo()
    monkeypatch.setattr(complete, "UNSETTLED_NS", 0)
    answer = kept.read_text()
    for damaged in (
        answer[:50],
        answer.replace("scene-0103", "scene-0104"),
        '{"changed_ns": {}, "lacks": {}}',
    ):  # found out again
        kept.write_text(damaged)
        assert scenes_of(root)[0] == first
        assert kept.read_text() == answer
    folder = root / "samples/CAM_FRONT"
    before = folder.stat()
    files(root, "CAM_FRONT")[0].unlink()
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))  # as programs do that copy folders with their times
    assert len(lines(scenes_of(root)[0]["scene-0103"])) == 2


def test_run_when_some_archives_are_missing_then_makes_the_rest_says_so_everywhere_and_goes_on_later(
    root, write_recipe, depthmill, tmp_path
):
    recipe, aside = write_recipe(root), tmp_path / "aside"
    for path in (*root.glob("samples/*/tiny-scene-0103*"), *root.glob("sweeps/*/tiny-scene-0103*")):
        target = aside / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    said = (
        "1 of 2 scenes left out (scene-0103): CAM_FRONT files are not on the disk (3 of 3, e.g. samples/CAM_FRONT/tiny-scene-0103"
    )
    code, text = depthmill("plan", recipe)
    assert code == 0 and f"warning: {said}" in text
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1)
    assert code == 0, text
    assert f"warning: {said}" in text
    assert "1 scene left out for want of files" in text
    code, text = depthmill("status", recipe)
    assert f"warning: {said}" in text and "7 of 7 up to date" in text
    depthmill("report", recipe, "--out", tmp_path / "report.html")
    assert "1 of 2 scenes left out (scene-0103)" in (tmp_path / "report.html").read_text()
    lineage = json.loads(next((tmp_path / "store").glob("manifest/*/*/*/lineage.json")).read_text())
    assert lineage["counts"]["scenes_left_out"] == 1
    assert lineage["provenance"]["left_out"].startswith("scene-0103: CAM_FRONT files are not on the disk")
    for path in [path for path in aside.rglob("*") if path.is_file()]:
        path.rename(root / path.relative_to(aside))
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0 and "warning" not in text
    assert "done: 7 ok" in text  # six of the scene, and the manifest


def test_run_when_no_scene_is_complete_then_says_what_helps(root, write_recipe, depthmill):
    shutil.rmtree(root / "sweeps")
    recipe = write_recipe(root)
    code, text = depthmill("run", recipe, *BARE)
    assert code == 2
    assert "no scene of 2 has the files that the recipe reads. scene-0061: LIDAR_TOP files are not on the disk (8 of 11" in text
    assert "stages.accumulate_lidar.neighbors: keyframes" in text
    code, text = depthmill("run", recipe, *BARE, "--set", "stages.accumulate_lidar.neighbors=keyframes")
    assert code == 0, text


def test_plan_when_a_scene_has_no_key_frame_or_lacks_a_camera_then_is_left_out_and_the_others_are_made(
    root, write_recipe, depthmill
):
    folder = root / "v1.0-mini"
    scenes = json.loads((folder / "scene.json").read_text())
    (folder / "scene.json").write_text(json.dumps([*scenes, {**scenes[0], "token": "empty", "name": "scene-0757"}]))
    records = json.loads((folder / "sample_data.json").read_text())
    kept = [record for record in records if not ("CAM_BACK" in record["filename"] and "scene-0103" in record["filename"])]
    (folder / "sample_data.json").write_text(json.dumps(kept))
    code, text = depthmill("plan", write_recipe(root, cameras=["CAM_FRONT", "CAM_BACK"]))
    assert code == 0, text
    assert "warning: 1 of 3 scenes left out (scene-0757): no image of CAM_FRONT" in text
    assert "warning: 1 of 3 scenes left out (scene-0103): no image of CAM_BACK" in text
    code, text = depthmill("plan", write_recipe(root, cameras=["CAM_LEFT"]))
    assert code == 2
    assert "cameras: 'CAM_LEFT' does not exist in scene-0061; cameras there: CAM_BACK, CAM_FRONT" in text
