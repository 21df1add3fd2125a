"""Worlds keep their content: points, echoes, pictures, truth, tables. Those of before there was a choice of world, and a town.

Numbers are rounded before they are hashed, so that the last bit of a sine on another processor makes no difference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from pipeline.sources.synthetic import SyntheticParams, scene_digest, write_world
from pipeline.sources.synthetic.camera import plain as plain_camera
from pipeline.sources.synthetic.camera import sensor as sensor_camera
from pipeline.sources.synthetic.config import CAMERA_CHANNELS, PRESETS, SyntheticConfig
from pipeline.sources.synthetic.radar.plain import POINT
from pipeline.sources.synthetic.simulate import simulate_scene
from storage_schemas.catalog import RADAR_CHANNELS

SMALL: dict[str, Any] = {"seconds": 1.5, "seed": 5, "image_size": (96, 54), "lidar_azimuth_steps": 90}
WORLDS: dict[str, dict[str, Any]] = {
    "day and night": {**SMALL, "scenes": 2},
    "all sensors": {
        **SMALL,
        "scenes": 1,
        "cameras": CAMERA_CHANNELS,
        "radars": RADAR_CHANNELS,
        "radar": "imaging",
        "camera_sweeps": True,
    },
    "town": {**SMALL, "scenes": 2, "world": "town"},
}
DIGESTS = {
    "day and night": {
        "lidar": "4f81c631b7ff3ccd",
        "pictures": "cd19ba6546380818",
        "radar": "644901d5a1678100",
        "tables": "fa713f50989c0c25",
        "truth": "fb34b117a6db4e96",
    },
    "all sensors": {
        "lidar": "ed6a08ca07f6e142",
        "pictures": "3f00a0c7214549b0",
        "radar": "a41129b10e0e217c",
        "tables": "6bd49a8d79cb2c2a",
        "truth": "49b0e29859e08393",
    },
    "recorded drive": {
        "lidar": "f118ff5dc8cf4e63",
        "pictures": "1b5f816dccff1285",
        "radar": "76426dea00034b25",
        "tables": "50371c28bb98ed01",
        "truth": "1c24a5cc98ccd70b",
    },
    "town": {
        "lidar": "f11500969998056f",
        "pictures": "1e68d52ad24f0584",
        "radar": "a9899b960021c6f8",
        "tables": "77b5a9c598b1d086",
        "truth": "60d31b39baaa1ff7",
    },
}
"""First digits of SHA-256. Those of old worlds were taken before the choices were added, those of a town when it was whole."""


def _rounded(value: Any) -> Any:
    """Return JSON content with its numbers rounded to a millionth."""
    if isinstance(value, float):
        return round(value, 6) + 0.0
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _content(path: Path) -> bytes:
    """Return what a file says, rounded."""
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        return json.dumps(
            _rounded({k: v for k, v in content.items() if k != "digest"} if isinstance(content, dict) else content)
        ).encode()
    if path.name.endswith(".pcd.bin"):
        return np.rint(np.fromfile(path, np.float32).astype(np.float64) * 1000).astype(np.int64).tobytes()
    if path.suffix == ".pcd":
        head, _, body = path.read_bytes().partition(b"DATA binary\n")
        points = np.frombuffer(body[:-1], POINT)
        columns = [np.rint(np.nan_to_num(points[name].astype(np.float64)) * 1000).astype(np.int64) for name in POINT.names or ()]
        return head + np.stack(columns).tobytes()
    return np.asarray(Image.open(path)).tobytes()


def _digests(params: SyntheticParams, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Write a world; return the first digits of a hash for each kind of content."""
    pictures = hashlib.sha256()

    def keep(take_picture: Callable[..., plain_camera.View]) -> Callable[..., plain_camera.View]:
        def taken(*args: Any, **keys: Any) -> plain_camera.View:
            view = take_picture(*args, **keys)
            pictures.update(view.image_u8.tobytes())  # before JPEG, whose encoder may change
            return view

        return taken

    for camera in (plain_camera, sensor_camera):
        monkeypatch.setattr(camera, "take_picture", keep(camera.take_picture))
    write_world(params, root)
    found = {"pictures": pictures}
    kinds = {
        "lidar": "*/LIDAR_TOP/*.pcd.bin",
        "radar": "*/RADAR_*/*.pcd",
        "truth": "truth/*/*.png",
        "tables": "v1.0-mini/[!.]*.json",
    }
    for kind, pattern in kinds.items():
        found[kind] = hashlib.sha256()
        for path in sorted(root.glob(pattern)):
            found[kind].update(path.name.encode() + _content(path))
    return {kind: digest.hexdigest()[:16] for kind, digest in found.items()}


@pytest.mark.parametrize("name", WORLDS)
def test_worlds_that_were_there_before_keep_their_content(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _digests(SyntheticParams(**WORLDS[name]), tmp_path, monkeypatch) == DIGESTS[name]


@pytest.mark.real_data
def test_a_world_along_a_recorded_drive_keeps_its_content(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drives = shared / "data" / "nuscenes-trajectories" / "mini_val_scenes.json"
    params = SyntheticParams(**SMALL, scenes=1, trajectories=str(drives))
    assert _digests(params, tmp_path, monkeypatch) == DIGESTS["recorded drive"]


def test_a_world_s_name_fills_its_keys_and_is_not_part_of_the_digest() -> None:
    town = SyntheticParams(world="town")
    spelled_out = SyntheticParams(**PRESETS["town"])
    assert (town.layout, town.radar, town.spray, town.labels) == ("town", "cells", 0.002, True)
    assert scene_digest(town, 0) == scene_digest(spelled_out, 0) != scene_digest(SyntheticParams(), 0)
    assert scene_digest(SyntheticParams(world="street"), 0) == scene_digest(SyntheticParams(), 0)
    kept = SyntheticConfig(kind="synthetic", world="town", layout="street").params
    assert (kept.layout, kept.traffic) == ("street", "town")


def test_each_key_of_a_world_has_its_own_digest() -> None:
    worlds = [SyntheticParams(), *(SyntheticParams(**{key: value}) for key, value in PRESETS["town"].items())]
    assert len({scene_digest(params, 0) for params in worlds}) == len(worlds) == 12


def test_two_motions_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"motion is 'town' and trajectories is 'drives\.json': both give .*; leave one"):
        SyntheticParams(motion="town", trajectories="drives.json")


def test_a_recorded_drive_replaces_the_motion_of_a_town() -> None:
    assert SyntheticParams(world="town", trajectories="drives.json").motion == "steady"


@pytest.mark.parametrize("world", ["city", ["town"], {"town": True}, None, 3])
def test_a_world_of_another_name_or_type_is_refused(world: Any) -> None:
    with pytest.raises(ValidationError, match="'street' or 'town'"):
        SyntheticParams(world=world)


def test_rain_when_only_the_weather_is_mixed_is_in_the_description(tmp_path: Path) -> None:
    params = SyntheticParams(seconds=1.0, image_size=(32, 16), lidar_azimuth_steps=16, weather="mixed")
    texts = [simulate_scene(params, index, tmp_path)["scene"][0]["description"] for index in (2, 3)]
    assert [", rain" in text for text in texts] == [False, True]


def test_labels_when_the_next_world_in_the_folder_has_none_do_not_stay(tmp_path: Path) -> None:
    params = SyntheticParams(scenes=1, seconds=1.0, image_size=(32, 16), lidar_azimuth_steps=16, labels=True)
    write_world(params, tmp_path)
    kinds = ("depth.png", "semantic.png", "instance.png", "motion.json")
    assert all(len(list(tmp_path.rglob(f"*.{kind}"))) == 2 for kind in kinds)
    write_world(params.model_copy(update={"labels": False}), tmp_path)
    assert [len(list(tmp_path.rglob(f"*.{kind}"))) for kind in kinds] == [2, 0, 0, 0]
