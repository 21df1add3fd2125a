"""One scene of a manifest, read key frame by key frame.

Reads  the units that the manifest pins, the index ``frames`` that it was built from, and with a recipe the source's LiDAR files
Writes nothing; yields ``KeyFrame``
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.viewing.frame_content import Boxes, CameraFrame, Float64, KeyFrame, RadarReturns, Sweep
from flows.viewing.kitti_boxes import boxes_of_camera
from pipeline.exporters.image_file import image_file
from pipeline.geometry import rigid, transform_points, unproject
from pipeline.lidar_windows import lidars_of
from pipeline.poses import world_from_sensor, world_from_sensors
from pipeline.stage import RawReader
from storage_schemas.catalog import RADAR_CHANNELS
from storage_schemas.errors import DepthmillError, ManifestError
from storage_schemas.layout import Columns, rows
from storage_schemas.manifest import Manifest
from storage_schemas.store import StoredUnit, UnitPath

DEPTH_LAYOUTS = ("depth_single", "depth_accumulated", "depth_clean", "depth_interpolated", "depth_mono", "depth_truth")
"""Stores with a depth map of each frame, in the order that they are shown."""

MOVING_MPS = 0.5
"""An annotated box that is faster is drawn as moving: the published limit of the moving filter."""


class ViewedScene:
    """One scene, opened for looking at it.

    Args:
        manifest: the pinned data.
        scene: name of the scene.
        cameras: channels; empty = all that the manifest has of the scene.
        raw: reader of the source's files; None where a store alone was given.
        warn: takes a sentence about what cannot be shown; each is said once.

    Raises:
        ManifestError: the manifest has no such scene, or no such camera of it.
    """

    def __init__(
        self,
        manifest: Manifest,
        scene: str,
        cameras: Sequence[str],
        *,
        raw: RawReader | None,
        warn: Callable[[str], None],
    ) -> None:
        self.manifest, self.name, self._raw, self._warn = manifest, scene, raw, warn
        self.rows = rows_of_scene(manifest, scene, cameras)
        self.cameras = tuple(dict.fromkeys(row["camera"] for row in self.rows))
        self._origin_m = _matrix(self.rows[0]["world_from_cam"], 4, unknown=np.eye(4))[:3, 3]
        self._opened: dict[UnitPath, StoredUnit] = {}
        self._radar: dict[UnitPath, dict[str, NDArray[Any]]] = {}
        self._files: dict[UnitPath, Columns] = {}
        self._said: set[str] = set()

    def key_frames(self) -> Iterator[KeyFrame]:
        """Yield the key frames in time order.

        Raises:
            StoreError: a unit cannot be read.
        """
        by_number: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows:
            by_number[self._number(row)].append(row)
        for number in sorted(by_number):
            cameras = tuple(self._camera_frame(row) for row in by_number[number])
            yield KeyFrame(
                number,
                cameras[0].timestamp_us,
                self._scene_from_ego(by_number[number][0]),
                cameras,
                tuple(self._sweeps(number)),
                self._boxes(number),
            )

    def projection_px(self, frame: CameraFrame) -> Float64:
        """Return the projection (3, 4) of the frame that a camera's objects are in: its boxes unit's, else the camera matrix."""
        path = self.manifest.unit_of(frame.row, "boxes")
        if path is None:
            return np.concatenate([frame.intrinsic_px, np.zeros((3, 1))], axis=1)
        return np.array(self._unit(path).table("calibration")["projection_px"][frame.row["frame"]]).reshape(3, 4)

    def __len__(self) -> int:
        """Return the number of key frames."""
        return len({self._number(row) for row in self.rows})

    def times_us(self) -> list[int]:
        """Return the times of the first camera's images."""
        return [row["timestamp_us"] for row in self.rows if row["camera"] == self.cameras[0]]

    @property
    def has_cameras(self) -> bool:
        """Say whether the camera matrix of every frame is known, without which no pixel has a place in space."""
        return all(len(row["intrinsic_px"] or ()) == 9 for row in self.rows)

    @property
    def has_poses(self) -> bool:
        """Say whether the pose of every camera is known; without, each frame stands where the first one does."""
        return all(len(row["world_from_cam"] or ()) == 16 for row in self.rows)

    @property
    def has_index(self) -> bool:
        """Say whether ego poses, sweeps and boxes are known."""
        return self._index is not None

    @cached_property
    def _index(self) -> dict[str, Columns] | None:
        """Tables of the scene's index, None in a store that was imported without one."""
        path = self.manifest.unit_of_scene("frames", self.name)
        if path is None or not self.manifest.store.has(path):
            return None
        unit = self.manifest.store.open_unit(path)
        return {name: unit.table(name) for name in ("keyframes", "sweeps", "boxes")}

    @cached_property
    def _keyframes(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Rows of the index by image."""
        if self._index is None:
            return {}
        return {(row["camera"], row["timestamp_us"]): row for row in rows(self._index["keyframes"])}

    @cached_property
    def _all_sweeps(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of ``frames.sweeps`` by channel, in time order."""
        by_channel: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows(self._index["sweeps"]) if self._index is not None else ():
            by_channel[row["channel"]].append(row)
        return dict(by_channel)

    def _number(self, row: dict[str, Any]) -> int:
        keyframe = self._keyframes.get((row["camera"], row["timestamp_us"]))
        return int(row["frame"] if keyframe is None else keyframe["sample_index"])

    def _scene_from_ego(self, row: dict[str, Any]) -> Float64 | None:
        keyframe = self._keyframes.get((row["camera"], row["timestamp_us"]))
        if keyframe is None:
            return None
        return self._moved(rigid(keyframe["world_from_ego_translation_m"], keyframe["world_from_ego_rotation_wxyz"]))

    def _moved(self, world_from_it: Float64) -> Float64:
        scene_from_it = np.array(world_from_it)
        scene_from_it[:3, 3] -= self._origin_m
        return scene_from_it

    def _unit(self, path: UnitPath) -> StoredUnit:
        if path not in self._opened:
            self._opened[path] = self.manifest.store.open_unit(path)
        return self._opened[path]

    def _camera_frame(self, row: dict[str, Any]) -> CameraFrame:
        scene_from_cam = self._moved(_matrix(row["world_from_cam"], 4, unknown=np.eye(4)))
        intrinsic_px = _matrix(row["intrinsic_px"], 3, unknown=np.full((3, 3), np.nan))
        maps = {}
        for layout in DEPTH_LAYOUTS:
            path = self.manifest.unit_of(row, layout)
            if path is not None:
                maps[layout] = np.asarray(self._unit(path).array("depth_m", row["frame"]), np.uint16)
        return CameraFrame(
            key=row["frame_key"],
            camera=row["camera"],
            row=row,
            timestamp_us=row["timestamp_us"],
            intrinsic_px=intrinsic_px,
            scene_from_cam=scene_from_cam,
            size=(row["height"], row["width"]),
            image=self._image(row),
            maps=maps,
            radar=self._radar_returns(row, intrinsic_px, scene_from_cam),
            objects=self._objects(row, scene_from_cam),
        )

    def _image(self, row: dict[str, Any]) -> bytes | None:
        path = self.manifest.unit_of(row, "images")
        if path is None:
            self._say_once("images are not shown: the recipe packs none")
            return None
        unit = self._unit(path)
        if path not in self._files:
            self._files[path] = unit.table("files")
        try:
            return image_file(unit, self._files[path], row["frame"], self._raw)
        except DepthmillError as error:
            self._say_once(f"images are not shown: {error}")
            return None

    def _radar_returns(self, row: dict[str, Any], intrinsic_px: Float64, scene_from_cam: Float64) -> RadarReturns | None:
        path = self.manifest.unit_of(row, "radar_points")
        if path is None:
            return None
        unit = self._unit(path)
        if path not in self._radar:
            self._radar[path] = {
                name: unit.array(name) for name in unit.array_names if unit.layout.array(name).dims == ("point",)
            }
        of_frame = self._radar[path]["frame_of_point"] == row["frame"]
        found = {name: values[of_frame] for name, values in self._radar[path].items()}
        points_m = transform_points(scene_from_cam, unproject(found["u_px"], found["v_px"], found["depth_m"], intrinsic_px))
        return RadarReturns(
            found["u_px"], found["v_px"], found["depth_m"], points_m, self._velocity(row, path, found), found["rcs_dbsm"]
        )

    def _velocity(self, row: dict[str, Any], path: UnitPath, found: dict[str, NDArray[Any]]) -> Float64:
        """Return the velocities (n, 3) in the scene: each is turned as its radar stood when it measured it."""
        velocity = np.full((len(found["u_px"]), 3), np.nan)
        names = _radar_names(self.manifest.store.lineage(path).provenance)
        lag_us = found["time_lag_s"].astype(np.float64) * 1e6 if "time_lag_s" in found else np.zeros(len(velocity))
        for number in np.unique(found["sensor"]):
            sweeps = self._all_sweeps.get(names.get(int(number), ""), [])
            if not sweeps:
                continue
            of_sensor = found["sensor"] == number
            times_us = np.array([sweep["timestamp_us"] for sweep in sweeps], np.float64)
            wanted_us = row["timestamp_us"] - lag_us[of_sensor]
            nearest = np.abs(times_us[None, :] - wanted_us[:, None]).argmin(axis=1)
            turns = world_from_sensors(sweeps)[nearest, :3, :3]
            in_radar = np.zeros((len(nearest), 3))
            in_radar[:, 0], in_radar[:, 1] = found["vx_comp_mps"][of_sensor], found["vy_comp_mps"][of_sensor]
            velocity[of_sensor] = np.einsum("nij,nj->ni", turns, in_radar)
        return velocity

    def _sweeps(self, number: int) -> Iterator[Sweep]:
        if self._raw is None:
            if self._index is not None and self._all_sweeps:
                self._say_once("LiDAR sweeps are not shown: a store does not say where its source lies. Give the recipe")
            return
        for channel in lidars_of(self._all_sweeps):
            for sweep in self._all_sweeps[channel]:
                if not (sweep["is_keyframe"] and sweep["sample_index"] == number):
                    continue
                try:
                    points = self._raw.read_points(sweep["file"])[:, :3].astype(np.float64)
                except DepthmillError as error:
                    self._say_once(f"a LiDAR sweep is not shown: {error}")
                    continue
                points = points[np.isfinite(points).all(axis=1)]
                scene_from_sensor = self._moved(world_from_sensor(sweep))
                yield Sweep(
                    channel, sweep["timestamp_us"], transform_points(scene_from_sensor, points), np.linalg.norm(points, axis=1)
                )

    def _boxes(self, number: int) -> Boxes | None:
        if self._index is None or not self._index["boxes"]["sample_index"]:
            return None
        found = [row for row in rows(self._index["boxes"]) if row["sample_index"] == number]
        size = np.array([row["size_wlh_m"] for row in found], np.float64).reshape(-1, 3)
        speed = np.array([np.nan if row["speed_mps"] is None else row["speed_mps"] for row in found], np.float64)
        return Boxes(
            np.array([row["center_m"] for row in found], np.float64).reshape(-1, 3) - self._origin_m,
            size[:, [1, 0, 2]] / 2,  # a box's own x axis points forward, along its length
            np.array([row["world_from_box_wxyz"] for row in found], np.float64).reshape(-1, 4),
            tuple(row["category"] + ("" if np.isnan(mps) else f" {mps:.1f} m/s") for row, mps in zip(found, speed, strict=True)),
            speed > MOVING_MPS,
        )

    def _objects(self, row: dict[str, Any], scene_from_cam: Float64) -> Boxes | None:
        """Return the boxes of one camera where the index of the scene has none, as KITTI's labels are."""
        path = self.manifest.unit_of(row, "boxes")
        if path is None or (self._index is not None and self._index["boxes"]["sample_index"]):
            return None
        unit = self._unit(path)
        projection_px = unit.table("calibration")["projection_px"][row["frame"]]
        objects = [one for one in rows(unit.table("boxes")) if one["frame"] == row["frame"]]
        return boxes_of_camera(objects, np.array(projection_px).reshape(3, 4), scene_from_cam)

    def _say_once(self, sentence: str) -> None:
        kind = sentence.split(":")[0]
        if kind not in self._said:
            self._said.add(kind)
            self._warn(sentence)


def rows_of_scene(manifest: Manifest, scene: str, cameras: Sequence[str]) -> list[dict[str, Any]]:
    """Return the samples of a scene and of some of its cameras, in manifest order.

    Raises:
        ManifestError: the manifest has no such scene, or no such camera of it; the text names those that it has.
    """
    every = manifest.rows()
    of_scene = [row for row in every if row["scene"] == scene]
    if not of_scene:
        scenes = list(dict.fromkeys(row["scene"] for row in every))
        there = ", ".join(scenes[:10]) + (f" and {len(scenes) - 10} more" if len(scenes) > 10 else "")
        raise ManifestError(f"scene '{scene}' is not in manifest {manifest.path.fingerprint}; scenes there: {there or 'none'}")
    has = list(dict.fromkeys(row["camera"] for row in of_scene))
    for camera in cameras:
        if camera not in has:
            raise ManifestError(f"scene '{scene}' has no frames of camera '{camera}'; cameras there: {', '.join(has)}")
    return [row for row in of_scene if not cameras or row["camera"] in cameras]


def _matrix(numbers: Sequence[float] | None, size: int, *, unknown: Float64) -> Float64:
    """Return a square matrix of a manifest's row; imported samples may have none."""
    return np.array(numbers, np.float64).reshape(size, size) if len(numbers or ()) == size * size else unknown


def _radar_names(provenance: Any) -> dict[int, str]:
    """Return the channel of each number in ``radar_points.sensor``."""
    listed = provenance.get("radar_sensors")
    if listed is None:
        return dict(enumerate(RADAR_CHANNELS))
    pairs = (entry.split(" ", 1) for entry in listed.split(", "))
    return {int(number): name for number, name in pairs}
