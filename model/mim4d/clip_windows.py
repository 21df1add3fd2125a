"""The windows of a manifest that a run reads: which images belong together, and where each camera was.

Reads  windows units (all three tables) through storage_schemas, once, before anything starts
Rule   A window counts if every frame of it has every camera asked for in the manifest. One that reaches to a key frame which the
       manifest leaves out (the last of a scene, say) is left out itself, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from model.data.samples import LOOKUPS, Sample, choose_samples, refuse_missing_units
from model.mim4d.clip_config import ClipDataConfig
from storage_schemas.errors import ManifestError
from storage_schemas.layout import Columns, rows
from storage_schemas.manifest import Manifest
from storage_schemas.store import UnitPath

STORES = ("images", "windows", "depth_single")
"""What every frame of a clip is read from."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """One key frame of the m cameras.

    Attributes:
        time_us: of the rig.
        world_from_rig: (4, 4) pose of the rig at that time, metres.
        cam_from_rig: (m, 4, 4) rig at its time to each camera at its image's own time, metres.
        samples: m frames of the manifest, one a camera.
    """

    time_us: int
    world_from_rig: Float64
    cam_from_rig: Float64
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Clip:
    """One window.

    Attributes:
        key: ``<scene>/<time of the rig at the newest frame, us>``.
        moments: its frames, the newest first.
    """

    key: str
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class ChosenClips:
    """What a run reads.

    Attributes:
        clips: in the order of the manifest's scenes and of time.
        cameras: of every clip, in the order of its samples.
        num_left_out: windows with a frame that the manifest has not.
    """

    clips: tuple[Clip, ...]
    cameras: tuple[str, ...]
    num_left_out: int


def choose_clips(manifest: Manifest, config: ClipDataConfig, *, num_frames: int) -> ChosenClips:
    """Return the windows of a split that are complete, each cut to its newest frames.

    Args:
        manifest: an opened manifest.
        config: which split and cameras.
        num_frames: frames of a clip; at most as many as the windows have.

    Raises:
        ManifestError: the split or a camera has no frames, frames lack a store, windows are shorter than asked for or were made
            without a camera, or none is complete.
        UnitNotFoundError: a unit of the manifest has been pruned.
    """
    _refuse_no_windows(manifest, config)
    samples = choose_samples(manifest, config, STORES)
    refuse_missing_units(manifest.store, manifest.path.fingerprint, samples)
    of_image = {(sample.units["images"].scene, sample.units["images"].camera, sample.frame): sample for sample in samples}
    units = list(dict.fromkeys(sample.units["windows"] for sample in samples))
    with ThreadPoolExecutor(LOOKUPS) as pool:
        tables = list(pool.map(lambda path: _tables(manifest, path), units))
    cameras = config.cameras or tuple(dict.fromkeys(camera for one in tables for camera in one["views"]["camera"]))
    clips: list[Clip] = []
    num_windows = 0
    for path, one in zip(units, tables, strict=True):
        _refuse_unfit(path, one, cameras, num_frames)
        moments = _moments(path.scene, one, cameras, of_image)
        windows = _windows(one["windows"], num_frames)
        num_windows += len(windows)
        found = [tuple(moments[sample] for sample in window if sample in moments) for window in windows]
        clips += [Clip(f"{path.scene}/{own[0].time_us}", own) for own in found if len(own) == num_frames]
    if not clips:
        where = f"split '{config.split}' of manifest {manifest.path.fingerprint}"
        raise _no_clips(where, num_scenes=len(units), num_windows=num_windows, cameras=cameras)
    return ChosenClips(tuple(clips), cameras, num_windows - len(clips))


def _tables(manifest: Manifest, path: UnitPath) -> dict[str, Columns]:
    unit = manifest.store.open_unit(path)
    return {name: unit.table(name) for name in ("windows", "rigs", "views")}


def _windows(columns: Columns, num_frames: int) -> list[list[int]]:
    """Return the key frames of each window, the newest first, as many as asked for."""
    found = sorted(zip(columns["window"], columns["step"], columns["sample_index"], strict=True))
    return [[sample for _, _, sample in group][:num_frames] for _, group in groupby(found, key=lambda row: row[0])]


def _moments(
    scene: str, tables: dict[str, Columns], cameras: Sequence[str], of_image: dict[tuple[str, str, int], Sample]
) -> dict[int, Moment]:
    """Return the key frames of a scene of which the manifest has all cameras."""
    views = {(row["sample_index"], row["camera"]): row for row in rows(tables["views"])}
    found = {}
    for rig in rows(tables["rigs"]):
        own = [views[rig["sample_index"], camera] for camera in cameras]
        samples = [of_image.get((scene, row["camera"], row["frame"])) for row in own]
        complete = tuple(sample for sample in samples if sample is not None)
        if len(complete) == len(cameras):
            found[rig["sample_index"]] = Moment(
                rig["timestamp_us"],
                np.array(rig["world_from_rig"], np.float64).reshape(4, 4),
                np.array([row["cam_from_rig"] for row in own], np.float64).reshape(-1, 4, 4),
                complete,
            )
    return found


def _refuse_no_windows(manifest: Manifest, config: ClipDataConfig) -> None:
    own = [row for row in manifest.rows() if row["split"] == config.split]
    if own and not any(row["unit_windows"] for row in own):
        raise ManifestError(
            f"split '{config.split}' of manifest {manifest.path.fingerprint} has no windows. Set stages.index_windows.enabled to "
            "true in the recipe and run it again"
        )


def _refuse_unfit(path: UnitPath, tables: dict[str, Columns], cameras: Sequence[str], num_frames: int) -> None:
    if not tables["windows"]["step"]:
        return
    length = max(tables["windows"]["step"]) + 1
    if length < num_frames:
        raise ManifestError(
            f"windows of unit '{path.key}' have {length} frames, the network takes {num_frames}. Set "
            f"stages.index_windows.num_frames to {num_frames} and run the recipe again, or give the network fewer frames"
        )
    there = list(dict.fromkeys(tables["views"]["camera"]))
    for camera in cameras:
        if camera not in there:
            raise ManifestError(
                f"windows of unit '{path.key}' were made without camera '{camera}'; cameras there: {', '.join(there)}. "
                "Choose among these, or put it into the recipe's cameras and run it again"
            )


def _no_clips(where: str, *, num_scenes: int, num_windows: int, cameras: Sequence[str]) -> ManifestError:
    if not num_windows:
        return ManifestError(
            f"{where} has no window: each of its {num_scenes} scenes has fewer key frames than one takes, or lacks images of a "
            "camera. Lower stages.index_windows.num_frames or stride and run the recipe again, or choose a larger split"
        )
    return ManifestError(
        f"{where} has no complete window: its scenes have {num_windows}, and each has a key frame that the manifest lacks for "
        f"one of {', '.join(cameras)}. Lower stages.index_windows.num_frames or stride, set "
        "stages.build_manifest.drop_last_keyframe to false, or choose fewer cameras, and run the recipe again"
    )
