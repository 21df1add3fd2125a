"""Claim: horizon cleaning takes 1/10 of the CPU time of a vectorised NumPy version, and finds exactly the same pixels.

Maps   the accumulated maps of a simulated 20 s drive at 1600x900, nothing filtered, so that ghost trails are in them; as
       monocular depth the exact depth with 10 % of smooth error; a second set of numbers (wide) makes many more candidates
Theirs pass C gathers the 7x7 windows of all candidates into one array and takes two nanmedians; PNG by PIL before and after
Ours   ``clean_frame``; and all of ``run_item`` for clean_horizon, which encodes and writes, the input being in memory as in a run
Floor  the map read and written once (5.8 MB)
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
from PIL import Image
from stage_runs import open_runs
from world import simulated_world

from pipeline.run import SceneMemory
from pipeline.stages.clean_horizon import CleanResult, Params, clean_frame
from storage_schemas.encoding import decode_depth

WIDE = Params(upper_fraction=0.9, near_m=60.0, min_neighbors=3, mad_factor=1.0, floor_m=2.0)


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--frames", type=int, default=8, help="key frames to clean")
    args = measure.parsed(parser, frames=2)
    print(measure.machine())
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        maps, truth, whole_ms = _maps(args, Path(folder))
    size_mb = maps[0].nbytes / 1e6
    print(
        f"{len(maps)} maps of {maps[0].shape[1]}x{maps[0].shape[0]}; floor {2 * size_mb / measure.read_gb_per_s():.2f} ms = "
        f"{2 * size_mb:.1f} MB read and written once"
    )
    _report_png(maps)
    print(f"ours, all of run_item (check, encode Zarr, write, fsync): {whole_ms:.2f} ms CPU a map")
    monos = [decode_depth(steps) * _smooth_error(steps.shape) for steps in truth]
    for title, p in (("default numbers", Params()), ("wide numbers", WIDE)):
        for word, chosen in (("without mono", [None] * len(maps)), ("with mono", monos)):
            _compare(f"{title}, {word}", maps, chosen, p)


def straightforward(depth_m: np.ndarray, mono_m: np.ndarray, p: Params) -> np.ndarray:
    """Return the cleaned map (height, width) float32 metres, by whole-array NumPy (docs/method/pipeline.md#horizon-cleaning)."""
    rows = np.arange(depth_m.shape[0], dtype=np.float32)[:, None]
    is_candidate = (depth_m > 0) & (depth_m < p.near_m) & (rows < p.upper_fraction * depth_m.shape[0])
    by_mono = (depth_m > 0) & (mono_m > 0) & (mono_m - depth_m > p.mono_disagree_m) & (depth_m < p.near_mono_m)
    y, x = np.nonzero(is_candidate)
    half = p.window_px // 2
    padded = np.pad(depth_m, half)
    offset = np.arange(p.window_px)
    windows = padded[y[:, None, None] + offset[:, None], x[:, None, None] + offset].reshape(len(y), -1)
    windows = np.where(windows > 0, windows, np.nan)
    by_window = np.zeros_like(is_candidate)
    if len(y):
        median = np.nanmedian(windows, axis=1)
        mad = np.nanmedian(np.abs(windows - median[:, None]), axis=1)
        behind = median - depth_m[y, x]
        enough = np.count_nonzero(~np.isnan(windows), axis=1) >= p.min_neighbors
        by_window[y, x] = enough & (behind > p.mad_factor * mad) & (behind > p.floor_m)
    cleaned = depth_m.copy()
    cleaned[is_candidate & (by_mono | by_window)] = 0.0
    return cleaned


def _maps(args: argparse.Namespace, folder: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Return accumulated and exact maps (n, height, width) uint16, spread over the drive, and CPU ms a map of clean_horizon."""
    world = simulated_world(args.data, small=args.small)
    runs, memory = open_runs(world, folder, args.data, stages={"accumulate_lidar": {"moving": "keep"}}), SceneMemory()
    whole_ms = 0.0
    for stage in ("index_frames", "accumulate_lidar", "clean_horizon", "pack_truth"):
        item = runs.item(stage)
        if stage == "clean_horizon":
            clean_frame(memory.units[item.inputs["depth_accumulated"]].arrays["depth_m"][0], None, Params())  # compile first
        spent = measure.cpu_ms(lambda item=item: runs.run(item, memory))
        whole_ms = spent if stage == "clean_horizon" else whole_ms
    units = {path.layout: unit for path, unit in memory.units.items()}
    accumulated, truth = units["depth_accumulated"].arrays["depth_m"], units["depth_truth"].arrays["depth_m"]
    numbers = ((np.arange(args.frames) + 0.5) * len(accumulated) / args.frames).astype(int)
    return accumulated[numbers], truth[numbers], whole_ms / len(accumulated)


def _smooth_error(shape: tuple[int, int]) -> np.ndarray:
    """Return factors (height, width) float32 between 0.9 and 1.1 that change slowly over the image."""
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    return (1 + 0.1 * np.sin(9 * x) * np.cos(7 * y)).astype(np.float32)


def _report_png(maps: np.ndarray) -> None:
    files: list[bytes] = []

    def save() -> None:
        for steps in maps:
            stream = io.BytesIO()
            Image.fromarray(steps).save(stream, format="PNG")
            files.append(stream.getvalue())

    def load() -> None:
        for content in files:
            np.asarray(Image.open(io.BytesIO(content))).astype(np.float32)

    save_ms, load_ms = measure.cpu_ms(save) / len(maps), measure.cpu_ms(load) / len(maps)
    size_kb = np.mean([len(content) for content in files]) / 1e3
    print(
        f"PNG of the straightforward way, not in the ratios: load {load_ms:.1f} ms, save {save_ms:.1f} ms CPU a map, "
        f"{size_kb:.0f} kB"
    )


def _compare(title: str, maps: np.ndarray, monos: list[np.ndarray | None], p: Params) -> None:
    def clean_all() -> list[CleanResult]:
        return [clean_frame(steps, mono, p) for steps, mono in zip(maps, monos, strict=True)]

    def clean_all_straightforward() -> None:
        for depth, mono in zip(depths, monos, strict=True):
            theirs.append(straightforward(depth, absent if mono is None else mono, p))

    depths, absent = [decode_depth(steps) for steps in maps], np.zeros(maps[0].shape, np.float32)
    theirs: list[np.ndarray] = []
    ours = clean_all()
    ours_ms = measure.cpu_ms(clean_all, repeat=5) / len(maps)
    theirs_ms = measure.cpu_ms(clean_all_straightforward) / len(maps)
    num_wrong = sum(np.count_nonzero(decode_depth(result.steps) != other) for result, other in zip(ours, theirs, strict=True))
    candidates, dropped = (np.mean([getattr(result, name) for result in ours]) for name in ("num_candidates", "num_dropped"))
    print(
        f"{title}: straightforward {theirs_ms:.1f} ms, ours {ours_ms:.2f} ms CPU a map, ratio {theirs_ms / ours_ms:.1f}x; "
        f"{candidates:.0f} candidates, {dropped:.0f} dropped a map; {num_wrong} pixels differ"
    )


if __name__ == "__main__":
    main()
