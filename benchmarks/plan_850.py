"""Claim: with all 850 scenes of nuScenes in the store, ``depthmill plan`` answers in 2 s and ``depthmill --help`` in 1 s.

Tables a made-up v1.0-trainval with the official scene names: 40 key frames a scene with one camera, LiDAR and radar file each
Store  lineage.json, the commit mark, of every unit that the plan wants; no arrays, since a plan opens none
Timed  whole processes, wall time, median; also the plan after a changed number, on an empty store, and the first plan, which
       builds the index from the tables
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure  # isort: skip  (before numpy: it limits the thread pools)
import orjson
import yaml

from pipeline.plan import make_plan
from pipeline.recipe import load_recipe
from pipeline.sources import open_source
from pipeline.sources.nuscenes.splits import official_splits
from storage_schemas.lineage import LINEAGE_FILE, LineageRecord
from storage_schemas.store import Store

CHANNELS = {"CAM_FRONT": "camera", "LIDAR_TOP": "lidar", "RADAR_FRONT": "radar"}
INTRINSIC = [[1266.4, 0.0, 816.3], [0.0, 1266.4, 491.5], [0.0, 0.0, 1.0]]


def main() -> None:
    parser = measure.arguments(__doc__)  # the benchmark leaves nothing below --data
    parser.add_argument("--keyframes", type=int, default=40, help="key frames a scene")
    parser.add_argument("--scenes", type=int, default=850, help="beyond 850 the names are made up")
    parser.add_argument("--repeat", type=int, default=5)
    args = measure.parsed(parser, scenes=3, keyframes=2, repeat=1)
    folder = Path(tempfile.mkdtemp(dir=args.data))
    try:
        _measure(folder, args.scenes, args.keyframes, args.repeat)
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path, num_scenes: int, num_keyframes: int, repeat: int) -> None:
    print(measure.machine())
    num_rows = write_tables(folder / "raw" / "v1.0-trainval", num_scenes, num_keyframes)
    recipe = folder / "recipe.yaml"
    source = {"kind": "nuscenes", "root": str(folder / "raw")}
    recipe.write_text(yaml.safe_dump({"source": source, "store": str(folder / "store")}))
    environment = {**os.environ, "DEPTHMILL_CACHE_DIR": str(folder / "cache"), "DEPTHMILL_WORKERS": "8"}
    seconds, text = _seconds(("plan", str(recipe)), environment, 1)
    print(f"first plan, which builds the index of {num_rows} table rows: {seconds:.2f} s")
    seconds, text = _seconds(("plan", str(recipe)), environment, repeat)
    print(f"plan on an empty store: {seconds:.2f} s ({text.splitlines()[-1]})")
    num_units = commit_everything(recipe, folder / "cache")
    seconds, text = _seconds(("plan", str(recipe)), environment, repeat)
    print(f"plan with all {num_units} units in the store: {seconds:.2f} s ({text.splitlines()[-1]})")
    seconds, text = _seconds(("plan", str(recipe), "--set", "stages.clean_horizon.near_m=25"), environment, repeat)
    print(f"plan after one number of clean_horizon changed: {seconds:.2f} s ({text.splitlines()[-1]})")
    print(f"depthmill --help: {_seconds(('--help',), environment, repeat)[0]:.2f} s")
    bare = _wall(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), repeat)
    marks = _wall(lambda: _stat_all(folder / "store"), repeat)
    print(f"floor: {bare:.2f} s to start Python and {marks:.3f} s to look for the commit marks")


def write_tables(folder: Path, num_scenes: int, num_keyframes: int) -> int:
    """Write the thirteen tables of a release with the 850 official scenes, and more if asked for; return their number of rows."""
    official = [name for name, split in official_splits("v1.0-trainval").items() if split in ("train", "val")]
    names = [*official, *(f"scene-{number}" for number in range(10_000, 10_000 + num_scenes))][:num_scenes]
    tables: dict[str, list[dict]] = {name: [] for name in ("attribute", "visibility", "instance", "sample_annotation", "map")}
    tables["category"] = [{"token": "category", "name": "vehicle.car", "description": ""}]
    tables["log"] = [{"token": "log", "logfile": "made-up", "vehicle": "", "date_captured": "", "location": ""}]
    tables["sensor"] = [{"token": channel, "channel": channel, "modality": kind} for channel, kind in CHANNELS.items()]
    tables["calibrated_sensor"] = [
        {"token": channel, "sensor_token": channel, "translation": [1.0, 0.0, 1.5],
         "rotation": [0.5, -0.5, 0.5, -0.5] if kind == "camera" else [1.0, 0.0, 0.0, 0.0],
         "camera_intrinsic": INTRINSIC if kind == "camera" else []} for channel, kind in CHANNELS.items()]  # fmt: skip
    for name in ("scene", "sample", "sample_data", "ego_pose"):
        tables[name] = []
    for scene, name in enumerate(names):
        tokens = [f"{name}-{frame}" for frame in range(num_keyframes)]
        tables["scene"].append(
            {
                "token": name,
                "name": name,
                "description": "made up",
                "log_token": "log",
                "nbr_samples": num_keyframes,
                "first_sample_token": tokens[0],
                "last_sample_token": tokens[-1],
            }
        )
        for frame, (before, token, after) in enumerate(zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False)):
            time_us = 1_500_000_000_000_000 + 100_000_000 * scene + 500_000 * frame
            tables["sample"].append({"token": token, "timestamp": time_us, "scene_token": name, "prev": before, "next": after})
            for channel, kind in CHANNELS.items():
                tables["sample_data"].append(_sample_data(channel, kind, token, before, after, time_us))
                tables["ego_pose"].append({"token": f"{token}/{channel}", "timestamp": time_us, "rotation": [1.0, 0.0, 0.0, 0.0],
                                           "translation": [5.0 * frame, 0.0, 0.0]})  # fmt: skip
    folder.mkdir(parents=True)
    for name, records in tables.items():
        (folder / f"{name}.json").write_bytes(orjson.dumps(records))
    for channel in CHANNELS:
        (folder.parent / "samples" / channel).mkdir(parents=True)
    for record in tables["sample_data"]:
        (folder.parent / record["filename"]).touch()  # a plan looks which files are there, not into them
    return sum(map(len, tables.values()))


def _sample_data(channel: str, kind: str, sample: str, before: str, after: str, time_us: int) -> dict:
    suffix = {"camera": ".jpg", "lidar": ".pcd.bin", "radar": ".pcd"}[kind]
    return {"token": f"{sample}/{channel}", "sample_token": sample, "ego_pose_token": f"{sample}/{channel}",
            "calibrated_sensor_token": channel, "timestamp": time_us, "fileformat": suffix[1:], "is_key_frame": True,
            "height": 900 if kind == "camera" else 0, "width": 1600 if kind == "camera" else 0,
            "filename": f"samples/{channel}/made-up__{channel}__{time_us}{suffix}", "prev": before and f"{before}/{channel}",
            "next": after and f"{after}/{channel}"}  # fmt: skip


def commit_everything(recipe_file: Path, cache: Path) -> int:
    """Write the commit mark of every unit that the recipe wants; return their number."""
    recipe = load_recipe(recipe_file)
    store = Store(recipe.store)
    items = make_plan(recipe, open_source(recipe.source, cache), store).items
    for item in items:
        record = LineageRecord(
            identity=item.identity,
            fingerprint=item.path.fingerprint,
            files={},
            counts={"frames": 40.0},
            seconds=1.0,
            written_utc="2026-11-21T00:00:00+00:00",
            provenance={},
        )
        file = Path(store.files.path(f"{item.path.key}/{LINEAGE_FILE}"))
        file.parent.mkdir(parents=True)
        file.write_bytes(record.model_dump_json(indent=1).encode())
    return len(items)


def _seconds(arguments: tuple[str, ...], environment: dict[str, str], repeat: int) -> tuple[float, str]:
    script = Path(sys.executable).with_name("depthmill")
    command = [str(script)] if script.is_file() else [sys.executable, "-c", "from flows.cli import main; main()"]
    texts: list[str] = []

    def run() -> None:
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        texts.append(done.stdout)

    return _wall(run, repeat), "\n".join(line for line in texts[-1].splitlines() if not line.startswith("warning"))


def _wall(work, repeat: int) -> float:
    times_s = []
    for _ in itertools.repeat(None, repeat):
        start = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - start)
    return statistics.median(times_s)


def _stat_all(store: Path) -> int:
    return sum(file.is_file() for file in store.glob(f"*/*/*/*/{LINEAGE_FILE}"))


if __name__ == "__main__":
    main()
