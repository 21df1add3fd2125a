"""The plausibility check of nuScenes-format tables: what cannot be right, and what is merely missing.

Why    Converters write seconds for microseconds, quaternions of zeros, boxes in another frame. Each gives maps that look right
How    Whole channels and scenes at a time, on arrays, since a release has millions of records. Where a result would be wrong the
       finding is an error, which names a record, its value and what was expected
Source docs/method/pipeline.md#plausibility
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.finding import Finding
from pipeline.geometry import rotation_matrix

Record = dict[str, Any]

KEYFRAME_GAP_S = (0.002, 60.0)
"""Key frames are usually so many seconds apart; nuScenes' lie 0.5 s apart. Nanoseconds give 500 s, milliseconds 0.0005 s."""

SWEEP_GAP_S = (0.0005, 20.0)
"""The same of files of one channel, which tells the unit of a scene with a single key frame."""

OUTSIDE_SCENE_S = 60.0
"""A file this long before the first or after the last key frame of its scene does not belong to it."""

KEYFRAME_LAG_S = 0.5
"""A key frame's own file is usually within 0.05 s of its sample."""

NEAREST_GAPS = 1.5
"""It is at most so many usual intervals of its channel farther away than the nearest file."""

POSE_LAG_S = 0.1
"""The pose of a file is of the same time; of another time by more than this, it is another file's."""

MAX_EGO_MPS = 100.0
MAX_EGO_RADPS = 10.0
"""No car drives or turns faster."""

MAX_TRANSLATION_M = 1e8
"""Beyond all map projections; a float64 still resolves a hundredth of a micrometre there."""

MAX_SENSOR_M = 50.0
"""Sensors are mounted on the vehicle."""

MAX_IMAGE_PX = 20_000
"""Larger than any camera of a car."""

COEFFICIENTS = frozenset({"D", "k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "xi"})
"""Names of lens coefficients in ROS, OpenCV and Kalibr; fields whose name holds ``distort`` are others."""

NO_PINHOLE = ("fisheye", "equidistant", "omni", "kannala", "double_sphere", "ftheta", "mei")
"""Parts of the names of camera models that are no pinhole even with coefficients of 0."""

LOOKS_AWAY = 0.5
"""A camera whose name says front looks no farther back than this (cosine), and the other way round."""

CENTRE_BORDER = 0.05
"""The principal point lies at least this share of the image within it, even where images were cropped."""

MAX_INTRINSIC_PX = 1_000_000
"""Beyond any lens."""

MAX_BOX_M = 200.0
"""Longer than any train."""

MIN_BOX_M = 1e-3
"""Thinner than any object."""

BOX_DISTANCE_M = 1000.0
"""A box further from the car is not in the world frame."""

MIN_UPRIGHT = 0.87
"""Cosine of 30 degrees: no road is steeper."""

NORM_TOLERANCE = 0.01


class SceneFindings:
    """Collects the findings of one scene.

    Args:
        scene: its name.
    """

    def __init__(self, scene: str) -> None:
        self.scene = scene
        self.findings: list[Finding] = []

    def missing(self, what: str, count: int, *, channel: str = "", advice: str = "") -> None:
        """Note something that is missing or was put right; does nothing if the count is 0."""
        if count:
            self.findings.append(Finding(what, self.scene, int(count), channel, advice))

    def note(self, what: str, *, channel: str = "", advice: str = "") -> None:
        """Note something that is missing from the scene as a whole."""
        self.findings.append(Finding(what, self.scene, 0, channel, advice))

    def wrong(self, what: str, *, channel: str = "", advice: str) -> None:
        """Note something with which results would be wrong."""
        self.findings.append(Finding(what, self.scene, 0, channel, advice, is_error=True))


def unit_of_time(gap_s: float) -> str:
    """Guess from the usual gap of key frames in what unit their times are, in words for a question."""
    for unit, factor in (("nanoseconds", 1e-3), ("milliseconds", 1e3), ("seconds", 1e6)):
        if 0.02 <= gap_s * factor <= 5:
            return f"Are timestamps in {unit}? "
    return ""


def check_keyframes(found: SceneFindings, times_us: NDArray[np.int64]) -> None:
    """Check the times of a scene's samples, ascending."""
    gaps_s = 1e-6 * np.diff(times_us)
    if not len(gaps_s):
        return
    usual = float(np.median(gaps_s))
    if not KEYFRAME_GAP_S[0] <= usual <= KEYFRAME_GAP_S[1]:
        found.wrong(
            f"key frames are {usual:g} s apart (median), expected about 0.5 s",
            advice=f"{unit_of_time(usual)}Write timestamp of sample.json and sample_data.json in whole microseconds",
        )
    elif not gaps_s.all():
        found.wrong(
            f"{int((gaps_s == 0).sum())} key frames have the time of the one before them ({times_us[1:][gaps_s == 0][0]})",
            advice="Expected times that rise. Correct timestamp in sample.json",
        )
    else:
        large = gaps_s > 10 * max(usual, 1.0)
        found.missing(
            "gaps between key frames are ten times as long as usual",
            int(large.sum()),
            advice=f"The longest lasts {gaps_s.max():.0f} s. Check that these samples belong to one scene",
        )


def check_channel(
    found: SceneFindings,
    channel: str,
    files: Sequence[str],
    times_us: NDArray[np.int64],
    samples: NDArray[np.int64],
    is_keyframe: NDArray[np.bool_],
    sample_times_us: NDArray[np.int64],
) -> None:
    """Check the times of a channel's files in one scene.

    Args:
        found: takes what is found.
        channel: sensor channel.
        files: name of each file, for the texts.
        times_us: (n,) ascending.
        samples: (n,) number of the key frame that each file belongs to.
        is_keyframe: (n,) whether the file is the key frame's own.
        sample_times_us: (key frames,) time of each sample.
    """

    def first(wrong: NDArray[np.bool_]) -> str:
        at = int(np.flatnonzero(wrong)[0])
        return f"the first is '{files[at]}' with timestamp {times_us[at]}"

    margin = int(1e6 * OUTSIDE_SCENE_S)
    outside = (times_us < sample_times_us[0] - margin) | (times_us > sample_times_us[-1] + margin)
    if outside.any():
        found.wrong(
            f"{int(outside.sum())} {channel} files lie more than a minute outside their scene: {first(outside)}",
            channel=channel,
            advice=f"Its key frames go from {sample_times_us[0]} to {sample_times_us[-1]} microseconds. Correct sample_data.json",
        )
        return
    gaps = np.diff(times_us)
    if len(sample_times_us) == 1 and len(gaps) > 2:
        usual = 1e-6 * float(np.median(gaps))
        if not SWEEP_GAP_S[0] <= usual <= SWEEP_GAP_S[1]:
            found.wrong(
                f"{channel} files are {usual:g} s apart (median), expected about 0.05 to 0.5 s",
                channel=channel,
                advice=f"{unit_of_time(usual)}Write timestamp of sample_data.json in whole microseconds",
            )
            return
    found.missing(
        f"{channel} files have the same time as another one of the channel", int((gaps == 0).sum()), channel=channel,
        advice="Their order is that of sample_data.json",
    )  # fmt: skip
    keys = samples[is_keyframe]
    repeated = len(keys) - len(np.unique(keys))
    if repeated:
        counts = np.bincount(keys, minlength=len(sample_times_us))
        wrong = is_keyframe & (counts[samples] > 1)
        found.wrong(
            f"{repeated} key frames have two {channel} files that are their own: {first(wrong)}",
            channel=channel,
            advice="Expected one with is_key_frame true for each sample and channel. Correct sample_data.json",
        )
    lag_s = 1e-6 * np.abs(times_us - sample_times_us[samples])
    _check_nearest(found, channel, times_us, keys, sample_times_us, lag_s[is_keyframe])
    late = is_keyframe & (lag_s > KEYFRAME_LAG_S)
    if late.any():
        found.missing(
            f"{channel} files of key frames are more than {KEYFRAME_LAG_S:g} s from the time of their sample",
            int(late.sum()),
            channel=channel,
            advice=f"Check timestamp in sample.json and sample_data.json: {first(late)}",
        )
    if len(sample_times_us) > 1:
        before = sample_times_us[np.maximum(samples - 1, 0)] - 500_000
        after = sample_times_us[np.minimum(samples + 1, len(sample_times_us) - 1)] + 500_000
        foreign = ~is_keyframe & (((times_us < before) & (samples > 0)) | (times_us > after))
        found.missing(
            f"{channel} files belong to a key frame of another time",
            int(foreign.sum()),
            channel=channel,
            advice="Check timestamp and sample_token in sample_data.json" if foreign.any() else "",
        )


def _check_nearest(
    found: SceneFindings,
    channel: str,
    times_us: NDArray[np.int64],
    keys: NDArray[np.int64],
    sample_times_us: NDArray[np.int64],
    lag_s: NDArray[np.float64],
) -> None:
    """Check that a key frame's own file is about the nearest one in time of those of its channel."""
    if len(times_us) < 3 or not len(keys):
        return
    at = np.searchsorted(times_us, sample_times_us[keys]).clip(1, len(times_us) - 1)
    nearest_us = np.minimum(np.abs(times_us[at] - sample_times_us[keys]), np.abs(times_us[at - 1] - sample_times_us[keys]))
    another = lag_s > 1e-6 * (nearest_us + NEAREST_GAPS * np.median(np.diff(times_us)))
    found.missing(
        f"key frames have a {channel} file of their own that is not the nearest in time",
        int(another.sum()),
        channel=channel,
        advice="Check is_key_frame and sample_token in sample_data.json",
    )


def check_poses(
    found: SceneFindings,
    channel: str,
    tokens: Sequence[str],
    times_us: NDArray[np.int64],
    poses: NDArray[np.float64],
    pose_times_us: NDArray[np.float64],
) -> bool:
    """Check the ego poses of a channel's files in one scene; say whether each can be a pose and the car jumps nowhere.

    Args:
        found: takes what is found.
        channel: sensor channel.
        tokens: token of the ego pose of each file, for the texts.
        times_us: (n,) ascending.
        poses: (n, 7) translation in metres and rotation wxyz.
        pose_times_us: (n,) time of each pose, NaN where the table says none.
    """
    wrong = wrong_poses(poses)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        found.wrong(
            f"ego_pose '{tokens[at]}' is translation {poses[at, :3].tolist()}, rotation {poses[at, 3:].tolist()}",
            channel=channel,
            advice=f"Expected metres below {MAX_TRANSLATION_M:g} and a unit quaternion w, x, y, z. Correct ego_pose.json. "
            f"Poses of {channel} like it: {int(wrong.sum()):,}",
        )
        return False
    lags = np.abs(pose_times_us - times_us) > 1e6 * POSE_LAG_S
    lags[1:] |= (np.diff(pose_times_us) < 0) & (np.diff(times_us) > 0) & ~lags[:-1]
    found.missing(
        f"{channel} files have the ego pose of another time",
        int(lags.sum()),
        channel=channel,
        advice=f"The poses are more than {POSE_LAG_S:g} s away from the files, or in another order. Check ego_pose_token in "
        "sample_data.json and timestamp in ego_pose.json",
    )
    if len(poses) < 2:
        return True
    seconds = np.maximum(1e-6 * np.diff(times_us), 1e-3)
    metres = np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1)
    cosine = np.abs(np.einsum("ij,ij->i", poses[1:, 3:], poses[:-1, 3:])).clip(0, 1)
    jumps = (metres > 1 + MAX_EGO_MPS * seconds) | (2 * np.arccos(cosine) > 0.2 + MAX_EGO_RADPS * seconds)
    if jumps.any():
        at = int(np.flatnonzero(jumps)[0])
        found.wrong(
            f"the car jumps {metres[at]:.1f} m in {seconds[at]:.3f} s between ego_pose '{tokens[at]}' and '{tokens[at + 1]}'",
            channel=channel,
            advice=f"Expected less than {MAX_EGO_MPS:g} m/s and {MAX_EGO_RADPS:g} rad/s. Correct ego_pose.json, or leave the "
            f"scene out with 'scenes:' in the recipe. Steps of {channel} like it: {int(jumps.sum()):,}",
        )
    return not jumps.any()


def wrong_poses(poses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say of (n, 7) rows of translation and quaternion which cannot be a pose."""
    with np.errstate(invalid="ignore", over="ignore"):
        norm = np.sqrt(np.einsum("ij,ij->i", poses[:, 3:], poses[:, 3:]))
        is_sound = (np.abs(norm - 1) < NORM_TOLERANCE) & (np.abs(poses[:, :3]) < MAX_TRANSLATION_M).all(axis=1)
    return np.asarray(~is_sound)


def check_heading(found: SceneFindings, poses: NDArray[np.float64]) -> None:
    """Check from the poses of key frames that the car stands upright and drives forward."""
    if not len(poses):
        return
    rotations = rotation_matrix(poses[:, 3:])
    upright = rotations[:, 2, 2]
    if np.median(upright) < MIN_UPRIGHT:
        tilt = np.degrees(np.arccos(np.clip(np.median(upright), -1, 1)))
        found.wrong(
            f"the car's z axis points {tilt:.0f} degrees away from the world's",
            advice="Expected a rotation w, x, y, z that takes ego (x forward, z up) to the world (z up). Are quaternions in the "
            "order x, y, z, w? Correct ego_pose.json",
        )
        return
    steps = np.diff(poses[:, :3], axis=0)
    metres = np.linalg.norm(steps[:, :2], axis=1)
    drives = metres > 1.0
    if drives.sum() >= 3:
        forward = rotations[:-1, :2, 0]
        cosine = np.einsum("ij,ij->i", steps[:, :2], forward) / np.maximum(metres * np.linalg.norm(forward, axis=1), 1e-9)
        if abs(float(np.median(cosine[drives]))) < 0.7:
            found.missing(
                "steps of the car go sideways",
                int((np.abs(cosine[drives]) < 0.7).sum()),
                advice="Expected ego x to point forward. Check the axes and the quaternions of ego_pose.json",
            )
        elif float(np.median(cosine[drives])) < 0:
            found.missing(
                "steps of the car go backwards",
                int((cosine[drives] < 0).sum()),
                advice="Check that ego x points forward and that quaternions are w, x, y, z",
            )


def _distortion(calibration: Record) -> Record:
    """Return the fields that say how images are distorted: coefficients that are not 0, or the name of another model."""
    return {
        key: value
        for key, value in calibration.items()
        if ((key in COEFFICIENTS or "distort" in key.lower()) and _has_number(value))
        or (isinstance(value, str) and "model" in key.lower() and any(word in value.lower() for word in NO_PINHOLE))
    }


def _has_number(value: Any) -> bool:
    """Say whether a value is a number other than 0, or holds one at any depth."""
    if isinstance(value, dict | list):
        return any(_has_number(one) for one in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and not isinstance(value, bool) and value != 0


def calibration_findings(calibration: Record, channel: str, modality: str) -> list[tuple[str, str, bool]]:
    """Check how a sensor is mounted, and a camera's intrinsics; sizes of images are not known here.

    Args:
        calibration: record of calibrated_sensor.
        channel: its sensor's channel.
        modality: camera, lidar or radar.

    Returns:
        (what, advice, is_error) of each finding.
    """
    name = f"calibrated_sensor '{calibration['token']}' of {channel}"
    pose = np.array([*calibration["translation"], *calibration["rotation"]], np.float64)
    if pose.shape != (7,) or wrong_poses(pose[None])[0] or np.abs(pose[:3]).max() > MAX_SENSOR_M:
        what = f"{name} is translation {calibration['translation']}, rotation {calibration['rotation']}"
        return [
            (
                what,
                f"Expected metres below {MAX_SENSOR_M:g} and a unit quaternion w, x, y, z. Correct calibrated_sensor.json",
                True,
            )
        ]
    findings: list[tuple[str, str, bool]] = []
    if not pose[:3].any():
        findings.append((f"{channel} sits at the origin of the car", "Check translation in calibrated_sensor.json", False))
    if modality != "camera":
        return findings
    rotation = rotation_matrix(pose[3:])
    ahead, axes_up = rotation[0, 2], rotation[2]  # how far its z points ahead, and its x, y, z upward in the ego frame
    if axes_up[2] > 0.7 or axes_up[1] > 0.5:
        findings.append(
            (
                f"{name}: its z axis points {axes_up[2]:+.2f} upward and its y axis {axes_up[1]:+.2f}",
                "Expected the camera frame x right, y down, z forward, so about 0 and -1. Correct rotation in "
                "calibrated_sensor.json: it must take this frame to the ego frame",
                True,
            )
        )
    if ahead < -LOOKS_AWAY if "FRONT" in channel.upper() else ahead > LOOKS_AWAY and "BACK" in channel.upper():
        way = f"looks {'back' if ahead < 0 else 'ahead'} ({ahead:+.2f} along the car's x axis)"
        findings.append((f"{channel} {way}", "Check rotation in calibrated_sensor.json", False))
    for key, value in _distortion(calibration).items():
        findings.append(
            (
                f"{name} has {key} {value}",
                "Depth would be off by many pixels: images must be rectified. Undistort them, write the new camera_intrinsic, "
                f"and set {key} to {'pinhole' if isinstance(value, str) else 'zeros'}",
                True,
            )
        )
    intrinsic = calibration.get("camera_intrinsic")
    if reason := _wrong_intrinsic(intrinsic):
        findings.append(
            (
                f"{name}: camera_intrinsic is {intrinsic}",
                f"{reason}. Expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels. Correct calibrated_sensor.json",
                True,
            )
        )
    return findings


def _wrong_intrinsic(intrinsic: Any) -> str:
    """Return what is wrong with a camera matrix, "" if nothing is."""
    try:
        matrix = np.array(intrinsic, np.float64)
    except (TypeError, ValueError):
        return "It is no matrix of numbers"
    if matrix.shape != (3, 3):
        return f"Its shape is {matrix.shape}"
    if not np.isfinite(matrix).all():
        return "A value is not finite"
    if np.abs(matrix).max() > MAX_INTRINSIC_PX:
        return f"A value is larger than {MAX_INTRINSIC_PX:,}"
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        return "A focal length is not positive"
    if np.abs(matrix[2] - (0, 0, 1)).max() > 1e-6 or abs(matrix[1, 0]) > 1e-6:
        return "It is not upper triangular with 1 in the corner"
    return ""


def check_image_size(
    found: SceneFindings, camera: str, file: str, size: tuple[int, int], intrinsic: Sequence[Sequence[float]]
) -> None:
    """Check the size of a camera's images by itself and against its intrinsics, which are sound by themselves.

    Args:
        found: takes what is found.
        camera: its channel.
        file: name of the first image of this size, for the texts.
        size: (width, height) in pixels.
        intrinsic: camera matrix.
    """
    width, height = size
    if not (0 < width <= MAX_IMAGE_PX and 0 < height <= MAX_IMAGE_PX):
        found.wrong(
            f"image '{file}' is {width}x{height} in sample_data.json",
            channel=camera,
            advice=f"Expected pixels, 1 to {MAX_IMAGE_PX:,}. Correct width and height",
        )
        return
    (fx, skew, cx), (_, fy, cy) = intrinsic[0], intrinsic[1]
    is_centred = all(CENTRE_BORDER * side <= centre <= (1 - CENTRE_BORDER) * side for centre, side in ((cx, width), (cy, height)))
    is_usual = 0.1 <= fx / width <= 20 and 0.5 <= fx / fy <= 2 and abs(skew) < 0.01 * fx
    found.missing(
        f"{camera} calibration with fx {fx:g}, fy {fy:g}, skew {skew:g}, cx {cx:g}, cy {cy:g} is unusual for images of "
        f"{width}x{height}",
        int(not (is_centred and is_usual)),
        channel=camera,
        advice="Check that camera_intrinsic is of images of this size",
    )


def check_boxes(
    found: SceneFindings, boxes: Sequence[Record], ego_m: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Check the annotated boxes of a scene, each by itself.

    Args:
        found: takes what is found.
        boxes: rows of ``frames.boxes``.
        ego_m: (key frames, 3) where the car is at each key frame, NaN = unknown.

    Returns:
        (n, 7) centre and rotation and (n, 3) size of each; None if one of them is wrong.
    """
    if not boxes:
        return None
    pose = np.array([[*box["center_m"], *box["world_from_box_wxyz"]] for box in boxes], np.float64)
    size_m = np.array([box["size_wlh_m"] for box in boxes], np.float64)
    if pose.shape != (len(boxes), 7) or size_m.shape != (len(boxes), 3):  # all alike, or the arrays above could not be made
        raise ValueError("translation, size or rotation of sample_annotation has another number of values")
    samples = np.array([box["sample_index"] for box in boxes])
    wrong = wrong_poses(pose) | ~(np.abs(size_m) < MAX_BOX_M).all(axis=1)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        found.wrong(
            f"sample_annotation '{boxes[at]['annotation_token']}' is translation {pose[at, :3].tolist()}, "
            f"rotation {pose[at, 3:].tolist()}, size {size_m[at].tolist()}",
            advice=f"Expected metres, a unit quaternion w, x, y, z and sides below {MAX_BOX_M:g} m. Correct "
            f"sample_annotation.json. Boxes like it: {int(wrong.sum()):,}",
        )
        return None
    found.missing(
        "boxes have a side that is not positive",
        int((size_m <= 0).any(axis=1).sum()),
        advice="No return lies inside such a box. Correct size in sample_annotation.json",
    )
    found.missing(
        "boxes have a side of less than a millimetre",
        int(((size_m > 0) & (size_m < MIN_BOX_M)).any(axis=1).sum()),
        advice="Expected metres. Correct size in sample_annotation.json",
    )
    distance = np.linalg.norm(pose[:, :3] - ego_m[samples], axis=1)
    far = distance > BOX_DISTANCE_M
    if len(far) and far.mean() > 0.5:
        found.wrong(
            f"boxes lie {np.nanmedian(distance):,.0f} m from the car (median)",
            advice="Expected boxes in the world frame, as ego_pose is. Correct translation in sample_annotation.json",
        )
        return None
    found.missing(
        "boxes lie more than a kilometre from the car", int(far.sum()), advice="Check translation in sample_annotation.json"
    )
    speeds = [box["speed_mps"] for box in boxes]
    if (unknown := speeds.count(None)) > len(boxes) / 2:
        found.missing(
            "boxes have no other box of their object within 1.5 s",
            unknown,
            advice="Their speed is unknown, so those that can move count as moving",
        )
    fast = np.array([speed or 0.0 for speed in speeds]) > MAX_EGO_MPS
    found.missing(
        f"boxes move faster than {MAX_EGO_MPS:g} m/s",
        int(fast.sum()),
        advice="Check translation and instance_token of their tracks",
    )
    pairs = len(boxes) - len({(box["sample_index"], box["instance_token"]) for box in boxes})
    found.missing(
        "boxes belong to an object that has another box in the same key frame",
        pairs,
        advice="Check instance_token in sample_annotation.json",
    )
    return pose, size_m
