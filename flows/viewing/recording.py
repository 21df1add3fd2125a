"""A Rerun recording of one scene: cameras, LiDAR, depth as points, radar, boxes, predictions and errors on one time line.

Why    A map looks right in the image and is wrong in space, or right alone and wrong beside its neighbours in time
Reads  ViewedScene, and a folder of predictions
Writes <scene>.rrd with a blueprint, which says what the viewer shows where

Entities, all in the scene's frame:
    world/ego                              where the car is
    world/camera/<camera>[/image]          pose, pinhole and image
    world/lidar/<channel>                  key sweeps as the sensor measured them
    world/depth/<store>/<camera>           depth maps as points, coloured by depth; removed: what cleaning took away
    world/radar/<camera>, world/velocity/<camera>   radar returns, and their velocity over ground as arrows
    world/boxes                            annotated boxes; world/predicted_boxes those of a detector
    world/errors/<what>/<camera>           points coloured by their error
    pictures/<camera>/<name>               the same pictures as in the report, by their names in ``pictures.TITLES``
    plots/...                              measured share, radar returns, mean absolute error, by frame
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rerun as rr
from numpy.typing import NDArray

from flows.reports.html.colormap import DROPPED, NEAR_M, color_of_step, depth_colors, error_colors
from flows.reports.html.pictures import jpeg_bytes
from flows.viewing.blueprint import blueprint_of
from flows.viewing.frame_content import Boxes, CameraFrame, Float64, KeyFrame
from flows.viewing.map_points import kept_share, points_of, thinned
from flows.viewing.pictures import ANNOTATED, MOVING, PREDICTED, errors_of, frame_pictures, removed_by_cleaning
from flows.viewing.predictions import Predictions
from flows.viewing.scene import ViewedScene
from storage_schemas.awaited import counted
from storage_schemas.files import written_whole

APPLICATION = "depthmill"
FRUSTUM_M = 2.0
"""Distance of the image's plane from its camera in the 3D view: small enough to hide nothing."""

RADIUS_PX, RADAR_RADIUS_PX = 1.5, 5.0
"""Radii of points, in pixels of the screen. Rerun writes these as negative numbers."""

ARROW_S = 1.0
"""An arrow is as long as the way in this time."""

LEAST_ARROW_MPS = 0.2
"""Slower returns get no arrow: it would be shorter than its own head."""


@dataclass
class Logged:
    """What a recording holds, for its blueprint and for the command's answer.

    Attributes:
        cameras: channels.
        entities: paths below which something was logged.
        pictures: names of the pictures that a camera has.
        num_frames: key frames.
        share: smallest share of a map's pixels that was kept.
    """

    cameras: tuple[str, ...]
    entities: set[str] = field(default_factory=set)
    pictures: dict[str, list[str]] = field(default_factory=dict)
    num_frames: int = 0
    share: float = 1.0


def write_recording(
    scene: ViewedScene,
    out: Path,
    *,
    predictions: Predictions | None,
    most_points: int,
    about: str,
) -> Logged:
    """Write the recording of a scene, whole or not at all.

    Args:
        scene: opened.
        out: file to write; replaced if it exists.
        predictions: None = there are none.
        most_points: points of a depth map or a sweep, at most; 0 = all.
        about: Markdown text that stands beside the views.

    Raises:
        StoreError: a unit cannot be read.
        SourceError: an image or a prediction is damaged.
        OSError: the file cannot be written.
    """
    with written_whole(out, is_flushed=False) as stream:
        recording = rr.RecordingStream(APPLICATION, recording_id=f"{scene.manifest.path.fingerprint}-{scene.name}")
        recording.save(stream.name)
        try:
            writer = SceneRecorder(recording, scene, predictions, most_points)
            writer.write(about)
            recording.send_blueprint(blueprint_of(writer.logged))
        finally:
            recording.disconnect()  # writes what is still in memory
    return writer.logged


class SceneRecorder:
    """Logs a scene, key frame by key frame.

    Args:
        recording: where to.
        scene: opened.
        predictions: None = there are none.
        most_points: points of a map, at most; 0 = all.
    """

    def __init__(
        self, recording: rr.RecordingStream, scene: ViewedScene, predictions: Predictions | None, most_points: int
    ) -> None:
        self._rec, self._scene, self._predictions, self._most = recording, scene, predictions, most_points
        self.logged = Logged(scene.cameras)

    def write(self, about: str) -> None:
        """Log everything."""
        is_upright = self._scene.has_index  # else there are poses of cameras only, whose y axis points down
        self._rec.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP if is_upright else rr.ViewCoordinates.RDF, static=True)
        self._rec.log("about", rr.TextDocument(about, media_type="text/markdown"), static=True)
        for key_frame in counted(self._scene.key_frames(), "key frames are recorded", total=len(self._scene)):
            self._key_frame(key_frame)
            self.logged.num_frames += 1

    def _log(self, path: str, *content: Any) -> None:
        self._rec.log(path, *content, strict=True)  # Rerun otherwise leaves out what it cannot convert, with a warning
        self.logged.entities.add(path)

    def _at(self, number: int, timestamp_us: int) -> None:
        self._rec.set_time("frame", sequence=number)
        self._rec.set_time("time", timestamp=np.datetime64(timestamp_us, "us"))

    def _key_frame(self, key_frame: KeyFrame) -> None:
        self._at(key_frame.number, key_frame.timestamp_us)
        if key_frame.scene_from_ego is not None:
            self._log("world/ego", _transform(key_frame.scene_from_ego))
        if key_frame.boxes is not None:
            self._log("world/boxes", _boxes(key_frame.boxes))
        for sweep in key_frame.sweeps:
            self._at(key_frame.number, sweep.timestamp_us)
            kept = slice(None, None, int(np.ceil(1 / kept_share(len(sweep.points_m), self._most))))
            self._points(
                f"world/lidar/{sweep.channel}", sweep.points_m[kept], depth_colors(np.maximum(sweep.range_m[kept], NEAR_M))
            )
        for frame in key_frame.cameras:
            self._at(key_frame.number, frame.timestamp_us)
            self._camera(frame, key_frame)

    def _camera(self, frame: CameraFrame, key_frame: KeyFrame) -> None:
        predicted = self._predictions.depth(frame.row) if self._predictions is not None else None
        found = self._found(frame)
        self._pinhole(frame)
        self._depth(frame, predicted)
        self._radar(frame)
        if frame.objects is not None:
            self._log(f"world/boxes/{frame.camera}", _boxes(frame.objects))
        if found is not None:
            self._log(f"world/predicted_boxes/{frame.camera}", _boxes(found, PREDICTED))
        of_camera = self.logged.pictures.setdefault(frame.camera, [])
        for name, picture in frame_pictures(frame, key_frame.boxes, predicted, found).items():
            if name not in of_camera:
                of_camera.append(name)
            image = rr.EncodedImage(contents=jpeg_bytes(picture), media_type="image/jpeg")
            self._log(f"pictures/{frame.camera}/{name}", image)

    def _pinhole(self, frame: CameraFrame) -> None:
        path = f"world/camera/{frame.camera}"
        height, width = frame.size
        pinhole = rr.Pinhole(
            image_from_camera=frame.intrinsic_px,
            resolution=[width, height],
            camera_xyz=rr.ViewCoordinates.RDF,
            image_plane_distance=FRUSTUM_M,
        )
        self._log(path, _transform(frame.scene_from_cam), pinhole)
        if frame.image is not None:
            self._log(f"{path}/image", rr.EncodedImage(contents=frame.image, media_type=_media_type(frame.image)))

    def _depth(self, frame: CameraFrame, predicted: NDArray[np.uint16] | None) -> None:
        maps = dict(frame.maps) if predicted is None else {**frame.maps, "predicted": predicted}
        shares = {name: kept_share(int(np.count_nonzero(steps)), self._most) for name, steps in maps.items()}
        if "depth_clean" in maps and "depth_accumulated" in maps:
            shares["depth_clean"] = shares["depth_accumulated"]  # so that a hole is what cleaning removed
            removed = removed_by_cleaning(frame)
            kept = thinned(removed, kept_share(int(np.count_nonzero(removed)), self._most))
            points = points_of(frame, frame.maps["depth_accumulated"], kept)
            self._points(f"world/depth/removed/{frame.camera}", points, DROPPED)
        for name, steps in maps.items():
            word = name.removeprefix("depth_")
            kept = thinned(steps > 0, shares[name])
            self.logged.share = min(self.logged.share, shares[name])
            self._points(f"world/depth/{word}/{frame.camera}", points_of(frame, steps, kept), color_of_step()[steps[kept]])
            self._number(f"plots/measured/{word}/{frame.camera}", 100.0 * float(np.count_nonzero(steps)) / steps.size)
        for errors in errors_of(frame, predicted):
            mask = errors.mask
            if mask.any():
                kept = thinned(mask, kept_share(int(np.count_nonzero(mask)), self._most))
                error_m = errors.error_m
                path = f"world/errors/{errors.of}/{frame.camera}"
                self._points(path, points_of(frame, errors.steps, kept), error_colors(error_m[kept[mask]]))
                self._number(f"plots/mae/{errors.of}/{frame.camera}", float(np.abs(error_m).mean()))

    def _radar(self, frame: CameraFrame) -> None:
        radar = frame.radar
        if radar is None:
            return
        colors = depth_colors(np.maximum(radar.depth_m, NEAR_M))
        self._points(f"world/radar/{frame.camera}", radar.points_m, colors, radius_px=RADAR_RADIUS_PX)
        speed = np.linalg.norm(radar.velocity_mps, axis=1)
        moves = speed >= LEAST_ARROW_MPS  # False for NaN
        arrows = rr.Arrows3D(
            origins=radar.points_m[moves],
            vectors=radar.velocity_mps[moves] * ARROW_S,
            colors=[MOVING],
            labels=[f"{mps:.1f} m/s" for mps in speed[moves]],
            show_labels=False,
        )
        self._log(f"world/velocity/{frame.camera}", arrows)
        self._number(f"plots/radar_returns/{frame.camera}", float(len(radar.points_m)))

    def _found(self, frame: CameraFrame) -> Boxes | None:
        if self._predictions is None:
            return None
        projection_px = self._scene.projection_px(frame)
        return self._predictions.objects(frame.row, projection_px, frame.scene_from_cam)

    def _points(self, path: str, points_m: Float64, colors: Any, *, radius_px: float = RADIUS_PX) -> None:
        self._log(path, rr.Points3D(points_m.astype(np.float32), colors=colors, radii=-radius_px))

    def _number(self, path: str, value: float) -> None:
        self._log(path, rr.Scalars(value))


def _transform(parent_from_child: Float64) -> rr.Transform3D:
    return rr.Transform3D(translation=parent_from_child[:3, 3], mat3x3=parent_from_child[:3, :3])


def _boxes(boxes: Boxes, color: tuple[int, int, int] | None = None) -> rr.Boxes3D:
    wxyz = boxes.scene_from_box_wxyz
    return rr.Boxes3D(
        centers=boxes.center_m,
        half_sizes=boxes.half_size_m,
        quaternions=np.roll(wxyz, -1, axis=1),  # Rerun writes x, y, z, w
        colors=[color or (MOVING if moves else ANNOTATED) for moves in boxes.is_moving],
        labels=list(boxes.labels),
        show_labels=False,
    )


def _media_type(content: bytes) -> str:
    return "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
