"""Two ways of a study, seed by seed and then over the mean of the seeds of every frame: the difference and its interval over scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CAP_M = 80.0
Frames = dict[str, list[Any]]
"""Columns of storage_schemas.evaluation.FRAME_METRICS of one training."""


def frames_of(evaluation: Path) -> Frames:
    """Return what was measured, frame by frame, from an evaluation's folder."""
    from storage_schemas.evaluation import read_evaluation

    return read_evaluation(str(evaluation))[0]


def means_of(columns: Frames) -> dict[str, float]:
    """Return MAE@80 m in mm by what the network is given and by group (``on/night``), and delta1 of the first of them."""
    from model.semodepth.summary import summarise

    rows = {f"{row.radar}/{row.group}": row for row in summarise(columns) if row.cap_m == CAP_M}
    best = rows.get("on/all") or rows["off/all"]  # a network of the camera alone has no rows with radar
    return {**{key: row.mae_mm for key, row in rows.items()}, "delta1": best.delta1}


def with_radar(columns: Frames) -> Frames:
    """Return the rows with all that a network is given, ascending by frame, named as with radar."""
    radar, cap_m = np.array(columns["radar"]), np.array(columns["cap_m"])
    chosen = np.flatnonzero((radar == ("on" if "on" in radar else "off")) & (cap_m == CAP_M))
    chosen = chosen[np.argsort(np.array(columns["frame_key"])[chosen])]
    return {**{name: [values[at] for at in chosen] for name, values in columns.items()}, "radar": ["on"] * len(chosen)}


def mean_of_seeds(runs: Sequence[Frames]) -> Frames:
    """Return one run whose error of a frame is the mean over seeds; all have the same frames in the same order."""
    assert all(run["frame_key"] == runs[0]["frame_key"] for run in runs)
    return {**runs[0], "mae_mm": np.mean([run["mae_mm"] for run in runs], axis=0).tolist()}


def print_pairs(first: str, others: Sequence[str], frames: Mapping[tuple[str, int], Frames], *, num_seeds: int) -> None:
    """Print the difference of every way to the first one: of each seed, and of the mean of the seeds of every frame, night apart."""
    from model.semodepth.comparison import compare_runs
    from model.train.paired_bootstrap import interval_text, too_few_text

    print(f"\nMAE@80 m in mm against exact depth, minus that of '{first}'; 95 % interval over scenes")
    print(
        "| way | seed | frames | MAE | of the first | difference | interval | frames better |\n|---|---|---|---|---|---|---|---|"
    )
    too_few: list[str] = []
    for way in others:
        pairs = [(str(seed), with_radar(frames[first, seed]), with_radar(frames[way, seed])) for seed in range(num_seeds)]
        of_first, of_way = (mean_of_seeds([pair[side] for pair in pairs]) for side in (1, 2))
        pairs.append(("mean of seeds", of_first, of_way))
        for name, a, b in pairs:
            for row in compare_runs(a, b, cap_m=CAP_M):
                if row.group == "all" or name == "mean of seeds":
                    interval = interval_text(row.low, row.high, decimals=0)
                    difference = f"{row.mean_difference:+.0f} ({row.mean_difference / row.mean_a:+.1%})"
                    print(
                        f"| {way} | {name} | {row.group} | {row.mean_b:.0f} | {row.mean_a:.0f} | {difference} | {interval} | "
                        f"{row.share_better:.0%} |"
                    )
                    too_few += too_few_text({row.group: row.num_scenes}) if row.low is None else []
    print("\n".join(dict.fromkeys(too_few)), flush=True)
