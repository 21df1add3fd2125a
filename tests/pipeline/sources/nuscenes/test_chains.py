from __future__ import annotations

import numpy as np
import pytest

from pipeline.sources.nuscenes.chains import chains_of
from pipeline.sources.nuscenes.checks import SceneFindings
from pipeline.sources.nuscenes.tracks import Box, track_speeds


def chains(previous: list[str], times: list[int]):
    found = chains_of([str(number) for number in range(len(previous))], previous, np.array(times))
    return found.number.tolist(), found[1:]


@pytest.mark.parametrize(
    ("previous", "times", "numbers", "counts"),
    [
        (["", "0", "1", "2"], [0, 1, 2, 3], [0, 0, 0, 0], (0, 0, 0, 0)),
        (["elsewhere", "0", "1", "2"], [0, 1, 2, 3], [0, 0, 0, 0], (0, 0, 0, 0)),  # the first one's link leaves the scene
        (["", "0", "1", "2"], [0, 1, 90, 91], [0, 0, 0, 0], (0, 0, 0, 0)),  # a link is believed, however long the gap
        (["", "", "", ""], [0, 1, 2, 3], [0, 0, 0, 0], (3, 0, 0, 0)),
        (["", "", "", "", ""], [0, 1, 2, 90, 91], [0, 0, 0, 1, 1], (4, 0, 0, 0)),
        (["", "0", "", "2"], [0, 1, 2, 3], [0, 0, 1, 1], (0, 0, 0, 1)),  # the tables say that a chain begins here
        (["", "0", "gone", "2"], [0, 1, 2, 3], [0, 0, 0, 0], (0, 1, 0, 0)),
        (["", "0", "gone", "2", "3"], [0, 1, 90, 91, 92], [0, 0, 1, 1, 1], (0, 1, 0, 0)),
        (["", "2", "3", ""], [0, 1, 2, 3], [0, 0, 0, 1], (0, 0, 2, 1)),  # linked backwards
        ([], [], [], (0, 0, 0, 0)),
        (["x"], [5], [0], (0, 0, 0, 0)),
    ],
)
def test_chains_when_links_are_sound_absent_or_wrong_then_follow_them_or_time_and_say_so(previous, times, numbers, counts):
    assert chains(previous, times) == (numbers, counts)


def box(token: str, second: float, *, x: float, previous: str = "", following: str = "", instance: str = "a") -> Box:
    sample = {"token": token, "timestamp": int(second * 1e6)}
    return Box(token, sample, instance, [x, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0], previous, following)


def speeds(*boxes: Box) -> tuple[list[float | None], list[str]]:
    found = SceneFindings("scene")
    return track_speeds(boxes, found), [f"{finding.what} ({finding.count})" for finding in found.findings]


def test_speeds_when_links_agree_with_time_then_nothing_is_said():
    track = (
        box("0", 0.0, x=0.0, following="1"),
        box("1", 0.5, x=2.0, previous="0", following="2"),
        box("2", 1.0, x=4.0, previous="1"),
    )
    assert speeds(*track) == ([4.0, 4.0, 4.0], [])


def test_speeds_when_links_are_absent_then_are_those_of_instance_and_time():
    track = (box("2", 1.0, x=4.0), box("0", 0.0, x=0.0), box("1", 0.5, x=2.0), box("other", 0.5, x=9.0, instance="b"))
    assert speeds(*track) == ([4.0, 4.0, 4.0, None], ["links between boxes of one object are absent (4)"])


def test_speeds_when_links_lead_elsewhere_then_are_those_of_instance_and_time():
    track = (box("0", 0.0, x=0.0, following="1"), box("1", 0.5, x=2.0, previous="gone"))
    said = "links between boxes lead nowhere, or to another box than the next in time (1)"
    assert speeds(*track) == ([4.0, 4.0], [said])


def test_speeds_when_neighbours_are_far_in_time_then_are_unknown():
    assert speeds(box("0", 0.0, x=0.0, following="1"), box("1", 1.6, x=2.0, previous="0"))[0] == [None, None]
