"""Claim: no command is silent on a terminal for two seconds, and the first line comes within one.

World     a tiny nuScenes database, as tests write it, with every stage run and a network trained for some steps
Timed     whole processes on a pseudo-terminal: seconds until the first output, and the longest time between two, or to the end
Ways      every command that works by itself; CPU time beside the wall, because a busy machine makes a process wait
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import measure  # isort: skip  (before numpy: it limits the thread pools)
import yaml

from tests.terminal import Watched, watch
from tests.tiny_nuscenes import write_tiny_nuscenes

CALLS: tuple[tuple[str, ...], ...] = (
    ("init", "data", "--out", "new.yaml"),
    ("plan", "recipe.yaml"),
    ("run", "recipe.yaml", "--no-prefect", "--workers", "1"),
    ("status", "recipe.yaml"),
    ("inspect", "recipe.yaml"),
    ("verify", "recipe.yaml"),
    ("report", "recipe.yaml"),
    ("assess", "recipe.yaml"),
    ("train", "recipe.yaml", "--no-prefect", "--out", "training"),
    ("evaluate", "training", "recipe.yaml", "--out", "evaluation"),
    ("compare", "training", "evaluation"),
    ("predict", "training", "recipe.yaml", "--out", "predicted"),
    ("export", "recipe.yaml", "--out", "public"),
    ("export", "recipe.yaml", "--layout", "depth_png", "--out", "maps"),
    ("import", "public", "--store", "imported"),
    ("ablate", "recipe.yaml", "--no-prefect"),
    ("retrain", "recipe.yaml", "--no-prefect"),
    ("runs", "recipe.yaml"),
    ("schema",),
    ("prune", "recipe.yaml"),
    ("share", "training", "--out", "shared", "--data-licence", "cc-by-4.0"),
    ("doctor", "recipe.yaml"),
)
NOT_WATCHED = {
    "demo": "it is run and train on a simulated world, and takes minutes",
    "deploy": "it needs a Prefect server, and ends when it has registered",
    "analyse": "it needs an evaluation of a detector, and this world's network says depth",
    "push": "it needs a hub; tests of sharing have a stand-in",
    "pull": "it needs a hub; tests of sharing have a stand-in",
    "view": "it needs the extra view",
    "video": "it needs the extra video",
    "onnx": "it needs the extra onnx",
}
"""Commands that are not watched, and why."""
_TRAINING = {
    "data": {"batch_size": 1},
    "network": {"base_channels": 8},
    "evaluation": {"num_strips": 1, "without_radar": False},
    "max_steps": 4,
    "epochs": 2,
}


def watch_all(folder: Path, calls: Sequence[tuple[str, ...]] = CALLS) -> Iterator[tuple[tuple[str, ...], Watched]]:
    """Watch commands one after the other in a folder, on a tiny data set that is written there."""
    write_tiny_nuscenes(folder / "data")
    recipe = {
        "source": {"kind": "nuscenes", "root": str(folder / "data"), "version": "v1.0-mini"},
        "store": str(folder / "store"),
        "train": _TRAINING,
        "ablation": {"seeds": [5], "variants": {"as it is": {}}},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    environment = {
        "DEPTHMILL_CACHE_DIR": str(folder / "cache"),
        "DEPTHMILL_LOADER_WORKERS": "0",
        "DEPTHMILL_DEVICE": "cpu",
        "DEPTHMILL_WORKERS": "1",
        "PREFECT_HOME": str(folder / "prefect"),
    }
    for arguments in calls:
        yield arguments, watch(arguments, cwd=folder, environment=environment)


def main() -> None:
    parser = measure.arguments(__doc__)
    args = measure.parsed(parser)
    folder = Path(tempfile.mkdtemp(dir=args.data.absolute()))
    calls = CALLS[:3] if args.small else CALLS
    print(measure.machine())
    print("| command | whole s | CPU s | first output s (CPU) | longest silence s (CPU) |\n| --- | ---: | ---: | ---: | ---: |")
    try:
        for arguments, watched in watch_all(folder, calls):
            if watched.code:
                raise SystemExit(f"depthmill {' '.join(arguments)} ended with {watched.code}:\n{watched.text[-2000:]}")
            print(
                f"| {arguments[0]} | {watched.wall_s:.1f} | {watched.cpu_s:.1f} | {watched.first_s:.2f} ({watched.first_cpu_s:.2f}) | "
                f"{watched.longest_silence_s:.2f} ({watched.longest_silence_cpu_s:.2f}) |",
                flush=True,
            )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
