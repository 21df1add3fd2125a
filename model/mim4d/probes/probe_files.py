"""The probes of a training on disk, and their table.

Writes  probe/table.md, then probe/probes.json into the folder of a training
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.probes.depth_probe import ANY_RANGE, DepthRow
from model.mim4d.probes.occupancy_probe import OccupancyRow
from storage_schemas.errors import StoreError
from storage_schemas.files import StoreFiles

PROBE_FOLDER = "probe"
PROBES_FILE = "probes.json"

TRAINED = "trained"
"""The network of the training."""

IMAGENET = "imagenet"
"""Random weights and the classification weights that the backbone began with."""

RANDOM = "random"
"""The random weights that the training's seed draws."""

ROW_MEDIAN = "row_median"
"""No features: the median depth of the training points in the same row of cells."""

MEDIAN = "median"
"""No features: one depth for all."""

VOXEL_FREQUENCY = "voxel_frequency"
"""No features: how often the same voxel is occupied in the training clips."""


@dataclass(frozen=True)
class ProbeAbout:
    """What was probed, and how.

    Attributes:
        train_split: split that the probes learned from.
        split: split that they were measured on.
        num_train_clips: clips that they learned from.
        num_train_points: LiDAR points of them that depth was learned from.
        num_clips: clips that they were measured on.
        stride_px: image pixels per cell of the features that depth was told from.
        seed: of the training.
        settings: ``train.probe``.
    """

    train_split: str
    split: str
    num_train_clips: int
    num_train_points: int
    num_clips: int
    stride_px: int
    seed: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class ProbeResults:
    """The results of all probes of a training.

    Attributes:
        about: what was probed.
        depth: of every kind of features, over all ranges and by range.
        occupancy: of every kind of features.
    """

    about: ProbeAbout
    depth: list[DepthRow]
    occupancy: list[OccupancyRow]

    def depth_of(self, features: str, range_m: str = ANY_RANGE) -> DepthRow | None:
        """Return a row, None if there is none."""
        return next((row for row in self.depth if row[:2] == (features, range_m)), None)

    def occupancy_of(self, features: str) -> OccupancyRow | None:
        """Return a row, None if there is none."""
        return next((row for row in self.occupancy if row.features == features), None)


def has_probes(folder: Path) -> bool:
    """Say whether the folder of a training has probes, complete."""
    return (folder / PROBE_FOLDER / PROBES_FILE).is_file()


def probes_are_due(config: Mim4dTrainConfig, folder: Path) -> bool:
    """Say whether a training's probes are asked for, and not there, or there with other settings.

    Raises:
        StoreError: those that are there are damaged.
    """
    if config.probe.steps == 0:
        return False
    return not has_probes(folder) or read_probes(folder).about.settings != config.probe.model_dump(mode="json")


def write_probes(folder: Path, results: ProbeResults) -> None:
    """Write the probes into the folder of a training.

    Raises:
        StoreError: the folder cannot be written.
    """
    files = StoreFiles(folder / PROBE_FOLDER)
    files.put("table.md", f"probes of {folder.name}\n\n{probe_table(results)}\n".encode())
    files.put(PROBES_FILE, json.dumps(as_json(results), indent=1).encode())


def as_json(results: ProbeResults) -> dict[str, Any]:
    """Return the probes as the values of a JSON file."""
    return {
        "about": asdict(results.about),
        "depth": [row._asdict() for row in results.depth],
        "occupancy": [row._asdict() for row in results.occupancy],
    }


def read_probes(folder: Path) -> ProbeResults:
    """Return the probes of a training.

    Raises:
        StoreError: they are missing or damaged; names the file.
    """
    path = folder / PROBE_FOLDER / PROBES_FILE
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return ProbeResults(
            ProbeAbout(**stored["about"]),
            [DepthRow(**row) for row in stored["depth"]],
            [OccupancyRow(**row) for row in stored["occupancy"]],
        )
    except FileNotFoundError as error:
        raise StoreError(
            f"'{folder}' holds no probes ({PROBE_FOLDER}/{PROBES_FILE} is missing). Run depthmill train with family mim4d and "
            "train.probe.steps above 0"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"'{path}' cannot be read: {error}. Delete it, then run depthmill train again") from error


def probe_table(results: ProbeResults) -> str:
    """Return the probes as Markdown: depth, depth by range, occupancy."""
    about = results.about
    whole = [row for row in results.depth if row.range_m == ANY_RANGE]
    lines = [
        f"linear probes learned on {about.num_train_clips} clips of {about.train_split} ({about.num_train_points} points), "
        f"measured on {about.num_clips} clips of {about.split}",
        "",
        f"| depth of the key frame, features at stride {about.stride_px} | AbsRel | RMSE m | delta<1.25 | held-out points |",
        "|---|--:|--:|--:|--:|",
        *(f"| {row.features} | {row.abs_rel:.3f} | {row.rmse_m:.2f} | {row.delta1:.3f} | {row.num_points} |" for row in whole),
        "",
        *_range_lines(results.depth),
        "",
        "| occupancy of seen voxels | IoU | average precision | threshold | occupied | voxels |",
        "|---|--:|--:|--:|--:|--:|",
        *(
            f"| {row.features} | {row.iou:.3f} | {row.average_precision:.3f} | {row.threshold:.3f} | {row.num_occupied} "
            f"| {row.num_voxels} |"
            for row in results.occupancy
        ),
    ]
    return "\n".join(lines)


def ranges_of(rows: Sequence[DepthRow]) -> list[str]:
    """Return the ranges that have rows, the nearest first."""
    return sorted({row.range_m for row in rows if row.range_m != ANY_RANGE}, key=range_ends)


def range_ends(range_m: str) -> tuple[float, float]:
    """Return the ends of a range "low-high", metres."""
    low, _, high = range_m.partition("-")
    return float(low), float(high)


def _range_lines(rows: Sequence[DepthRow]) -> list[str]:
    ranges = ranges_of(rows)
    row_of = {(row.features, row.range_m): row for row in rows}
    lines = [f"| AbsRel at m | {' | '.join(ranges)} |", f"|---|{'--:|' * len(ranges)}"]
    for features in dict.fromkeys(row.features for row in rows):
        texts = (f"{row_of[features, range_m].abs_rel:.3f}" if (features, range_m) in row_of else "" for range_m in ranges)
        lines.append(f"| {features} | {' | '.join(texts)} |")
    return lines


def probe_results(folder: Path) -> dict[str, Any]:
    """Return what the probes of a training found, as JSON values under their name; empty if it was not probed."""
    return {"probes": as_json(read_probes(folder))} if has_probes(folder) else {}
