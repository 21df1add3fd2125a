"""Claim: with all 850 scenes of nuScenes in an S3 store that answers after 20 ms, ``depthmill plan`` takes less than 10 s.

Tables those of ``plan_850.py``, on a disk
Store  the commit marks alone, as there, on moto in a process of its own on the same cores; a real store has ten times the files
Timed  whole processes, wall time (median) and CPU time (mean); all up to date with its manifest; after a changed number; and
       with no manifest, so that every mark is read
Beside the straightforward way, one request after the other for each unit, timed for a part and scaled
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import measure  # isort: skip  (before numpy: it limits the thread pools)
import yaml
from plan_850 import _seconds, commit_everything, write_tables
from s3_server import S3Server, s3_server

from storage_schemas.catalog import MANIFEST
from storage_schemas.store import Store
from storage_schemas.unit_listing import list_units

LATENCIES_S = (0.0, 0.02)


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--keyframes", type=int, default=40, help="key frames a scene")
    parser.add_argument("--scenes", type=int, default=850)
    parser.add_argument("--asked", type=int, default=200, help="units that are asked for one by one")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--skip-reading", action="store_true", help="leave out the plan that reads every mark, the slowest")
    args = measure.parsed(parser, scenes=60, keyframes=2, asked=20, repeat=1)
    folder = Path(tempfile.mkdtemp(dir=args.data))
    try:
        with s3_server() as server:
            _measure(server, folder, args)
    finally:
        shutil.rmtree(folder)


def _measure(server: S3Server, folder: Path, args: argparse.Namespace) -> None:
    repeat: int = args.repeat
    print(measure.machine())
    write_tables(folder / "raw" / "v1.0-trainval", args.scenes, args.keyframes)
    local, recipe = folder / "local.yaml", folder / "recipe.yaml"
    source = {"kind": "nuscenes", "root": str(folder / "raw")}
    local.write_text(yaml.safe_dump({"source": source, "store": str(folder / "store")}))
    num_units = commit_everything(local, folder / "cache")
    environment = {**os.environ, "DEPTHMILL_CACHE_DIR": str(folder / "cache"), "DEPTHMILL_RUNS_DIR": str(folder / "runs")}
    print(f"{num_units} units; plan with the store on a disk: {_plan(local, environment, repeat)[0]}")
    (folder / "store" / MANIFEST.name).rename(folder / MANIFEST.name)
    url = server.upload(folder / "store", "store")
    recipe.write_text(yaml.safe_dump({"source": source, "store": url}))
    print(
        "\n| latency | asked one by one | no manifest: marks read | up to date | after one number changed | requests, up to date |"
    )
    print("|---|---|---|---|---|---|")
    lines = []
    for latency_s in LATENCIES_S:
        server.wait_each(latency_s)
        without, text = ("-", "1 unit to do") if args.skip_reading else _plan(recipe, environment, 1)
        assert "1 unit to do" in text, text
        lines.append((latency_s, _asked(url, args.asked) * num_units, without))
    time.sleep(1.1)  # a manifest is younger than its units, and the server's times are whole seconds
    server.upload(folder / MANIFEST.name, f"store/{MANIFEST.name}")
    for latency_s, asked, without in lines:
        server.wait_each(latency_s)
        server.requests()
        up_to_date, text = _plan(recipe, environment, repeat)
        assert f"all {num_units} units are up to date" in text, text
        num_requests = sum(server.requests().values()) // repeat
        changed, text = _plan(recipe, environment, 1, "--set", "stages.clean_horizon.near_m=25")
        assert f"{args.scenes + 1} units to do" in text, text
        print(f"| {1000 * latency_s:.0f} ms | {asked:.0f} s | {without} | {up_to_date} | {changed} | {num_requests} |")


def _plan(recipe: Path, environment: dict[str, str], repeat: int, *options: str) -> tuple[str, str]:
    """Return the wall and CPU seconds of a plan in a process of its own, medians as text, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, text = _seconds(("plan", str(recipe), *options), environment, repeat)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / repeat
    return f"{seconds:.1f} s ({cpu:.1f} s CPU)", text


def _asked(url: str, num_asked: int) -> float:
    """Return the seconds a unit that it takes to ask for one after the other."""
    store = Store(url)
    paths = sorted(list_units(store, ["depth_clean", "depth_single"]).marks)[:num_asked]
    start = time.perf_counter()
    assert all(store.has(path) for path in paths)
    return (time.perf_counter() - start) / len(paths)


if __name__ == "__main__":
    main()
