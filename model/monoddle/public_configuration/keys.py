"""The keys of a YAML file of MonoDLE or MonoDDLE that have one meaning, whatever stands beside them, and what they are here.

Why    ``depthmill init --from-monoddle`` says of every key what became of it, and docs/coming-from-monoddle.md names them all.
       Both follow these tables; keys that depend on others are in ``translation``
Source docs/method/monoddle.md#public-configuration
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["whole", "number", "flag", "text"]

Fate = Literal["taken", "elsewhere", "not read", "lost"]
"""taken: it is in the recipe; elsewhere: a setting or a command decides it; not read: the public code does not read it, or does
nothing with it; lost: it asks for something that is not here."""


BLOCKS = ("dataset", "model", "optimizer", "lr_scheduler", "trainer", "distributed", "distill", "tester")
"""Groups of keys of a file; beside them stands random_seed."""


@dataclass(frozen=True)
class Mapped:
    """A key that becomes one value of the recipe.

    Attributes:
        kind: of its value.
        default: what the public code takes where the file lacks the key; None = it stops.
        keys: of ``train:``, each gets the value.
        why: what differs; "" = nothing.
        least: the value must be at least this.
    """

    kind: Kind
    default: float | str | bool | None
    keys: tuple[str, ...]
    why: str = ""
    least: float = 0.0


MAPPED: dict[str, Mapped] = {
    "random_seed": Mapped("whole", 444, ("seed", "data.seed"), "each program draws other numbers from it"),
    "dataset.batch_size": Mapped(
        "whole",
        None,
        ("data.batch_size",),
        "frames a device here; the public scripts share these frames out over their GPUs, so divide it by the number of devices",
        least=1,
    ),
    "dataset.meanshape": Mapped(
        "flag", False, ("network.mean_shape",), "size errors are divided by the whole size, not by the difference to the mean"
    ),
    "dataset.random_flip": Mapped("number", 0.5, ("data.augment.flip_probability",)),
    "dataset.random_crop": Mapped("number", 0.5, ("data.augment.crop_probability",)),
    "dataset.scale": Mapped("number", 0.4, ("data.augment.scale_spread",), "the teacher's depth is scaled with the view"),
    "dataset.shift": Mapped("number", 0.1, ("data.augment.shift_spread",)),
    "optimizer.lr": Mapped("number", None, ("learning_rate",)),
    "optimizer.weight_decay": Mapped("number", None, ("weight_decay",)),
    "lr_scheduler.decay_rate": Mapped("number", None, ("decay",)),
    "trainer.max_epoch": Mapped("whole", None, ("epochs",), least=1),
    "tester.threshold": Mapped("number", 0.2, ("evaluation.score_threshold",)),
}

NO_RECIPE_KEY: dict[str, tuple[Fate, str, str]] = {
    "dataset.num_workers": ("elsewhere", "setting DEPTHMILL_LOADER_WORKERS", "changes no result"),
    "dataset.pin_memory": ("elsewhere", "", "changes no result"),
    "dataset.persistent_workers": ("elsewhere", "", "changes no result"),
    "dataset.prefetch_factor": ("elsewhere", "", "changes no result"),
    "dataset.cache_labels": ("elsewhere", "", "changes no result; labels are read once, into the store"),
    "dataset.cache_calibs": ("elsewhere", "", "changes no result; calibration is read once, into the store"),
    "dataset.resolution": ("not read", "", "only a count of operations reads it; the input is train.network.input_px"),
    "trainer.resume_model": ("elsewhere", "depthmill train", "the same command goes on where it stopped"),
    "trainer.output_dir": ("elsewhere", "depthmill train --out", ""),
    "trainer.checkpoints_dir": ("elsewhere", "depthmill train --out", ""),
    "trainer.find_unused_parameters": ("elsewhere", "", "parameters without a gradient are allowed"),
    "distributed.enabled": ("not read", "", "the script looks for dp_reference only"),
    "distributed.dp_reference.num_gpus": (
        "not read",
        "setting DEPTHMILL_NUM_DEVICES",
        "it is printed there, and decides nothing",
    ),
    "tester.type": ("elsewhere", "", "the kind of the source says it"),
    "tester.output_dir": ("elsewhere", "depthmill predict --out", ""),
    "tester.checkpoint": ("elsewhere", "depthmill evaluate CHECKPOINT --reference", ""),
    "tester.checkpoints_dir": (
        "elsewhere",
        "",
        "the checkpoints that train.evaluate_checkpoints measures are beside the training",
    ),
}
"""Keys that no key of the recipe takes over: their fate, what to use in their place, and why."""

OTHER_VERSIONS: dict[str, str] = {
    "trainer.amp": "automatic mixed precision in float16; see train.precision",
    "trainer.compile": "torch.compile",
    "trainer.ema": "a running mean of the weights",
    "trainer.best_metric": "the best checkpoint by a metric; see train.keep",
}
"""Keys that only older versions of the public code read; what they ask for there."""
