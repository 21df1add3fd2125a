"""The folder of a training of a family that no package of this repository knows, as the trainer leaves it, without a training."""

from __future__ import annotations

import json
import math
from pathlib import Path

from model.train.plain_evaluation import write_rows
from model.train.records import CsvRecord

STEP_COLUMNS = ("step", "epoch", "samples", "loss", "gap_m", "phase", "lr", "seconds")
EVALUATION_COLUMNS = ("step", "where", "mae_m", "share")
PLACES = ("near", "middle", "far", "sky", "all <b>")


def write_toy_training(folder: Path, *, num_steps: int = 60) -> Path:
    """A training with a column of texts, five places that were measured, and a second table in a folder of its own."""
    folder.mkdir(parents=True)
    about = {
        "name": "toy-tiny", "config": {"family": "toy", "width": 3}, "manifest": "0123456789abcdef", "store": "/data/store",
        "commit": "c" * 40, "is_dirty": "False", "versions": {"python": "3.11"}, "device": "made-up <GPU>", "seconds": 90.0,
        "num_steps": num_steps, "num_parameters": 12_000, "train_frames": 12, "val_frames": 3,
        "best": {"step": 40, "score": 0.5, "mae_m": 1.25},
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(about))
    steps = CsvRecord(folder / "steps.csv", STEP_COLUMNS, step=0)
    for step in range(1, num_steps + 1):
        phase, gap_m = "warm-up" if step < 20 else "main", math.nan if step % 7 == 0 else 1.0 - step / 40
        values = {"loss": 20.0 / step, "gap_m": gap_m, "phase": phase, "lr": 1e-3, "seconds": 0.5}
        steps.add({"step": step, "epoch": step // 10, "samples": 4, **values})
    steps.close()
    evaluations = CsvRecord(folder / "evaluations.csv", EVALUATION_COLUMNS, step=0)
    for step in (20, 40, 60):
        for number, place in enumerate(PLACES):
            evaluations.add({"step": step, "where": place, "mae_m": (number + 1) * 30 / step, "share": math.nan})
    evaluations.close()
    rows = [{"where": place, "mae_m": 0.5 * number, "frames": 3} for number, place in enumerate(PLACES, start=1)]
    write_rows(folder / "evaluation", rows, title="toy-tiny on val", file="rows.csv")
    (folder / "probe").mkdir()
    (folder / "probe/table.md").write_text(
        "A first sentence.\n\nprobes of toy-tiny\n\n| features | AP |\n|:--|--:|\n| a \\| b | 12.5 % |\n\nOne <i>more</i> word.\n"
    )
    return folder
