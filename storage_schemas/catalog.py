"""All store layouts in one list: the contract between the pipeline that writes and the models that read.

Dimension names: ``frame`` key frames of one camera in time order; ``y`` rows downward; ``x`` columns to the right;
``grid_y``, ``grid_x`` a depth teacher's own grid, spread evenly over the image;
``point`` radar returns of all frames one after the other; ``byte`` bytes of an encoded image, padded with zeros.
Frames: ``world`` is the data set's global frame (metres); ``ego`` x forward, y left, z up; ``cam`` x right, y down, z forward.
"""

from __future__ import annotations

from functools import cache

from storage_schemas.encoding import NO_MEASUREMENT, STEPS_PER_M
from storage_schemas.errors import UnknownLayoutError
from storage_schemas.layout import PIN_PREFIX, ArraySpec, ColumnSpec, StoreLayout, TableSpec, pin_column
from storage_schemas.plug_ins import loaded_plug_ins

RADAR_CHANNELS = ("RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT", "RADAR_BACK_LEFT", "RADAR_BACK_RIGHT")
"""Radar sensors of nuScenes by the number stored in ``radar_points.sensor``; other channels have the numbers after them."""

SURFACES = ("none", "static", "moving_annotated", "moving_unannotated", "parked_annotated")
"""What a pixel of the simulated world shows, by the number stored in ``depth_truth.surface``."""

VALUE_KINDS = ("inverse_relative", "relative", "metric")
"""What a depth teacher's value means, by the number stored in ``depth_mono_raw.value_kind``."""

OBJECT_TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", "DontCare")
"""KITTI's type names, as ``boxes.category`` holds them; DontCare marks a region in which nothing was annotated."""

_TIME = ArraySpec("timestamp_us", ("frame",), "int64", "us", "time stamp of the image, microseconds since 1970")
_MEASURED = ArraySpec("num_measured", ("frame",), "int32", "1", "pixels with a measurement")


def _depth(description: str) -> ArraySpec:
    return ArraySpec("depth_m", ("frame", "y", "x"), "uint16", "m", description, scale=1.0 / STEPS_PER_M, invalid=NO_MEASUREMENT)


def _of_pixel(name: str, description: str, *, scale: float | None = None) -> ArraySpec:
    """Return an array that a recipe may ask for, of what is known of each pixel's returns."""
    return ArraySpec(name, ("frame", "y", "x"), "uint8", "1", description, scale=scale, is_required=False)


_IMAGE_FILE = (
    ColumnSpec("timestamp_us", "int64", "us", "time of the image"),
    ColumnSpec("file", "string", "", "path below the source's root"),
    ColumnSpec("height", "int32", "pixel", "image height"),
    ColumnSpec("width", "int32", "pixel", "image width"),
    ColumnSpec("intrinsic_px", "list<double>", "pixel", "3x3 camera matrix, row-major"),
    ColumnSpec("ego_from_cam_translation_m", "list<double>", "m", "calibration"),
    ColumnSpec("ego_from_cam_rotation_wxyz", "list<double>", "1", "calibration"),
    ColumnSpec("world_from_ego_translation_m", "list<double>", "m", "ego pose at the image's time"),
    ColumnSpec("world_from_ego_rotation_wxyz", "list<double>", "1", "ego pose at the image's time"),
)
"""Columns of an image that lies in the source: when, where, how large, and how the camera saw."""

FRAMES = StoreLayout(
    name="frames",
    version=1,
    description="Index of one scene: its key frames, its sweeps with poses, and its annotated boxes",
    per="scene",
    is_pinned=False,
    tables=(
        TableSpec(
            "keyframes",
            description="one row per key frame and camera, in time order",
            columns=(
                ColumnSpec("camera", "string", "", "camera channel"),
                ColumnSpec("sample_token", "string", "", "key frame"),
                ColumnSpec("sample_data_token", "string", "", "image"),
                ColumnSpec("sample_index", "int32", "1", "number of the key frame within the scene, from 0"),
                *_IMAGE_FILE,
            ),
        ),
        TableSpec(
            "sweeps",
            description="one row per LiDAR or radar file, by channel, in time order",
            columns=(
                ColumnSpec("channel", "string", "", "sensor channel"),
                ColumnSpec("sample_index", "int32", "1", "key frame the file belongs to (nuScenes: the next one)"),
                ColumnSpec("is_keyframe", "bool", "1", "the file is the key frame's own"),
                ColumnSpec("chain", "int32", "1", "number of the unbroken prev/next chain within the channel"),
                ColumnSpec("timestamp_us", "int64", "us", "time of the file"),
                ColumnSpec("file", "string", "", "path below the source's root"),
                ColumnSpec("ego_from_sensor_translation_m", "list<double>", "m", "calibration"),
                ColumnSpec("ego_from_sensor_rotation_wxyz", "list<double>", "1", "calibration"),
                ColumnSpec("world_from_ego_translation_m", "list<double>", "m", "ego pose at the file's time"),
                ColumnSpec("world_from_ego_rotation_wxyz", "list<double>", "1", "ego pose at the file's time"),
            ),
        ),
        TableSpec(
            "boxes",
            description="one row per annotated box and key frame, in key-frame order",
            columns=(
                ColumnSpec("annotation_token", "string", "", "sample_annotation"),
                ColumnSpec("instance_token", "string", "", "the object over time"),
                ColumnSpec("sample_index", "int32", "1", "key frame"),
                ColumnSpec("sample_timestamp_us", "int64", "us", "time of the key frame"),
                ColumnSpec("category", "string", "", "category name, e.g. vehicle.car"),
                ColumnSpec("center_m", "list<double>", "m", "box centre in the world frame"),
                ColumnSpec("size_wlh_m", "list<double>", "m", "width, length, height"),
                ColumnSpec("world_from_box_wxyz", "list<double>", "1", "orientation; box x forward, y left, z up"),
                ColumnSpec("speed_mps", "double", "m s-1", "horizontal speed by central differences", is_nullable=True),
            ),
        ),
        TableSpec(
            "scene",
            description="one row",
            columns=(
                ColumnSpec("scene", "string", "", "scene name"),
                ColumnSpec("split", "string", "", "train, val or test in the source's official split; empty if in none"),
                ColumnSpec("description", "string", "", "the source's own words"),
                ColumnSpec("is_night", "bool", "1", "the description contains 'night' in any case"),
                ColumnSpec("num_keyframes", "int32", "1", "key frames"),
            ),
        ),
    ),
)

CAMERA_SWEEPS = StoreLayout(
    name="camera_sweeps",
    version=1,
    description="Index of one scene's images at the rate of its cameras: key frames and what lies between them, with poses",
    per="scene",
    is_pinned=False,
    tables=(
        TableSpec(
            "camera_sweeps",
            description="one row per image, by camera, in time order",
            columns=(
                ColumnSpec("camera", "string", "", "camera channel"),
                ColumnSpec("sample_index", "int32", "1", "key frame the image belongs to (nuScenes: the next one)"),
                ColumnSpec("is_keyframe", "bool", "1", "the image is the key frame's own"),
                ColumnSpec("chain", "int32", "1", "number of the unbroken prev/next chain within the camera"),
                *_IMAGE_FILE,
            ),
        ),
    ),
)

DEPTH_SINGLE = StoreLayout(
    name="depth_single",
    version=1,
    description="Depth of the key LiDAR sweep alone: sparse anchor and evaluation target (D_gt)",
    arrays=(_depth("depth along the optical axis of the key LiDAR sweep"), _MEASURED, _TIME),
)

DEPTH_ACCUMULATED = StoreLayout(
    name="depth_accumulated",
    version=1,
    description="Depth of many LiDAR sweeps around the key frame (D_acc), nearest return or front surface of each pixel",
    arrays=(
        _depth("depth along the optical axis: the nearest of the accumulated LiDAR returns, or their front surface"),
        _MEASURED,
        _TIME,
        ArraySpec("num_sweeps", ("frame",), "int32", "1", "sweeps in the frame's window"),
        ArraySpec("num_points", ("frame",), "int64", "1", "LiDAR returns in the frame's window after the moving filter"),
        _of_pixel("confidence", "how far the depth can be trusted: 255 = a wrong depth in 10,000, 0 = every second or no depth"),
        _of_pixel("num_returns", "returns in the front layer of the pixel; 255 = that many or more"),
        _of_pixel("front_share", "share of the pixel's returns that lie in its front layer", scale=1.0 / 255),
        _of_pixel("spread", "from the nearest return of the front layer to its farthest, over the nearest", scale=1.0 / 512),
        _of_pixel("free_votes", "sweeps that see through a return of the front layer, of the one that most see through"),
    ),
)

DEPTH_CLEAN = StoreLayout(
    name="depth_clean",
    version=1,
    description="Accumulated depth without the returns that hang over the horizon or lie behind a surface (D_acc clean): the "
    "dense training target",
    arrays=(
        _depth("cleaned depth along the optical axis"),
        _MEASURED,
        _TIME,
        ArraySpec("num_candidates", ("frame",), "int32", "1", "pixels that pass A: near and in the upper image"),
        ArraySpec("num_by_mono", ("frame",), "int32", "1", "candidates that pass B: monocular depth says far"),
        ArraySpec("num_by_window", ("frame",), "int32", "1", "candidates that pass C: the neighbourhood is far"),
        ArraySpec("num_dropped", ("frame",), "int32", "1", "pixels set to 0 = A and (B or C)"),
        ArraySpec(
            "num_occluded",
            ("frame",),
            "int32",
            "1",
            "further pixels set to 0: a surface around them hides them",
            is_required=False,
        ),
    ),
)

DEPTH_INTERPOLATED = StoreLayout(
    name="depth_interpolated",
    version=1,
    description="Depth interpolated between the measured pixels of a sparse map: another dense training target (gt_interp)",
    arrays=(_depth("interpolated depth along the optical axis, 0 outside the hull of the measured pixels"), _MEASURED, _TIME),
)

DEPTH_MONO_RAW = StoreLayout(
    name="depth_mono_raw",
    version=1,
    description="What a monocular depth teacher said, on its own grid, not aligned",
    is_pinned=False,
    arrays=(
        ArraySpec(
            "value",
            ("frame", "grid_y", "grid_x"),
            "float16",
            "1",
            "inverse_relative: a/depth + b, a > 0; relative: a x depth, a > 0; metric: metres; of the last two 0 = nothing",
        ),
        ArraySpec(
            "confidence",
            ("frame", "grid_y", "grid_x"),
            "float16",
            "1",
            "larger = surer, in the teacher's own scale",
            is_required=False,
        ),
        ArraySpec("is_sky", ("frame", "grid_y", "grid_x"), "uint8", "1", "sky", flags=("not_sky", "sky"), is_required=False),
        ArraySpec("value_kind", ("frame",), "uint8", "1", "what the value means", flags=VALUE_KINDS),
        _TIME,
    ),
)

DEPTH_MONO = StoreLayout(
    name="depth_mono",
    version=1,
    description="Monocular depth aligned to metres (D*): input of cleaning and of the plug-in branch; a frame without a fit is 0",
    arrays=(
        _depth("aligned monocular depth"),
        _MEASURED,
        _TIME,
        ArraySpec("num_anchors", ("frame",), "int32", "1", "pixels or boxes the frame was fitted to", is_required=False),
        ArraySpec("fit_scale", ("frame",), "float64", "m-1", "1/depth = scale x inverse + shift; 0 = no fit", is_required=False),
        ArraySpec("fit_shift_per_m", ("frame",), "float64", "m-1", "shift of the same fit", is_required=False),
    ),
)

DEPTH_TRUTH = StoreLayout(
    name="depth_truth",
    version=1,
    description="Exact depth of a simulated world at every pixel",
    arrays=(
        _depth("exact depth along the optical axis at the pixel centre"),
        _MEASURED,
        _TIME,
        ArraySpec("surface", ("frame", "y", "x"), "uint8", "1", "what the pixel shows", flags=SURFACES),
    ),
)

RADAR_POINTS = StoreLayout(
    name="radar_points",
    version=1,
    description="Radar returns inside the image, of the key frame or of sweeps around it, at full precision",
    arrays=(
        ArraySpec("u_px", ("point",), "float64", "pixel", "column coordinate in the image"),
        ArraySpec("v_px", ("point",), "float64", "pixel", "row coordinate in the image"),
        ArraySpec("depth_m", ("point",), "float64", "m", "depth along the optical axis"),
        ArraySpec("rcs_dbsm", ("point",), "float32", "dB", "radar cross-section, dB above one square metre; NaN = unknown"),
        ArraySpec("vx_comp_mps", ("point",), "float32", "m s-1", "velocity along radar x, ego motion removed; NaN = unknown"),
        ArraySpec("vy_comp_mps", ("point",), "float32", "m s-1", "velocity along radar y, ego motion removed; NaN = unknown"),
        ArraySpec(
            "sensor",
            ("point",),
            "uint8",
            "1",
            "radar that saw the return",
            flags=RADAR_CHANNELS,
            remark="; from 5: the recipe's other channels in their order, named in lineage.json (provenance.radar_sensors)",
        ),
        ArraySpec("frame_of_point", ("point",), "int32", "1", "frame of the return; ascending"),
        ArraySpec(
            "time_lag_s",
            ("point",),
            "float32",
            "s",
            "image time minus radar sweep time, positive = measured before the image; absent = key frames' own sweeps only",
            is_required=False,
        ),
        ArraySpec("num_points", ("frame",), "int32", "1", "returns in the image"),
        _TIME,
    ),
)

IMAGES = StoreLayout(
    name="images",
    version=1,
    description="The camera's own encoded image files: their bytes, or references to them",
    arrays=(
        ArraySpec(
            "encoded",
            ("frame", "byte"),
            "uint8",
            "1",
            "bytes of the image file, padded with zeros",
            is_required=False,
            is_compressed=False,
        ),
        ArraySpec("num_bytes", ("frame",), "int32", "1", "length of the image file"),
        _TIME,
    ),
    tables=(
        TableSpec(
            "files",
            description="one row per frame",
            columns=(
                ColumnSpec("file", "string", "", "path below the source's root"),
                ColumnSpec("num_bytes", "int64", "1", "length of the file"),
                ColumnSpec("sha256", "string", "", "digest of the file"),
            ),
        ),
    ),
)

BOXES = StoreLayout(
    name="boxes",
    version=1,
    description="Annotated objects of every image as KITTI describes them, and the projection that belongs to them",
    tables=(
        TableSpec(
            "boxes",
            description="one row per object and frame, in frame order",
            columns=(
                ColumnSpec("frame", "int32", "1", "index along the key frames of this scene and camera"),
                ColumnSpec("category", "string", "", f"KITTI type: {', '.join(OBJECT_TYPES)}"),
                ColumnSpec("source_category", "string", "", "category in the source's own words, e.g. vehicle.car"),
                ColumnSpec("instance_token", "string", "", "the object over time; null = not said", is_nullable=True),
                ColumnSpec("truncation", "double", "1", "share outside the image, 0 to 1; -1 = not known"),
                ColumnSpec("occlusion", "int32", "1", "0 visible, 1 partly, 2 largely hidden, 3 unknown; -1 = not said"),
                ColumnSpec("alpha_rad", "double", "rad", "observation angle, -pi to pi; -10 = not said"),
                ColumnSpec("left_px", "double", "pixel", "left side in the image"),
                ColumnSpec("top_px", "double", "pixel", "upper side in the image"),
                ColumnSpec("right_px", "double", "pixel", "right side in the image"),
                ColumnSpec("bottom_px", "double", "pixel", "lower side in the image"),
                ColumnSpec("height_m", "double", "m", "height; -1 = not said"),
                ColumnSpec("width_m", "double", "m", "width; -1 = not said"),
                ColumnSpec("length_m", "double", "m", "length; -1 = not said"),
                ColumnSpec("x_m", "double", "m", "centre of the bottom face, to the right; -1000 = not said"),
                ColumnSpec("y_m", "double", "m", "centre of the bottom face, downward; -1000 = not said"),
                ColumnSpec("z_m", "double", "m", "centre of the bottom face, forward; -1000 = not said"),
                ColumnSpec("rotation_y_rad", "double", "rad", "turn about the y axis, 0 = length along x; -10 = not said"),
            ),
        ),
        TableSpec(
            "calibration",
            description="one row per frame",
            columns=(
                ColumnSpec("frame", "int32", "1", "index along the key frames of this scene and camera"),
                ColumnSpec(
                    "projection_px", "list<double>", "pixel", "3x4 projection of the frame that the boxes are in, row-major"
                ),
                ColumnSpec("is_annotated", "bool", "1", "objects were annotated here; false = it is not known what there is"),
            ),
        ),
    ),
)

WINDOWS = StoreLayout(
    name="windows",
    version=1,
    description="Clips of one scene: which frames of all cameras belong together, and where each camera was; no pixels",
    per="scene",
    tables=(
        TableSpec(
            "windows",
            description="one row per window and frame of it, windows in time order",
            columns=(
                ColumnSpec("window", "int32", "1", "number of the window within the scene, from 0"),
                ColumnSpec("step", "int32", "1", "frame of the window: 0 = the newest, its key frame; then into the past"),
                ColumnSpec("sample_index", "int32", "1", "number of the key frame within the scene, from 0"),
            ),
        ),
        TableSpec(
            "sweep_rigs",
            description="where older frames lie between key frames, and `windows` therefore has step 0 only: one row per window "
            "and frame of it, the newest too",
            columns=(
                ColumnSpec("window", "int32", "1", "number of the window within the scene, from 0"),
                ColumnSpec("step", "int32", "1", "frame of the window: 0 = the newest, its key frame; then into the past"),
                ColumnSpec("timestamp_us", "int64", "us", "time of the rig: its LiDAR sweep's; without one the first camera's"),
                ColumnSpec("world_from_rig", "list<double>", "1", "4x4 pose of the ego frame at that time, metres, row-major"),
                ColumnSpec(
                    "lidar_sweep",
                    "int32",
                    "1",
                    "row of frames.sweeps: of step 0 the key sweep, else the one nearest to the middle of the images' times; "
                    "null = none",
                    is_nullable=True,
                ),
                ColumnSpec("lidar_file", "string", "", "path of the sweep below the source's root", is_nullable=True),
                ColumnSpec("lidar_sha256", "string", "", "digest of the file", is_nullable=True),
                ColumnSpec(
                    "lidar_columns",
                    "int32",
                    "1",
                    "the file is float32, little-endian, so many a return; x, y, z first, metres in the sensor frame",
                    is_nullable=True,
                ),
                ColumnSpec("rig_from_lidar", "list<double>", "1", "4x4, metres, row-major: sensor to rig", is_nullable=True),
            ),
            is_required=False,
        ),
        TableSpec(
            "sweep_views",
            description="one row per row of `sweep_rigs` and camera; cameras in the order asked for",
            columns=(
                ColumnSpec("window", "int32", "1", "number of the window within the scene, from 0"),
                ColumnSpec("step", "int32", "1", "frame of the window"),
                ColumnSpec("camera", "string", "", "camera channel"),
                ColumnSpec("timestamp_us", "int64", "us", "time of the image"),
                ColumnSpec("file", "string", "", "path of the image below the source's root"),
                ColumnSpec("sha256", "string", "", "digest of the file"),
                ColumnSpec("height", "int32", "pixel", "image height"),
                ColumnSpec("width", "int32", "pixel", "image width"),
                ColumnSpec("intrinsic_px", "list<double>", "pixel", "3x3 camera matrix, row-major"),
                ColumnSpec(
                    "cam_from_rig", "list<double>", "1", "4x4, metres, row-major: rig at its time to camera at the image's time"
                ),
            ),
            is_required=False,
        ),
        TableSpec(
            "rigs",
            description="one row per key frame that belongs to a window, in time order",
            columns=(
                ColumnSpec("sample_index", "int32", "1", "number of the key frame within the scene, from 0"),
                ColumnSpec("sample_token", "string", "", "key frame"),
                ColumnSpec(
                    "timestamp_us", "int64", "us", "time of the rig: its key LiDAR sweep's; without one the first camera's"
                ),
                ColumnSpec("world_from_rig", "list<double>", "1", "4x4 pose of the ego frame at that time, metres, row-major"),
                ColumnSpec("lidar_sweep", "int32", "1", "its key sweep: row of frames.sweeps; null = none", is_nullable=True),
            ),
        ),
        TableSpec(
            "views",
            description="one row per key frame that belongs to a window and camera; cameras in the order asked for",
            columns=(
                ColumnSpec("sample_index", "int32", "1", "number of the key frame within the scene, from 0"),
                ColumnSpec("camera", "string", "", "camera channel"),
                ColumnSpec("frame", "int32", "1", "index along the key frames of this scene and camera"),
                ColumnSpec("timestamp_us", "int64", "us", "time of the image"),
                ColumnSpec(
                    "cam_from_rig", "list<double>", "1", "4x4, metres, row-major: rig at its time to camera at the image's time"
                ),
                ColumnSpec(
                    "lidar_sweep",
                    "int32",
                    "1",
                    "LiDAR sweep nearest in time: row of frames.sweeps; null = none",
                    is_nullable=True,
                ),
                ColumnSpec("lidar_lag_us", "int64", "us", "time of that sweep minus time of the image", is_nullable=True),
            ),
        ),
    ),
)

OBJECTS = StoreLayout(
    name="objects",
    version=1,
    description="Annotated objects of one scene in the frame of the rig at every key frame, for detectors of all cameras",
    per="scene",
    tables=(
        TableSpec(
            "objects",
            description="one row per object and key frame, in the order of key frames",
            columns=(
                ColumnSpec("sample_index", "int32", "1", "number of the key frame within the scene, from 0: row of `rigs`"),
                ColumnSpec("annotation_token", "string", "", "the annotation"),
                ColumnSpec("instance_token", "string", "", "the object over time"),
                ColumnSpec("category", "string", "", "category in the source's own words, e.g. vehicle.car"),
                ColumnSpec("attribute", "string", "", "e.g. vehicle.parked; several joined by a comma; empty = none"),
                ColumnSpec("x_m", "double", "m", "gravity centre in the rig frame, forward"),
                ColumnSpec("y_m", "double", "m", "gravity centre in the rig frame, to the left"),
                ColumnSpec("z_m", "double", "m", "gravity centre in the rig frame, up; the road is near 0"),
                ColumnSpec("width_m", "double", "m", "width, across the heading"),
                ColumnSpec("length_m", "double", "m", "length, along the heading"),
                ColumnSpec("height_m", "double", "m", "height"),
                ColumnSpec("yaw_rad", "double", "rad", "heading about the z axis from x, counter-clockwise, -pi to pi"),
                ColumnSpec("vx_mps", "double", "m s-1", "velocity over ground in the rig frame, forward; NaN = not known"),
                ColumnSpec("vy_mps", "double", "m s-1", "velocity over ground in the rig frame, to the left; NaN = not known"),
                ColumnSpec("num_lidar_points", "int32", "1", "LiDAR returns inside, as annotated; -1 = not said"),
                ColumnSpec("num_radar_points", "int32", "1", "radar returns inside, as annotated; -1 = not said"),
                ColumnSpec("visibility", "string", "", "visible share in the source's words, e.g. v40-60; empty = not said"),
            ),
        ),
        TableSpec(
            "rigs",
            description="one row per key frame, in time order",
            columns=(
                ColumnSpec("sample_index", "int32", "1", "number of the key frame within the scene, from 0"),
                ColumnSpec("sample_token", "string", "", "key frame"),
                ColumnSpec("timestamp_us", "int64", "us", "time of the rig: its key LiDAR sweep's; without one an image's"),
                ColumnSpec("world_from_rig", "list<double>", "1", "4x4 pose of the ego frame at that time, metres, row-major"),
            ),
        ),
    ),
)

_STORES = (
    FRAMES,
    CAMERA_SWEEPS,
    IMAGES,
    DEPTH_SINGLE,
    DEPTH_ACCUMULATED,
    DEPTH_CLEAN,
    DEPTH_INTERPOLATED,
    DEPTH_MONO_RAW,
    DEPTH_MONO,
    DEPTH_TRUTH,
    RADAR_POINTS,
    BOXES,
    WINDOWS,
)
"""Stores that a manifest always has a column for."""

_LATER_STORES = (OBJECTS,)
"""Stores that came later: a manifest has a column for one only if it pins it, so that other manifests keep their bytes."""


def _pin(layout: StoreLayout) -> ColumnSpec:
    return pin_column(layout.pin, "; one unit for all cameras of a scene" if layout.per == "scene" else "")


MANIFEST = StoreLayout(
    name="manifest",
    version=1,
    description="One row per training sample, pinning the very units it is made of",
    per="dataset",
    is_pinned=False,
    tables=(
        TableSpec(
            "samples",
            description="one row per key frame and camera, scenes in the source's order",
            open_prefix=PIN_PREFIX,
            columns=(
                ColumnSpec("frame_key", "string", "", "<scene>/<camera>/<timestamp_us>: unique"),
                ColumnSpec("scene", "string", "", "scene name"),
                ColumnSpec("camera", "string", "", "camera channel"),
                ColumnSpec("frame", "int32", "1", "index along 'frame' inside the scene's units"),
                ColumnSpec("split", "string", "", "train, val or test; empty if the scene is in no official split"),
                ColumnSpec("is_night", "bool", "1", "recorded at night"),
                ColumnSpec("sample_token", "string", "", "key frame"),
                ColumnSpec("sample_data_token", "string", "", "image"),
                ColumnSpec("timestamp_us", "int64", "us", "time of the image"),
                ColumnSpec("file", "string", "", "image path below the source's root"),
                ColumnSpec("height", "int32", "pixel", "image height"),
                ColumnSpec("width", "int32", "pixel", "image width"),
                ColumnSpec("intrinsic_px", "list<double>", "pixel", "3x3 camera matrix, row-major"),
                ColumnSpec("world_from_cam", "list<double>", "1", "4x4 pose of the camera at the image's time, row-major"),
                ColumnSpec("coverage_single", "double", "1", "share of pixels measured in depth_single", is_nullable=True),
                ColumnSpec("coverage_accumulated", "double", "1", "share measured in depth_accumulated", is_nullable=True),
                ColumnSpec("coverage_clean", "double", "1", "share measured in depth_clean", is_nullable=True),
                ColumnSpec("num_dropped", "int32", "1", "pixels removed by clean_horizon", is_nullable=True),
                ColumnSpec("num_radar_points", "int32", "1", "radar returns inside the image", is_nullable=True),
                ColumnSpec("num_boxes", "int32", "1", "annotated objects, DontCare left out", is_nullable=True),
                *(_pin(layout) for layout in _STORES if layout.is_pinned),
            ),
        ),
    ),
)

LAYOUTS = (*_STORES, *_LATER_STORES, MANIFEST)
"""Every store of the project; packages outside may bring others, see ``known_layouts``."""

_BY_NAME = {layout.name: layout for layout in LAYOUTS}


@cache
def known_layouts() -> dict[str, StoreLayout]:
    """Return every store by name: the project's own, and those that installed plug-in stages write."""
    layouts = dict(_BY_NAME)
    for _, stage in loaded_plug_ins("depthmill.stages").values():
        layout = getattr(stage, "writes", None)
        if isinstance(layout, StoreLayout):
            layouts.setdefault(layout.name, layout)  # pipeline.stage_list reports what is wrong with a stage
    return layouts


def find_layout(name: str) -> StoreLayout | None:
    """Return the layout of a store by its name, None for an unknown one; only a name that is not our own loads plug-ins."""
    return _BY_NAME.get(name) or known_layouts().get(name)


def layout_named(name: str) -> StoreLayout:
    """Return the layout of a store by its name.

    Raises:
        UnknownLayoutError: neither this depthmill nor an installed plug-in stage knows it.
    """
    layout = find_layout(name)
    if layout is None:
        raise UnknownLayoutError(
            f"store '{name}' is not known: neither this depthmill nor an installed plug-in stage writes it. Install the package "
            "that brings it, or choose another store"
        )
    return layout


def catalog_page() -> str:
    """Return every store as one Markdown page; ``python -m storage_schemas`` writes it to storage_schemas/README.md."""
    lines = [
        "# Every store on one page",
        "",
        "Made from `catalog.py` by `python -m storage_schemas`; a test keeps it true. A unit lives at",
        "`<store>/<layout>/<scene>/<camera>/<fingerprint>/`: a Zarr v3 group, Parquet tables, and `lineage.json`, written last.",
        "A folder without `lineage.json` does not exist for a reader. Units never change; a manifest names those it is made of.",
        "",
        "```python",
        "import xarray",
        "",
        "from storage_schemas.dataset import open_dataset",
        "from storage_schemas.manifest import open_manifest",
        "from storage_schemas.store import Store",
        "",
        'xarray.open_zarr("<store>/depth_clean/scene-0061/CAM_FRONT/<fingerprint>")  # one unit',
        'open_dataset(open_manifest(Store("<store>")))  # the newest manifest, lazily, over frames',
        "```",
    ]
    for layout in LAYOUTS:
        lines += ["", f"## {layout.name} (v{layout.version})", "", f"{layout.description}.", ""]
        if layout.arrays:
            lines += ["| array | dims | stored as | unit | invalid | what |", "|---|---|---|---|---|---|"]
        for array in layout.arrays:
            stored = array.dtype if array.scale is None else f"{array.dtype} x 1/{round(1 / array.scale)}"
            what = array.description + (
                f": {', '.join(f'{k} {name}' for k, name in enumerate(array.flags))}" if array.flags else ""
            )
            what += array.remark + ("" if array.is_required else " (optional)")
            invalid = "" if array.invalid is None else str(array.invalid)
            lines.append(f"| {array.name} | {', '.join(array.dims)} | {stored} | {array.unit} | {invalid} | {what} |")
        for table in layout.tables:
            lines += [
                "",
                f"`{table.name}.parquet`: {table.description}",
                "",
                "| column | type | unit | what |",
                "|---|---|---|---|",
            ]
            for column in table.columns:
                kind = column.type + (" or null" if column.is_nullable else "")
                lines.append(f"| {column.name} | {kind} | {column.unit} | {column.description} |")
    return "\n".join(lines) + "\n"
