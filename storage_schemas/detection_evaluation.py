"""An evaluation of detections on disk: the frames, and the annotated and the detected objects of each, as they were measured.

Beside the tables that people read. Average precision is one number of all frames together, so two detectors are compared over
scenes by measuring draws of scenes: that takes the objects themselves, to the bit. Whether the depth of a detection is wrong, or
its place in the image, is asked along the ray of its camera.

Writes measured_frames.parquet, objects.parquet, and cameras.parquet, which evaluations of former versions lack
"""

from __future__ import annotations

from collections import Counter

from storage_schemas.errors import LayoutError
from storage_schemas.evaluation import read_evaluation_table, write_evaluation_tables
from storage_schemas.files import StoreFiles
from storage_schemas.layout import Columns, ColumnSpec, StoreLayout, TableSpec, UnitData, check

MEASURED_FRAMES = TableSpec(
    "measured_frames",
    description="one row per frame that was measured, in the order of the split",
    columns=(
        ColumnSpec("frame_key", "string", "", "<scene>/<camera>/<timestamp_us>"),
        ColumnSpec("result", "string", "", "name of its result file, without .txt"),
        ColumnSpec("height_scale", "double", "1", "the benchmark's least box heights were multiplied by it"),
    ),
)

OBJECTS = TableSpec(
    "objects",
    description="one row per annotated or detected object, in the order of the frames",
    columns=(
        ColumnSpec("frame_key", "string", "", "<scene>/<camera>/<timestamp_us>"),
        ColumnSpec("is_found", "bool", "1", "true: a detection; false: an annotation"),
        ColumnSpec("category", "string", "", "KITTI's type, e.g. Car or DontCare"),
        ColumnSpec("truncation", "double", "1", "share outside the image, 0 to 1; -1 = not known"),
        ColumnSpec("occlusion", "int64", "1", "0 visible, 1 partly, 2 largely hidden, 3 unknown; -1 = not said"),
        ColumnSpec("alpha_rad", "double", "rad", "observation angle; -10 = not said"),
        ColumnSpec("left_px", "double", "px", "box in the whole image"),
        ColumnSpec("top_px", "double", "px", "box in the whole image"),
        ColumnSpec("right_px", "double", "px", "box in the whole image"),
        ColumnSpec("bottom_px", "double", "px", "box in the whole image"),
        ColumnSpec("height_m", "double", "m", "-1 = not said"),
        ColumnSpec("width_m", "double", "m", "-1 = not said"),
        ColumnSpec("length_m", "double", "m", "-1 = not said"),
        ColumnSpec("x_m", "double", "m", "bottom centre in the camera's frame, to the right; -1000 = not said"),
        ColumnSpec("y_m", "double", "m", "bottom centre in the camera's frame, down; -1000 = not said"),
        ColumnSpec("z_m", "double", "m", "bottom centre in the camera's frame, forward; -1000 = not said"),
        ColumnSpec("rotation_y_rad", "double", "rad", "turn about the y axis; -10 = not said"),
        ColumnSpec("score", "double", "1", "larger = surer; 0 of an annotation"),
    ),
)

CAMERAS = TableSpec(
    "cameras",
    description="one row per frame that was measured: how its camera shows the objects' frame",
    columns=(
        ColumnSpec("frame_key", "string", "", "<scene>/<camera>/<timestamp_us>"),
        ColumnSpec("image_width_px", "int64", "px", "columns of the whole image"),
        ColumnSpec("image_height_px", "int64", "px", "rows of the whole image"),
        ColumnSpec("projection_px", "list<double>", "px", "the objects' frame to pixels of the whole image, 3x4, row-major"),
    ),
)

DETECTION_EVALUATION = StoreLayout(
    name="detection_evaluation",
    version=1,
    description="Annotated and detected objects of one detector on one manifest, frame by frame",
    tables=(MEASURED_FRAMES, OBJECTS),
)

DETECTION_CAMERAS = StoreLayout(
    name="detection_cameras",
    version=1,
    description="Cameras of the frames of a detection_evaluation",
    tables=(CAMERAS,),
)

DETECTION_FILES = tuple(f"{spec.name}.parquet" for spec in DETECTION_EVALUATION.tables)

CAMERAS_FILE = f"{CAMERAS.name}.parquet"


def write_detection_evaluation(folder: str, frames: Columns, objects: Columns) -> None:
    """Write the objects of an evaluation, each file atomically, the frames last.

    Args:
        folder: path or URL; what it holds of a former evaluation is replaced.
        frames: columns of MEASURED_FRAMES.
        objects: columns of OBJECTS.

    Raises:
        LayoutError: the columns do not fit, a frame is there twice, or an object is of none of the frames; nothing is written.
        StoreError: the folder cannot be written.
    """
    where, tables = f"evaluation '{folder}'", {OBJECTS: objects, MEASURED_FRAMES: frames}
    check(DETECTION_EVALUATION, UnitData(tables={spec.name: columns for spec, columns in tables.items()}), where=where)
    counts = Counter(str(key) for key in frames["frame_key"])
    if twice := [key for key, count in counts.items() if count > 1]:
        raise LayoutError(f"{where}: frame '{twice[0]}' is there more than once. Evaluate every frame once")
    if foreign := set(objects["frame_key"]) - set(frames["frame_key"]):
        raise LayoutError(f"{where}: an object is of frame '{min(foreign)}', which was not measured. Name its frame too")
    write_evaluation_tables(folder, tables)


def read_detection_evaluation(folder: str) -> tuple[Columns, Columns]:
    """Return the columns of MEASURED_FRAMES and of OBJECTS as lists; StoreError names a file that is missing or damaged."""
    files = StoreFiles(folder)
    return read_evaluation_table(files, MEASURED_FRAMES), read_evaluation_table(files, OBJECTS)


def write_detection_cameras(folder: str, cameras: Columns) -> None:
    """Write the cameras of an evaluation's frames.

    Args:
        folder: path or URL; what it holds of a former evaluation is replaced.
        cameras: columns of CAMERAS.

    Raises:
        LayoutError: the columns do not fit; nothing is written.
        StoreError: the folder cannot be written.
    """
    check(DETECTION_CAMERAS, UnitData(tables={CAMERAS.name: cameras}), where=f"evaluation '{folder}'")
    write_evaluation_tables(folder, {CAMERAS: cameras})


def read_detection_cameras(folder: str) -> Columns:
    """Return the columns of CAMERAS as lists; StoreError if the file is missing or damaged."""
    return read_evaluation_table(StoreFiles(folder), CAMERAS)
