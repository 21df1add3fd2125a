"""A tiny KITTI object set in the official layout: a level road with upright boxes; images, labels, calibration and points agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

FRAMES = {"train": 4, "val": 2}
SIZES = ((124, 38), (122, 37))
CAMERA_HEIGHT_M = 1.65
COLORS = {"Car": (200, 40, 40), "Pedestrian": (40, 200, 40), "Cyclist": (40, 40, 200)}
LABEL_FROM_VELO = np.array([[0.0, -1, 0, -0.004], [0, 0, -1, -0.076], [1, 0, 0, -0.27]])
R0 = np.array([[0.9999, 0.0141421, 0.0], [-0.0141421, 0.9999, 0.0], [0.0, 0.0, 1.0]])
SIZES_HWL = {"Car": (1.5, 1.6, 3.9), "Pedestrian": (1.8, 0.6, 0.8), "Cyclist": (1.7, 0.6, 1.8)}


def write_tiny_kitti(
    root: Path,
    *,
    frames: Mapping[str, int] = FRAMES,
    sizes: Sequence[tuple[int, int]] = SIZES,
    velodyne: bool = False,
    level: str = "",
) -> Path:
    """Write a set; frame k has the image size k modulo their number. ``level`` is a folder between, as MonoDLE's object."""
    number = {"training": 0, "testing": 0}
    (root / "ImageSets").mkdir(parents=True, exist_ok=True)
    for name, count in frames.items():
        half = "testing" if name == "test" else "training"
        folder = root / level / half
        for part in ("image_2", "calib", *(["label_2"] if half == "training" else []), *(["velodyne"] if velodyne else [])):
            (folder / part).mkdir(parents=True, exist_ok=True)
        ids = [f"{number[half] + k:06d}" for k in range(count)]
        for k, one in enumerate(ids, number[half]):
            _write_frame(folder, one, sizes[k % len(sizes)], seed=k, has_labels=half == "training", velodyne=velodyne)
        number[half] += count
        (root / "ImageSets" / f"{name}.txt").write_text("\n".join(ids))  # the public files have no final newline either
    return root


def projection_of(width: int, height: int) -> np.ndarray:
    """Return P2 (3, 4) of an image size: KITTI's own, scaled."""
    focal = 0.58 * width
    return np.array(
        [[focal, 0, 0.49 * width, 0.0635 * focal], [0, 1.01 * focal, 0.46 * height, -0.0005 * focal], [0, 0, 1, 0.003]]
    )


def corners_of(size_hwl: Sequence[float], location: Sequence[float], rotation_y: float) -> np.ndarray:
    """Return the (8, 3) corners of a labelled box in the frame of the labels."""
    height, width, length = size_hwl
    x, z = np.array([1, 1, -1, -1] * 2) * length / 2, np.array([1, -1, -1, 1] * 2) * width / 2
    y = np.repeat([0.0, -height], 4)
    cosine, sine = np.cos(rotation_y), np.sin(rotation_y)
    return np.stack([cosine * x + sine * z, y, -sine * x + cosine * z], axis=1) + location


def objects_of(seed: int) -> list[tuple[str, tuple[float, float, float], float]]:
    """Return type, location and rotation of the objects of a frame, near ones first, all in front of the camera."""
    rng = np.random.default_rng(seed)
    kinds = ["Car", *rng.choice(["Car", "Pedestrian", "Cyclist"], size=2)]
    depths = np.sort(rng.uniform(9, 30, size=3))
    sides = rng.permutation([-0.45, 0.0, 0.4])
    turns = rng.uniform(-np.pi, np.pi, size=3)
    return [
        (str(kind), (round(float(side * z), 2), CAMERA_HEIGHT_M, round(float(z), 2)), round(float(turn), 2))
        for kind, side, z, turn in zip(kinds, sides, depths, turns, strict=True)
    ]


def _write_frame(folder: Path, name: str, size: tuple[int, int], *, seed: int, has_labels: bool, velodyne: bool) -> None:
    (width, height), rng = size, np.random.default_rng([seed, 1])
    projection = projection_of(width, height)
    shade = np.where(np.arange(height)[:, None] < 0.46 * height, 190, 90) + rng.normal(0, 6, (height, width))
    image = Image.fromarray(np.repeat(shade.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))
    draw, lines, surface = ImageDraw.Draw(image), [], []
    for kind, location, rotation_y in reversed(objects_of(seed)):  # far ones first, near ones over them
        corners = corners_of(SIZES_HWL[kind], location, rotation_y)
        points = np.c_[corners, np.ones(8)] @ projection.T
        pixels = points[:, :2] / points[:, 2:]
        draw.polygon([tuple(pixels[k]) for k in _hull(pixels)], fill=COLORS[kind])
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        sides = (*np.clip(low, 0, [width - 1, height - 1]), *np.clip(high, 0, [width - 1, height - 1]))
        inside = (sides[2] - sides[0]) * (sides[3] - sides[1]) / np.prod(high - low)
        alpha = (rotation_y - np.arctan2(location[0], location[2]) + np.pi) % (2 * np.pi) - np.pi
        numbers = (alpha, *sides, *SIZES_HWL[kind], *location, rotation_y)
        lines.insert(0, f"{kind} {1 - inside:.2f} 0 " + " ".join(f"{value:.2f}" for value in numbers))
        surface.append(corners)
    lines.append("DontCare -1 -1 -10 3.00 4.00 9.50 9.00 -1 -1 -1 -1000 -1000 -1000 -10")
    image.save(folder / "image_2" / f"{name}.png")
    if has_labels:
        (folder / "label_2" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    matrices = {"P0": np.eye(3, 4), "P1": np.eye(3, 4), "P2": projection, "P3": projection, "R0_rect": R0}
    matrices |= {"Tr_velo_to_cam": np.vstack([R0.T @ LABEL_FROM_VELO]), "Tr_imu_to_velo": np.eye(3, 4)}
    text = "".join(f"{key}: {' '.join(f'{one:.12e}' for one in matrix.ravel())}\n" for key, matrix in matrices.items())
    (folder / "calib" / f"{name}.txt").write_text(text + "\n")
    if velodyne:
        ground = np.c_[rng.uniform(-8, 8, 4000), np.full(4000, CAMERA_HEIGHT_M), rng.uniform(3, 60, 4000)]
        points = np.concatenate([ground, *surface])
        in_velo = (points - LABEL_FROM_VELO[:, 3]) @ LABEL_FROM_VELO[:, :3]
        np.c_[in_velo, np.full(len(points), 0.5)].astype("<f4").tofile(folder / "velodyne" / f"{name}.bin")


def _hull(pixels: np.ndarray) -> list[int]:
    from scipy.spatial import ConvexHull

    return ConvexHull(pixels).vertices.tolist()
