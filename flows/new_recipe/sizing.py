"""What ``init`` proposes for the device it finds: a batch that fits a GPU, or a small network where there is none.

Source  docs/sizing.md; the memory of a step was counted by benchmarks/training_sizes.py, not measured on a GPU
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.sources.recipe_text import Line, scalar

SHARE_OF_GPU = 0.85
"""Of a GPU's memory; the rest is what operators hold for a moment, and what an allocator cannot use."""

PUBLISHED_PX = (900, 1600)
"""Rows and columns of nuScenes' images, taken where those of the data are not known."""

NO_GPU = (
    "no GPU is here, and the training above takes weeks on a CPU. A small network for a first try on two cores takes minutes: "
    "put these keys in place of those above, and keep what they do not name"
)


def proposed(lines: list[Line], train: dict[str, Any], image_px: tuple[int, int] | None) -> list[Line]:
    """Return the lines of a recipe with what fits this machine; as they are without ``train:``, and where torch is not installed.

    Args:
        lines: of the recipe.
        train: its group ``train:`` as data.
        image_px: rows and columns of an image, None if not known.
    """
    if not train:
        return lines
    try:
        from model.devices import gpu_gigabytes
        from model.families import family_of, parse_train_config
    except ImportError:
        return lines
    config = parse_train_config(train, where="init")
    family, gpu_gb = family_of(config), gpu_gigabytes()
    if gpu_gb is None:
        return [*lines, *small_network_lines(family.small_training)]
    if family.step_size is None:
        return lines
    batch = config.data.batch_size
    frame_gb = family.step_size.frame_at(image_px or PUBLISHED_PX)
    fitting = largest_batch(gpu_gb, frame_gb, family.step_size.state_gb, batch)
    return lines if fitting == batch else split_batch(lines, batch, fitting, gpu_gb)


def largest_batch(gpu_gb: float, frame_gb: float, state_gb: float, batch: int) -> int:
    """Return the largest divisor of a batch whose step fits a GPU; 1 if not even one frame does."""
    sizes = [size for size in range(1, batch + 1) if batch % size == 0]
    return max((size for size in sizes if state_gb + size * frame_gb <= SHARE_OF_GPU * gpu_gb), default=1)


def split_batch(lines: Sequence[Line], batch: int, fitting: int, gpu_gb: float) -> list[Line]:
    """Return the lines with a batch that fits, and with the gradients of several batches in one step."""
    changed: list[Line] = []
    is_train = False
    for key, why in lines:
        is_train = key.startswith("train:") or (is_train and (not key.strip() or key.startswith(" ")))
        if is_train and f"batch_size: {batch}" in key:
            key = re.sub(rf"batch_size: {batch}\b", f"batch_size: {fitting}", key)
            changed.append((key, why))
            about = f"batches of {fitting} that make one step of {batch}: what {gpu_gb:.0f} GB hold (docs/sizing.md)"
            changed.append((f"  accumulate: {batch // fitting}", about))
        else:
            changed.append((key, why))
    return changed


def small_network_lines(keys: Mapping[str, Any]) -> list[Line]:
    """Return comments that hold the keys of a small training; none for a family that has no such keys."""
    if not keys:
        return []
    return [("  ", NO_GPU), *(("  ", f"{key}: {scalar(value)}") for key, value in keys.items())]
