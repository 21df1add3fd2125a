"""The annotated objects of one scene in the frame of the rig, key frame by key frame, as the detector learns and measures them.

Reads  objects: tables ``objects`` (one row an object and key frame) and ``rigs`` (one row a key frame)
Source docs/method/formats.md#objects
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from model.uvtr.classes import RACK, class_of
from storage_schemas.errors import LayoutError
from storage_schemas.layout import Columns
from storage_schemas.store import StoredUnit

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Racks:
    """Bicycle racks of one key frame: bicycles and motorcycles inside one are not measured.

    Attributes:
        centers_m: (r, 3) gravity centres, rig frame, metres.
        sizes_wlh_m: (r, 3) width, length, height, metres.
        yaws_rad: (r,) heading of the length axis from x, counter-clockwise.
    """

    centers_m: Float64
    sizes_wlh_m: Float64
    yaws_rad: Float64

    def __len__(self) -> int:
        """Return the number of racks."""
        return len(self.yaws_rad)


@dataclass(frozen=True)
class FrameObjects:
    """The n objects of one key frame that belong to a class of the detection task, in the rig frame; do not write into them.

    Attributes:
        centers_m: (n, 3) float64 gravity centres, metres; x forward, y left, z up, the road near z = 0.
        sizes_wlh_m: (n, 3) width, length, height, metres.
        yaws_rad: (n,) heading of the length axis from x, counter-clockwise, -pi to pi.
        velocities_mps: (n, 2) over ground; NaN = not known.
        labels: (n,) int64 number in ``CLASSES``.
        num_points: (n,) int64 LiDAR and radar returns together; -1 = not said.
        attributes: (n,) str, e.g. vehicle.parked; several joined by a comma; empty = none.
        visibility: (n,) str visible share in the source's words, e.g. v40-60; empty = not said.
        instance_tokens: (n,) str the object over time.
        racks: bicycle racks of the key frame, which are no objects of a class.
    """

    centers_m: Float64
    sizes_wlh_m: Float64
    yaws_rad: Float64
    velocities_mps: Float64
    labels: NDArray[np.int64]
    num_points: NDArray[np.int64]
    attributes: NDArray[np.str_]
    visibility: NDArray[np.str_]
    instance_tokens: NDArray[np.str_]
    racks: Racks

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.labels)

    def where(self, is_wanted: NDArray[np.bool_]) -> FrameObjects:
        """Return the objects that a mask (n,) names, in their order; the racks stay."""
        chosen = {field.name: getattr(self, field.name)[is_wanted] for field in fields(self) if field.name != "racks"}
        return FrameObjects(**chosen, racks=self.racks)

    @property
    def has_returns(self) -> NDArray[np.bool_]:
        """Which objects (n,) were hit by LiDAR or radar, the rule of training and metric; objects without counts are kept."""
        has_returns: NDArray[np.bool_] = self.num_points != 0
        return has_returns


@dataclass(frozen=True)
class SceneObjects:
    """Objects of the f key frames of one scene.

    Attributes:
        sample_tokens: f key frames, in time order.
        times_us: (f,) int64 time of the rig.
        world_from_rig: (f, 4, 4) float64 pose of the ego frame at that time, metres.
        frames: f key frames' objects.
    """

    sample_tokens: tuple[str, ...]
    times_us: NDArray[np.int64]
    world_from_rig: Float64
    frames: tuple[FrameObjects, ...]

    def __len__(self) -> int:
        """Return the number of key frames."""
        return len(self.frames)

    def at(self, sample_token: str) -> FrameObjects:
        """Return the objects of a key frame; LayoutError if the scene has no such key frame."""
        return self.frames[self.number_of(sample_token)]

    def number_of(self, sample_token: str) -> int:
        """Return the number of a key frame in this scene; LayoutError if the scene has no such key frame."""
        try:
            return self.sample_tokens.index(sample_token)
        except ValueError as error:
            raise LayoutError(
                f"key frame '{sample_token}' is not among the {len(self)} of this scene's objects. The objects and the images of "
                "a manifest must be of one source: run the recipe again"
            ) from error


def open_objects(unit: StoredUnit) -> SceneObjects:
    """Return the content of an opened unit of the objects layout."""
    return objects_of({name: unit.table(name) for name in ("objects", "rigs")})


def objects_of(tables: Mapping[str, Columns]) -> SceneObjects:
    """Return the tables of an objects unit as arrays.

    Args:
        tables: ``objects``, in any order, and ``rigs``, one row a key frame in time order.
    """
    objects, rigs = tables["objects"], tables["rigs"]
    sample = np.asarray(objects["sample_index"], np.int64)
    label = np.array([-1 if (number := class_of(category)) is None else number for category in objects["category"]], np.int64)
    is_rack = np.array([category == RACK for category in objects["category"]], bool)
    every = FrameObjects(
        centers_m=_columns(objects, "x_m", "y_m", "z_m"),
        sizes_wlh_m=_columns(objects, "width_m", "length_m", "height_m"),
        yaws_rad=np.asarray(objects["yaw_rad"], np.float64),
        velocities_mps=_columns(objects, "vx_mps", "vy_mps"),
        labels=label,
        num_points=_num_points(objects),
        attributes=np.asarray(objects["attribute"], np.str_),
        visibility=np.asarray(objects["visibility"], np.str_),
        instance_tokens=np.asarray(objects["instance_token"], np.str_),
        racks=Racks(np.empty((0, 3)), np.empty((0, 3)), np.empty(0)),
    )
    frames = []
    for index in rigs["sample_index"]:
        racks = every.where((sample == index) & is_rack)
        of_class = every.where((sample == index) & (label >= 0))
        own = {field.name: getattr(of_class, field.name) for field in fields(of_class) if field.name != "racks"}
        frames.append(FrameObjects(**own, racks=Racks(racks.centers_m, racks.sizes_wlh_m, racks.yaws_rad)))
    return SceneObjects(
        tuple(rigs["sample_token"]),
        np.asarray(rigs["timestamp_us"], np.int64),
        np.asarray(rigs["world_from_rig"], np.float64).reshape(-1, 4, 4),
        tuple(frames),
    )


def _num_points(objects: Columns) -> NDArray[np.int64]:
    """Return the returns of both sensors together; -1 where neither is said."""
    counts = np.stack([np.asarray(objects[f"num_{sensor}_points"], np.int64) for sensor in ("lidar", "radar")])
    together: NDArray[np.int64] = np.where((counts < 0).all(axis=0), -1, np.maximum(counts, 0).sum(axis=0))
    return together


def _columns(table: Columns, *names: str) -> Float64:
    return np.stack([np.asarray(table[name], np.float64) for name in names], axis=1)
