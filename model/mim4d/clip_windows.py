"""The windows of a manifest that a run reads: which images belong together, and where each camera was.

Reads  windows units (all tables) through storage_schemas, once, before anything starts
Rule   A window counts if every frame of it has every camera asked for in the manifest. One that reaches to a key frame which the
       manifest leaves out (the last of a scene, say) is left out itself, and counted. Of a window with frames between key
       frames only the newest one has to be in the manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from model.data.samples import LOOKUPS, Choice, Sample, choose_samples, refuse_missing_units
from model.mim4d.clips import Clip, Float64, LidarFile, Moment, SourceFile, SweepFiles
from model.mim4d.config import ClipDataConfig
from storage_schemas.errors import ManifestError
from storage_schemas.layout import Columns, rows
from storage_schemas.manifest import Manifest
from storage_schemas.store import UnitPath

STORES = ("images", "windows", "depth_single")
"""What every frame of a clip is read from, unless frames lie between key frames."""

Row = dict[str, Any]


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
    refuse_no_windows(manifest, config)
    samples = choose_samples(manifest, config, STORES)
    refuse_missing_units(manifest.store, manifest.path.fingerprint, samples)
    of_image = {(sample.units["images"].scene, sample.units["images"].camera, sample.frame): sample for sample in samples}
    units = list(dict.fromkeys(sample.units["windows"] for sample in samples))
    with ThreadPoolExecutor(LOOKUPS) as pool:
        tables = list(pool.map(lambda path: tables_of_windows(manifest, path), units))
    cameras = config.cameras or tuple(
        dict.fromkeys(camera for tables_of_unit in tables for camera in tables_of_unit["views"]["camera"])
    )
    clips: list[Clip] = []
    num_windows = 0
    for path, tables_of_unit in zip(units, tables, strict=True):
        _refuse_unfit(path, tables_of_unit, cameras, num_frames)
        moments = key_moments(path.scene, tables_of_unit, cameras, of_image)
        windows = _windows(tables_of_unit["windows"], num_frames)
        num_windows += len(windows)
        if "sweep_rigs" in tables_of_unit:
            clips += _clips_of_sweeps(path, tables_of_unit, cameras, moments, num_frames)
            continue
        moments_by_window = [tuple(moments[sample] for sample in window if sample in moments) for window in windows]
        clips += [
            Clip(f"{path.scene}/{moments_of_window[0].time_us}", moments_of_window)
            for moments_of_window in moments_by_window
            if len(moments_of_window) == num_frames
        ]
    if not clips:
        where = f"split '{config.split}' of manifest {manifest.path.fingerprint}"
        raise _no_clips(where, num_scenes=len(units), num_windows=num_windows, cameras=cameras)
    return ChosenClips(tuple(clips), cameras, num_windows - len(clips))


def tables_of_windows(manifest: Manifest, path: UnitPath) -> dict[str, Columns]:
    """Return the tables of a windows unit by name."""
    unit = manifest.store.open_unit(path)
    return {spec.name: unit.table(spec.name) for spec in unit.layout.tables if unit.has_table(spec.name)}


def _windows(columns: Columns, num_frames: int) -> list[list[int]]:
    """Return the key frames of each window, the newest first, as many as asked for."""
    key_frames = sorted(zip(columns["window"], columns["step"], columns["sample_index"], strict=True))
    return [[sample for _, _, sample in group][:num_frames] for _, group in groupby(key_frames, key=lambda row: row[0])]


def key_moments(
    scene: str, tables: dict[str, Columns], cameras: Sequence[str], of_image: dict[tuple[str, str, int], Sample]
) -> dict[int, Moment]:
    """Return the key frames of a scene of which the manifest has all cameras, by their number in the scene.

    Args:
        scene: its name.
        tables: of the scene's windows unit.
        cameras: that every key frame must have.
        of_image: samples of the manifest by scene, camera and frame.
    """
    views = {(row["sample_index"], row["camera"]): row for row in rows(tables["views"])}
    moments = {}
    for rig in rows(tables["rigs"]):
        views_of_rig = [views[rig["sample_index"], camera] for camera in cameras]
        samples = [of_image.get((scene, row["camera"], row["frame"])) for row in views_of_rig]
        complete = tuple(sample for sample in samples if sample is not None)
        if len(complete) == len(cameras):
            moments[rig["sample_index"]] = Moment(
                rig["timestamp_us"],
                _matrix(rig["world_from_rig"]),
                np.array([row["cam_from_rig"] for row in views_of_rig], np.float64).reshape(-1, 4, 4),
                complete,
            )
    return moments


def _clips_of_sweeps(
    path: UnitPath, tables: dict[str, Columns], cameras: Sequence[str], moments: dict[int, Moment], num_frames: int
) -> list[Clip]:
    """Return the windows of a scene with frames between key frames whose key frame is among the moments."""
    rigs = {(row["window"], row["step"]): row for row in rows(tables["sweep_rigs"])}
    views = {(row["window"], row["step"], row["camera"]): row for row in rows(tables["sweep_views"])}
    clips = []
    for row in rows(tables["windows"]):
        window, key = row["window"], moments.get(row["sample_index"])
        if key is None:
            continue
        moments_of_window = tuple(
            _moment_of_sweep(path, rigs[window, step], [views[window, step, camera] for camera in cameras], key)
            for step in range(num_frames)
        )
        clips.append(Clip(f"{path.scene}/{moments_of_window[0].time_us}", moments_of_window))
    return clips


def _moment_of_sweep(path: UnitPath, rig: Row, views: Sequence[Row], key: Moment) -> Moment:
    """Return a frame of a window with frames between key frames.

    Args:
        path: unit of the window.
        rig: its row of ``sweep_rigs``.
        views: its rows of ``sweep_views``, one a camera.
        key: the window's key frame.
    """
    between = [
        replace(
            sample,
            frame_key=f"{sample.run}/{view['timestamp_us']}",
            frame=-1,
            height=view["height"],
            width=view["width"],
            intrinsic_px=tuple(view["intrinsic_px"]),
            units={"windows": path},
        )
        for sample, view in zip(key.samples, views, strict=True)
    ]
    lidar = None
    if rig["lidar_file"] is not None:
        source = SourceFile(rig["lidar_file"], rig["lidar_sha256"])
        lidar = LidarFile(source, rig["lidar_columns"], _matrix(rig["rig_from_lidar"]))
    return Moment(
        rig["timestamp_us"],
        _matrix(rig["world_from_rig"]),
        np.stack([_matrix(view["cam_from_rig"]) for view in views]),
        key.samples if rig["step"] == 0 else tuple(between),
        SweepFiles(path, tuple(SourceFile(view["file"], view["sha256"]) for view in views), lidar),
    )


def _matrix(values: Sequence[float]) -> Float64:
    return np.array(values, np.float64).reshape(4, 4)


def refuse_no_windows(manifest: Manifest, config: Choice) -> None:
    """Check that the split was cut into clips; ManifestError says how to have it done."""
    rows_of_split = [row for row in manifest.rows() if row["split"] == config.split]
    if rows_of_split and not any(row["unit_windows"] for row in rows_of_split):
        raise ManifestError(
            f"split '{config.split}' of manifest {manifest.path.fingerprint} has no windows. Set stages.index_windows.enabled to "
            "true in the recipe and run it again; that takes a source of drives with poses"
        )


def _refuse_unfit(path: UnitPath, tables: dict[str, Columns], cameras: Sequence[str], num_frames: int) -> None:
    steps = tables["sweep_rigs" if "sweep_rigs" in tables else "windows"]["step"]
    if not steps:
        return
    length = max(steps) + 1
    if length < num_frames:
        raise ManifestError(
            f"windows of unit '{path.key}' have {length} frames, the network takes {num_frames}. Set "
            f"stages.index_windows.num_frames to {num_frames} and run the recipe again, or give the network fewer frames"
        )
    cameras_of_unit = list(dict.fromkeys(tables["views"]["camera"]))
    for camera in cameras:
        if camera not in cameras_of_unit:
            raise ManifestError(
                f"windows of unit '{path.key}' were made without camera '{camera}'; cameras there: {', '.join(cameras_of_unit)}. "
                "Choose among these, or put it into the recipe's cameras and run it again"
            )


def _no_clips(where: str, *, num_scenes: int, num_windows: int, cameras: Sequence[str]) -> ManifestError:
    if not num_windows:
        return ManifestError(
            f"{where} has no window: each of its {num_scenes} scenes has fewer frames than one takes, or lacks images of a "
            "camera. Lower stages.index_windows.num_frames or stride and run the recipe again, or choose a larger split"
        )
    return ManifestError(
        f"{where} has no complete window: its scenes have {num_windows}, and each has a key frame that the manifest lacks for "
        f"one of {', '.join(cameras)}. Lower stages.index_windows.num_frames or stride, set "
        "stages.build_manifest.drop_last_keyframe to false, or choose fewer cameras, and run the recipe again"
    )
