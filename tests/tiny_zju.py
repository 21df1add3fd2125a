"""A tiny ZJU-4DRadarCam set: a road between walls with a box on it; all four files of a frame show the same world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.interpolate import LinearNDInterpolator

STEPS_PER_M = 256
FRAMES = {"train": 5, "val": 2, "test": 1}


def write_tiny_zju(
    root: Path,
    *,
    frames: Mapping[str, int] = FRAMES,
    height: int = 72,
    width: int = 128,
    name_of: Callable[[int], str] = "{:06d}".format,
) -> Path:
    """Write a set of the layout <root>/{image,radar_png,gt,gt_interp}/<name>.png with a list per split; return its root."""
    for folder in ("image", "radar_png", "gt", "gt_interp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    number = 100
    for split, count in frames.items():
        names = [name_of(number + k) for k in range(count)]
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for k, name in enumerate(names):
            _write_frame(root, name, seed=number + k, height=height, width=width)
        number += count
    return root


def exact_depth(seed: int, *, height: int, width: int) -> np.ndarray:
    """Return (height, width) metres of a frame's world: a road, walls left and right, a box; 0 = sky."""
    focal, horizon = 0.9 * width, 0.4 * height
    v, u = np.mgrid[:height, :width] + 0.5
    x, y = (u - width / 2) / focal, (v - horizon) / focal
    with np.errstate(divide="ignore"):
        road = np.where(y > 0, 1.6 / y, np.inf)
        wall = 6.0 / np.abs(x)
    depth = np.minimum(road, np.where(wall * y > -3.0, wall, np.inf))  # the walls are 3 m higher than the camera
    rng = np.random.default_rng(seed)
    near, left = rng.uniform(8, 30), rng.uniform(-3, 1)
    is_box = (x * near > left) & (x * near < left + 2) & (y * near > 0) & (y * near < 1.6)
    depth = np.where(is_box & (near < depth), near, depth)
    return np.where(depth < 120, depth, 0.0)


def _write_frame(root: Path, name: str, *, seed: int, height: int, width: int) -> None:
    depth = exact_depth(seed, height=height, width=width)
    steps = (depth * STEPS_PER_M).astype(np.uint16)
    rng = np.random.default_rng([seed, 1])
    rings = (np.arange(height) % 3 == 1)[:, None] & (rng.random((height, width)) < 0.5)
    gt = np.where(rings, steps, 0).astype(np.uint16)
    row, column = np.nonzero(gt)
    dense = LinearNDInterpolator(np.stack([row, column], axis=1), gt[row, column].astype(float), fill_value=0.0)
    gt_interp = np.rint(dense(*np.mgrid[:height, :width])).astype(np.uint16)
    seen = (depth > 0) & (depth < 80) & (rng.random((height, width)) < 0.004)
    radar = np.where(seen, (depth + rng.normal(0, 0.3, depth.shape)) * STEPS_PER_M, 0).clip(0).astype(np.uint16)
    shade = np.where(depth > 0, 255 * np.exp(-depth / 40), 30)
    image = np.stack([shade, 0.8 * shade + 20, 255 - shade], axis=-1) + rng.normal(0, 3, (height, width, 3))
    for folder, pixels in (
        ("image", image.clip(0, 255).astype(np.uint8)),
        ("radar_png", radar),
        ("gt", gt),
        ("gt_interp", gt_interp),
    ):
        Image.fromarray(pixels).save(root / folder / f"{name}.png")


def read_map(root: Path, folder: str, name: str) -> np.ndarray:
    """Return (height, width) uint16 steps of a frame's map, read independently of the pipeline."""
    with Image.open(root / folder / f"{name}.png") as image:
        return np.asarray(image).astype(np.uint16)
