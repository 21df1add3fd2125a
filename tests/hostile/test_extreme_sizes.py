"""Images of 8 x 8 and of 8,192 x 4,096 pixels, scenes of one key frame and of one sweep, through every command of a first day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny_nuscenes
from tests.tiny_nuscenes import write_tiny_nuscenes

BARE = ("--no-prefect", "--workers", 1)
TRAIN = {
    "network": {"base_channels": 8, "max_depth_m": 80},
    "data": {"rows": None, "batch_size": 1},
    "evaluation": {"num_strips": 1},
    "learning_rate": 0.001,
    "max_steps": 1,
}


@pytest.fixture(autouse=True)
def _one_process(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # report writes its page there
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")


def used_whole(root: Path, write_recipe, depthmill, **changes) -> str:
    """Run, look at, report, pack and train; return all that was printed. Nothing fails but with a named error."""
    recipe = write_recipe(root, **{"stages": {"accumulate_lidar": {"num_sweeps": 5}}, "train": TRAIN, **changes})
    texts = []
    for words in (("plan", recipe), ("run", recipe, *BARE), ("status", recipe), ("report", recipe), ("verify", recipe)):
        code, text = depthmill(*words)
        assert code == 0, (words, text)
        texts.append(text)
    code, text = depthmill("train", recipe, *BARE)
    assert code == 0 or "error: " in text, text
    texts.append(text)
    assert "Traceback" not in "".join(texts)
    return "".join(texts)


def only_first_files(root: Path, *, key_frames: bool) -> None:
    """Leave of each scene the files of key frames only, or of the first key frame only."""
    folder = root / "v1.0-mini"
    tables = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("sample", "sample_data", "sample_annotation")}
    first = {}
    for sample in tables["sample"]:
        first.setdefault(sample["scene_token"], sample["token"])
    kept = {sample["token"] for sample in tables["sample"]} if key_frames else set(first.values())
    tables["sample"] = [one for one in tables["sample"] if one["token"] in kept]
    for name in ("sample_data", "sample_annotation"):
        tables[name] = [one for one in tables[name] if one["sample_token"] in kept]
    tables["sample_data"] = [one for one in tables["sample_data"] if one["is_key_frame"]]
    tokens = {one["token"] for records in tables.values() for one in records}
    for records in tables.values():
        for one in records:
            for link in ("prev", "next"):
                one[link] = one[link] if one.get(link) in tokens else ""
    for name, records in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(records))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "answer"), [((8, 8), ""), ((8192, 4096), "")])
def test_images_when_tiny_or_huge_then_each_command_works_or_says_why_not(
    size, answer, write_recipe, depthmill, tmp_path, monkeypatch
):
    monkeypatch.setitem(tiny_nuscenes.CAMERAS, "CAM_FRONT", size)
    text = used_whole(write_tiny_nuscenes(tmp_path / "data", keyframes=2), write_recipe, depthmill)
    assert answer in text


@pytest.mark.slow
@pytest.mark.parametrize("key_frames", [True, False], ids=["key frames only", "one key frame and one sweep"])
def test_scenes_when_of_one_key_frame_and_one_sweep_then_each_command_works(key_frames, write_recipe, depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data")
    only_first_files(root, key_frames=key_frames)
    text = used_whole(root, write_recipe, depthmill)
    assert "verify" not in text or "all whole" in text


@pytest.mark.slow
def test_masks_when_nothing_is_measured_anywhere_then_said_and_training_is_refused(write_recipe, depthmill, tmp_path):
    import numpy as np
    from PIL import Image

    from tests.tiny_zju import write_tiny_zju

    root = write_tiny_zju(tmp_path / "data", frames={"train": 2, "val": 1}, height=24, width=32)
    for path in [*(root / "gt").iterdir(), *(root / "gt_interp").iterdir()]:
        Image.fromarray(np.zeros((24, 32), np.uint16)).save(path)
    source = {"kind": "zju_4dradarcam", "root": str(root), "splits": ["train", "val"]}
    text = used_whole(
        root,
        write_recipe,
        depthmill,
        source=source,
        stages={},
        train={**TRAIN, "data": {"rows": None, "batch_size": 1, "dense_target": "depth_interpolated"}},
    )
    assert "warning: " in text and "no pixel is measured (pack_depth CAM_FRONT)" in text
    assert "error: " in text
