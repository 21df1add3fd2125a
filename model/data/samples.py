"""The frames of a manifest that a run reads, chosen and checked before anything starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from storage_schemas.errors import DepthmillError, ManifestError, UnitNotFoundError
from storage_schemas.manifest import Manifest
from storage_schemas.store import Store, UnitPath

LOOKUPS = 16
"""Threads that look for commit marks; an object store answers each in milliseconds."""


@dataclass(frozen=True)
class Sample:
    """One frame of the manifest.

    Attributes:
        frame_key: ``<scene>/<camera>/<timestamp_us>``.
        sample_token: name of the frame in its source.
        frame: index along ``frame`` in the units.
        height: image rows.
        width: image columns.
        intrinsic_px: 3x3 camera matrix, row-major.
        is_night: recorded at night.
        units: unit of each store asked for.
    """

    frame_key: str
    sample_token: str
    frame: int
    height: int
    width: int
    intrinsic_px: tuple[float, ...]
    is_night: bool
    units: dict[str, UnitPath]

    @property
    def run(self) -> str:
        """Scene and camera: what a unit holds."""
        return self.frame_key.rsplit("/", 1)[0]


class Choice(Protocol):
    """Which frames of a manifest are read."""

    @property
    def split(self) -> str:
        """Split of the manifest."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Camera channels; empty = all."""

    @property
    def incomplete(self) -> str:
        """``error`` or ``leave_out``: frames that lack a store."""


def choose_samples(manifest: Manifest, config: Choice, wanted: tuple[str, ...]) -> list[Sample]:
    """Return the frames of a split that have all stores asked for, in manifest order.

    Raises:
        ManifestError: the split or a camera has no frames, or frames lack a store.
    """
    rows = _rows_of_split(manifest, config)
    lacking = [(row, [name for name in wanted if row.get(f"unit_{name}") is None]) for row in rows]
    if config.incomplete == "error":
        _refuse_lacking(manifest, config, [(row, names) for row, names in lacking if names])
    complete = [row for row, names in lacking if not names]
    if not complete:
        raise ManifestError(
            f"no frame of split '{config.split}' in manifest {manifest.path.fingerprint} has all of {', '.join(wanted)}. "
            "Ask for fewer stores, or run the stages that make them"
        )
    path_of: dict[UnitPath, UnitPath] = {}  # one object per unit, so that pickle sends each to a worker once
    return [
        Sample(
            row["frame_key"],
            row["sample_token"],
            row["frame"],
            row["height"],
            row["width"],
            tuple(row["intrinsic_px"]),
            row["is_night"],
            {name: path_of.setdefault(path, path) for name in wanted if (path := manifest.unit_of(row, name)) is not None},
        )
        for row in complete
    ]


def run_lengths(samples: Sequence[Sample]) -> list[int]:
    """Return the lengths of the runs of consecutive frames of one scene and camera."""
    return [len(list(group)) for _, group in groupby(samples, key=lambda sample: sample.run)]


def refuse_missing_units(store: Store, manifest_fingerprint: str, samples: Sequence[Sample]) -> None:
    """Check that every unit is there before training starts, not hours later.

    Raises:
        UnitNotFoundError: a unit that the manifest names has been pruned.
    """
    units = {path: sample.frame_key for sample in reversed(samples) for path in sample.units.values()}
    with ThreadPoolExecutor(LOOKUPS) as pool:
        missing = [path for path, is_there in zip(units, pool.map(store.has, units), strict=True) if not is_there]
    if missing:
        first = min(missing)
        raise UnitNotFoundError(
            f"unit '{first.key}' of frame '{units[first]}' is not in store '{store.root}' "
            f"({len(missing)} of {len(units)} units missing): it was pruned after manifest {manifest_fingerprint} was written. "
            "Run the recipe again to make it, or choose another manifest"
        )


def _rows_of_split(manifest: Manifest, config: Choice) -> list[dict[str, Any]]:
    every = manifest.rows()
    rows = [row for row in every if row["split"] == config.split]
    name = manifest.path.fingerprint
    if not rows:
        counts = Counter(row["split"] or "none" for row in every)
        splits = ", ".join(f"{count} {split}" for split, count in counts.items()) or "no frame at all"
        raise ManifestError(
            f"split '{config.split}' is empty in manifest {name}, which has: {splits}. "
            "Say which scenes are train and val with stages.build_manifest.splits in the recipe (nuScenes format: source.splits, "
            "or splits.json beside the tables) and run it, or choose a split that has frames"
        )
    cameras = sorted({row["camera"] for row in rows})
    for camera in config.cameras:
        if camera not in cameras:
            raise ManifestError(
                f"camera '{camera}' has no frame in split '{config.split}' of manifest {name}; "
                f"cameras there: {', '.join(cameras)}"
            )
    return [row for row in rows if not config.cameras or row["camera"] in config.cameras]


def _refuse_lacking(manifest: Manifest, config: Choice, lacking: list[tuple[dict[str, Any], list[str]]]) -> None:
    if lacking:
        row, names = lacking[0]
        raise ManifestError(
            f"frame '{row['frame_key']}' has no {names[0]} in manifest {manifest.path.fingerprint} "
            f"({len(lacking)} frames of split '{config.split}' lack a store asked for). Run the stage that makes it, do not ask "
            "for it, or set incomplete: leave_out"
        )


def refuse_mixed_sizes(manifest_fingerprint: str, config: Choice, samples: Sequence[Sample]) -> None:
    """Check that all images have one size; ManifestError names a frame of each size, and what parts them."""
    sizes: dict[tuple[int, int], list[str]] = {}
    for sample in samples:
        sizes.setdefault((sample.height, sample.width), []).append(sample.frame_key)
    if len(sizes) < 2:
        return
    sizes_text = ", ".join(f"{width}x{height} ('{keys[0]}')" for (height, width), keys in sizes.items())
    cameras = [{key.split("/")[1] for key in keys} for keys in sizes.values()]
    differ = sum(map(len, cameras)) == len(set().union(*cameras))
    advice = "cameras of one size with cameras: [...]"
    if not differ:
        advice = "scenes of one size with scenes: [...] in the recipe, and run it again: one camera has several sizes"
    raise ManifestError(
        f"split '{config.split}' of manifest {manifest_fingerprint} has images of different sizes: {sizes_text}. "
        f"A batch needs one; choose {advice}"
    )


def refuse_without_confidence(manifest: Manifest, config: Choice, samples: Sequence[Sample]) -> None:
    """Check that every unit of depth_accumulated has the optional array ``confidence``; ManifestError names one without."""
    units = {sample.units["depth_accumulated"]: sample.frame_key for sample in reversed(samples)}
    with ThreadPoolExecutor(LOOKUPS) as pool:
        has_it = pool.map(lambda path: "confidence" in manifest.store.open_unit(path).array_names, units)
        lacking = [path for path, is_there in zip(units, has_it, strict=True) if not is_there]
    if lacking:
        first = min(lacking)
        raise ManifestError(
            f"unit '{first.key}' of frame '{units[first]}' has no confidence ({len(lacking)} of {len(units)} units of split "
            f"'{config.split}' in manifest {manifest.path.fingerprint} have none), and train.loss.dense_weight is confidence. "
            "Set stages.accumulate_lidar.confidence to true in the recipe and run it, or set train.loss.dense_weight to uniform"
        )


def frames_with_teacher(manifest: Manifest, config: Choice, samples: Sequence[Sample]) -> list[Sample]:
    """Return the frames whose teacher's map is not empty, in the order given.

    Alignment writes a map of zeros for a frame without a fit; distilled from, that frame would silently teach nothing.

    Args:
        manifest: an opened manifest.
        config: ``incomplete`` says what is done with frames whose map is empty.
        samples: frames whose unit of depth_mono exists.

    Raises:
        ManifestError: a map is empty and ``incomplete`` is ``error``, or all of them are.
        StoreError: a unit is damaged.
    """
    units = list(dict.fromkeys(sample.units["depth_mono"] for sample in samples))
    with ThreadPoolExecutor(LOOKUPS) as pool:
        counts = pool.map(lambda path: manifest.store.open_unit(path).array("num_measured"), units)
        num_measured = dict(zip(units, counts, strict=True))
    taught = [sample for sample in samples if num_measured[sample.units["depth_mono"]][sample.frame] > 0]
    if len(taught) < len(samples) and (config.incomplete == "error" or not taught):
        taught_ids = set(map(id, taught))
        first = next(sample for sample in samples if id(sample) not in taught_ids)
        leave_out = "set train.data.incomplete: leave_out to train without them, " if taught else ""
        raise ManifestError(
            f"frame '{first.frame_key}' has an empty teacher's map (depth_mono) in manifest {manifest.path.fingerprint} "
            f"({len(samples) - len(taught)} of {len(samples)} frames of split '{config.split}'). Its alignment found no fit, or "
            "the teacher saw nothing but sky, so distillation has nothing to learn from there. Change stages.align_mono_depth or "
            f"the teacher, {leave_out}or switch distillation off"
        )
    return taught


@contextmanager
def naming_frame(sample: Sample) -> Iterator[None]:
    """Say in an error which frame was being read."""
    try:
        yield
    except DepthmillError as error:
        raise type(error)(f"frame '{sample.frame_key}': {error}") from error
