"""Which images between key frames belong to a clip, on made-up cameras of 12 Hz."""

from __future__ import annotations

import pytest

from pipeline.clip_sweeps import CameraSweeps

PERIOD_US = 83_333
PER_KEY = 6
START_US = 1_600_000_000_000_000


def images_of(camera: str, *, offset_us: int, without: tuple[int, ...] = (), breaks: tuple[int, ...] = (), count: int = 19):
    """Return rows of a camera's images, every sixth a key frame; before a number in ``breaks`` the chain is broken."""
    return [
        {
            "camera": camera,
            "sample_index": -(-number // PER_KEY),
            "is_keyframe": number % PER_KEY == 0,
            "chain": sum(number >= one for one in breaks),
            "timestamp_us": START_US + offset_us + number * PERIOD_US,
            "number": number,
        }
        for number in range(count)
        if number not in without
    ]


def numbers(window) -> list[list[int]] | None:
    return None if window is None else [[image["number"] for image in frame] for frame in window]


def window_of(first: dict, second: dict, sample: int = 2, **sizes) -> list[list[int]] | None:
    sweeps = CameraSweeps([*images_of("A", offset_us=0, **first), *images_of("B", offset_us=-30_000, **second)])
    return numbers(sweeps.window(sample, ("A", "B"), **{"num_frames": 3, "stride": 1, **sizes}))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({}, [12, 11, 10]),
        ({"stride": 2}, [12, 10, 8]),
        ({"stride": 6}, [12, 6, 0]),
        ({"num_frames": 1}, [12]),
        ({"num_frames": 9}, [12, 11, 10, 9, 8, 7, 6, 5, 4]),  # the key image between counts like any other
    ],
)
def test_window_when_no_image_lacks_then_each_camera_goes_as_many_images_back(sizes, expected):
    assert window_of({}, {}, **sizes) == [[number, number] for number in expected]


def test_window_when_another_camera_dropped_an_image_then_it_is_left_out_only_where_that_one_is_wanted():
    assert window_of({}, {"without": (11,)}) is None
    assert window_of({}, {"without": (11,)}, stride=2) == [[12, 12], [10, 10], [8, 8]]
    assert window_of({}, {"without": (9,)}) == [[12, 12], [11, 11], [10, 10]]


def test_window_when_the_first_camera_dropped_an_image_then_the_others_follow_its_times():
    assert window_of({"without": (11,)}, {}) == [[12, 12], [10, 10], [9, 9]]
    assert window_of({"without": (11,)}, {"without": (10,)}) is None  # not the one beside it


def test_window_when_a_chain_is_broken_between_then_it_is_left_out():
    assert window_of({"breaks": (11,)}, {}) is None
    assert window_of({}, {"breaks": (12,)}) is None
    assert window_of({"breaks": (10, 13)}, {"breaks": (9,)}) == [[12, 12], [11, 11], [10, 10]]


def test_window_when_a_key_image_lacks_or_there_is_no_past_then_there_is_none():
    assert window_of({"without": (12,)}, {}) is None
    assert window_of({}, {"without": (12,)}) is None
    assert window_of({}, {}, sample=0) is None
    sweeps = CameraSweeps(images_of("A", offset_us=0))
    assert sweeps.window(1, ("A", "B"), num_frames=1, stride=1) is None


def test_has_past_when_images_before_a_key_frame_are_counted_then_says_whether_they_reach():
    sweeps = CameraSweeps(images_of("A", offset_us=0))
    assert [sweeps.has_past("A", 1, num_images=count) for count in (0, 6, 7)] == [True, True, False]
    assert not sweeps.has_past("A", 0, num_images=1)
    assert sweeps.has_past("A", 99, num_images=3)  # a key frame without an image is no lack of a past
