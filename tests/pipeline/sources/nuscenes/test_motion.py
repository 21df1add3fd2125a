"""Poses and boxes beside the way of their neighbours are named; sound drives, also with poses shared by sensors, are not."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.sources.nuscenes.checks import SceneFindings
from pipeline.sources.nuscenes.motion import Ways, check_tracks


def a_drive(times_s, *, speed=12.0, yaw_rate=0.2):
    """Poses (n, 7) of a car on a circle."""
    angle = yaw_rate * times_s
    radius = speed / yaw_rate
    zeros = np.zeros_like(times_s)
    place = np.stack([1000 + radius * np.sin(angle), 500 - radius * np.cos(angle), zeros], axis=1)
    return np.concatenate([place, np.stack([np.cos(angle / 2), zeros, zeros, np.sin(angle / 2)], axis=1)], axis=1)


def said_of(*channels):
    found = SceneFindings("scene-a")
    ways = Ways(found)
    for name, times_s, poses in channels:
        ways.add(name, [f"{name}-{number}" for number in range(len(poses))], np.rint(1e6 * times_s).astype(np.int64), poses)
    ways.compare()
    return [(finding.what, finding.count, finding.advice) for finding in found.findings]


DENSE, SPARSE = np.arange(0, 20, 0.05), np.arange(0, 20, 0.5)


def test_poses_when_a_car_drives_then_nothing_is_said():
    assert said_of(("LIDAR", DENSE, a_drive(DENSE)), ("CAM", SPARSE + 0.03, a_drive(SPARSE + 0.03))) == []
    assert said_of(("LIDAR", DENSE[:1], a_drive(DENSE[:1]))) == []
    assert said_of() == []


@pytest.mark.parametrize("lag_s", [0.02, 0.05])
def test_poses_when_a_camera_has_those_of_the_lidar_then_nothing_is_said(lag_s):
    assert said_of(("LIDAR", SPARSE, a_drive(SPARSE, speed=30)), ("CAM", SPARSE + lag_s, a_drive(SPARSE, speed=30))) == []


def test_pose_when_moved_by_two_metres_then_it_is_named():
    poses = a_drive(DENSE)
    poses[100, 1] += 2
    ((what, count, advice),) = said_of(("LIDAR", DENSE, poses))
    assert what == "LIDAR files have an ego pose beside the way of the car"
    assert count == 3  # its neighbours lie beside a line to it, too
    assert "ego_pose 'LIDAR-100' lies 2.0" in advice


def test_pose_when_turned_then_it_is_named():
    poses = a_drive(SPARSE)
    poses[7, 3:] = [np.cos(0.7), 0, 0, np.sin(0.7)]
    said = said_of(("CAM", SPARSE, poses))
    assert [what for what, _, _ in said] == ["CAM files have an ego pose beside the way of the car"]


def test_poses_when_two_sensors_disagree_at_the_first_key_frame_then_both_are_named():
    poses = a_drive(SPARSE)
    poses[0, :2] += 1.5
    said = said_of(("LIDAR", SPARSE, a_drive(SPARSE)), ("CAM", SPARSE + 0.01, poses))
    assert ("ego poses of two sensors at nearly the same time differ", 1) in [(what, count) for what, count, _ in said]
    assert any("'LIDAR-0' and 'CAM-0'" in advice for _, _, advice in said)


def boxes_of(num_tracks=4, num_frames=6):
    rows, poses, sizes = [], [], []
    for track in range(num_tracks):
        for frame in range(num_frames):
            rows.append(
                {
                    "annotation_token": f"box-{track}-{frame}",
                    "instance_token": f"object-{track}",
                    "sample_timestamp_us": frame * 500_000,
                }
            )
            poses.append([10.0 * track, 4.0 * frame, 0, 1, 0, 0, 0])
            sizes.append([2.0, 4.5, 1.6])
    return rows, np.array(poses), np.array(sizes)


def of_tracks(rows, poses, sizes):
    found = SceneFindings("scene-a")
    check_tracks(found, rows, poses, sizes)
    return [(finding.what, finding.count) for finding in found.findings], " ".join(finding.advice for finding in found.findings)


def test_boxes_when_sound_then_nothing_is_said():
    assert of_tracks(*boxes_of()) == ([], "")
    rows, poses, sizes = boxes_of(num_tracks=3, num_frames=1)
    assert of_tracks(rows, poses, sizes) == ([], "")
    rows, poses, sizes = boxes_of()
    sizes *= np.random.default_rng(0).uniform(0.7, 1.4, sizes.shape)  # a set whose sizes are of each frame
    assert of_tracks(rows, poses, sizes) == ([], "")
    rows, poses, sizes = boxes_of()
    poses[3, 3:] = [0, 0, 0, 1]  # front and back mixed up
    assert of_tracks(rows, poses, sizes) == ([], "")


def test_box_when_it_leaves_its_track_or_changes_its_size_or_turns_then_it_is_named():
    rows, poses, sizes = boxes_of()
    poses[8, 0] += 3
    said, advice = of_tracks(rows, poses, sizes)
    assert [what for what, _ in said] == ["boxes leave the track of their object"]
    assert "sample_annotation 'box-1-2' lies 3.0 m" in advice
    rows, poses, sizes = boxes_of()
    sizes[8, 1] = 0.5
    said, advice = of_tracks(rows, poses, sizes)
    assert said == [("boxes have another size than the one before of the same object", 2)]
    assert "'box-1-2'" in advice
    rows, poses, sizes = boxes_of()
    poses[23, 3:] = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]
    said, _ = of_tracks(rows, poses, sizes)
    assert said == [("long boxes turn by more than 60 degrees from one key frame to the next", 1)]
