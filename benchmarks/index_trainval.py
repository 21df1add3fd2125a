"""Claim: the index of all of nuScenes trainval is built once in less than a minute and 4 GB, and opens in milliseconds.

Faked tables of full size (850 scenes, 34,000 key frames, 2.66 million sample_data rows, 1.16 million boxes; 2.4 GB of JSON) are
written below --data on first use. The straightforward way, the devkit's ``NuScenes(...)``, was measured elsewhere at 67 s and 6 GB a
process; it is not run here, because these tables leave out what it joins (attributes, maps).
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from bisect import bisect_left
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import measure  # isort: skip  (before numpy: it limits the thread pools)

NUM_KEYFRAMES, BOXES_A_KEYFRAME = 40, 34
FILES_A_SCENE = {"LIDAR_TOP": 390, "RADAR": 260, "CAM": 240}
PLACES = {"RADAR": ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK_LEFT", "BACK_RIGHT"),
          "CAM": ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK", "BACK_LEFT", "BACK_RIGHT")}  # fmt: skip
CHANNELS = ["LIDAR_TOP", *(f"{kind}_{place}" for kind, places in PLACES.items() for place in places)]


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--scenes", type=int, default=850)
    args = measure.parsed(parser, scenes=3)
    root = args.data / f"trainval-tables{'' if args.scenes == 850 else f'-{args.scenes}-scenes'}"
    cache = args.data / "index-cache"
    if not (root / "done").is_file():
        write_tables(root / "v1.0-trainval", args.scenes)
        (root / "done").touch()
    shutil.rmtree(cache, ignore_errors=True)
    print(measure.machine())
    for label in ("first time, builds the index", "again, opens the cached index"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            num_scenes, seconds, scene_seconds, peak_gb = alone.submit(open_index, root, cache).result()
        print(
            f"{label}: {num_scenes} scenes in {seconds:.3f} s, then one scene's rows in {scene_seconds:.3f} s; peak {peak_gb:.2f} GB"
        )
    print(f"cached index: {sum(path.stat().st_size for path in cache.rglob('*.parquet')) / 1e6:.0f} MB")


def open_index(root: Path, cache: Path) -> tuple[int, float, float, float]:
    """Return scenes, seconds to open, seconds to read one scene, and peak memory of this process in GB."""
    from pipeline.sources.nuscenes.config import NuScenesConfig
    from pipeline.sources.nuscenes.source import NuScenesSource

    start = time.perf_counter()
    source = NuScenesSource(NuScenesConfig(kind="nuscenes", root=str(root), version="v1.0-trainval"), cache)
    num_scenes = len(source.scenes())
    opened = time.perf_counter()
    source.reader().scene_tables(f"scene-{num_scenes // 2:04}")
    done = time.perf_counter()
    return num_scenes, opened - start, done - opened, measure.peak_rss_mb() / 1e3


def token(kind: int, number: int) -> str:
    return f"{kind:04x}{number:028x}"


def write_tables(folder: Path, num_scenes: int) -> None:
    """Write the thirteen tables."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes, samples, boxes = [], [], []
    with (folder / "sample_data.json").open("w") as files, (folder / "ego_pose.json").open("w") as poses:
        files.write("[")
        poses.write("[")
        number = 0
        for scene in range(num_scenes):
            first = scene * NUM_KEYFRAMES
            scenes.append({"token": token(3, scene), "name": f"scene-{scene:04}", "description": "faked"})
            for k in range(first, first + NUM_KEYFRAMES):
                samples.append({"token": token(5, k), "timestamp": 10**15 + k * 500_000, "scene_token": token(3, scene)})
                boxes.extend(_box(scene, k, k - first, i) for i in range(BOXES_A_KEYFRAME))
            for channel in range(len(CHANNELS)):
                number = _write_channel(files, poses, channel, first, number)
        files.write("]")
        poses.write("]")
    small = {
        "scene": scenes, "sample": samples, "sample_annotation": boxes,
        "instance": [{"token": token(8, k), "category_token": token(9, 0)} for k in range(num_scenes * BOXES_A_KEYFRAME)],
        "category": [{"token": token(9, 0), "name": "vehicle.car"}],
        "sensor": [{"token": token(1, k), "channel": name, "modality": {"L": "lidar", "R": "radar", "C": "camera"}[name[0]]}
                   for k, name in enumerate(CHANNELS)],
        "calibrated_sensor": [{"token": token(2, k), "sensor_token": token(1, k), "translation": [1.0, 0.0, 1.8],
                               "rotation": _rotation(name), "camera_intrinsic": [[1266.0, 0, 816.0], [0, 1266.0, 491.0], [0, 0, 1.0]]}
                              for k, name in enumerate(CHANNELS)],
        "attribute": [], "visibility": [], "log": [], "map": [],
    }  # fmt: skip
    for name, records in small.items():
        (folder / f"{name}.json").write_text(json.dumps(records))


def _rotation(channel: str) -> list[float]:
    if channel[0] != "C":
        return [1.0, 0.0, 0.0, 0.0]
    return [0.5, -0.5, -0.5, 0.5] if "BACK" in channel else [0.5, -0.5, 0.5, -0.5]  # the camera's z looks back or ahead


def _box(scene: int, keyframe: int, position: int, i: int) -> dict[str, object]:
    number = keyframe * BOXES_A_KEYFRAME + i
    return {
        "token": token(7, number), "sample_token": token(5, keyframe), "instance_token": token(8, scene * BOXES_A_KEYFRAME + i),
        "visibility_token": "4", "attribute_tokens": [], "translation": [373.2 + i, 1130.4 + position, 0.8], "size": [0.6, 0.7, 1.6],
        "rotation": [0.98, 0.0, 0.0, -0.18], "prev": token(7, number - BOXES_A_KEYFRAME) if position else "",
        "next": token(7, number + BOXES_A_KEYFRAME) if position < NUM_KEYFRAMES - 1 else "", "num_lidar_pts": 1, "num_radar_pts": 0,
    }  # fmt: skip


def _write_channel(files, poses, channel: int, first: int, number: int) -> int:
    name = CHANNELS[channel]
    count = FILES_A_SCENE.get(name) or FILES_A_SCENE[name.split("_")[0]]
    keys = [round(k * (count - 1) / (NUM_KEYFRAMES - 1)) for k in range(NUM_KEYFRAMES)]
    for k in range(count):
        this, time_us = token(6, number), 10**15 + first * 500_000 + round(k * 19.5e6 / (count - 1))
        record = {
            "token": this, "sample_token": token(5, first + bisect_left(keys, k)),
            "ego_pose_token": this, "calibrated_sensor_token": token(2, channel), "timestamp": time_us, "fileformat": "jpg",
            "is_key_frame": k in keys, "height": 900, "width": 1600,
            "filename": f"sweeps/{name}/n015-2018-07-18-11-07-57+0800__{name}__{time_us}.jpg",
            "prev": token(6, number - 1) if k else "", "next": token(6, number + 1) if k < count - 1 else "",
        }  # fmt: skip
        pose = {
            "token": this,
            "timestamp": time_us,
            "rotation": [0.572, -0.00169, 0.01179, -0.82],
            "translation": [411.3, 1180.8, 0.0],
        }
        comma = ",\n" if number else ""
        files.write(comma + json.dumps(record))
        poses.write(comma + json.dumps(pose))
        number += 1
    return number


if __name__ == "__main__":
    main()
