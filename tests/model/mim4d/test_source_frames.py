from __future__ import annotations

import math

import pytest
import torch

from model.errors import InputError
from model.mim4d.source_frames import remaining_frames, short_positions, slots_of, time_features


def test_remaining_frames_when_one_is_withheld_then_the_others_ascend() -> None:
    assert [remaining_frames(target, 4) for target in range(4)] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


@pytest.mark.parametrize("num_frames", [2, 3, 5])
def test_short_positions_when_adjacent_then_they_are_the_frames_on_both_sides_as_far_as_there_are_any(num_frames: int) -> None:
    for target in range(num_frames):
        left = remaining_frames(target, num_frames)
        after, before = (
            None if position is None else left[position] for position in short_positions(target, num_frames, "adjacent")
        )
        # frame 0 is the newest: what came after the target has the smaller number
        assert after == (target - 1 if target > 0 else None)
        assert before == (target + 1 if target + 1 < num_frames else None)


def test_short_positions_when_first_then_it_is_frame_1_for_target_0_and_frame_0_for_all_others() -> None:
    assert [
        remaining_frames(target, 3)[position]
        for target in range(3)
        for position in short_positions(target, 3, "first")
        if position is not None
    ] == [1, 0, 0]


def test_remaining_frames_when_there_is_no_other_or_no_such_frame_then_it_says_so() -> None:
    with pytest.raises(InputError, match="a clip of 1 frame has nothing to rebuild a withheld frame from; give clips of 2"):
        remaining_frames(0, 1)
    for target in (-1, 3):
        with pytest.raises(InputError, match=f"target frame is {target}, expected 0 to 2: a frame of the clip, 0 is the newest"):
            remaining_frames(target, 3)


def test_slots_of_when_some_are_empty_then_they_repeat_another_with_share_zero() -> None:
    index, share = slots_of([[None, 0], [0, 1], [1, None]], device=torch.device("cpu"))
    assert index.tolist() == [[0, 0], [0, 1], [1, 1]]
    assert share.tolist() == [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]


def test_time_features_when_computed_then_sines_are_odd_cosines_even_and_periods_geometric() -> None:
    features = time_features(torch.tensor([[0.25, -0.25, 0.0]]), num_periods=3, shortest_s=0.5, longest_s=8.0)
    assert features.shape == (1, 3, 6)
    expected = [math.sin(2 * math.pi * 0.25 / period) for period in (0.5, 2.0, 8.0)]
    assert torch.allclose(features[0, 0, :3], torch.tensor(expected), atol=1e-6)
    assert torch.allclose(features[0, 1, :3], -features[0, 0, :3])
    assert torch.allclose(features[0, 1, 3:], features[0, 0, 3:])
    assert torch.equal(features[0, 2], torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))


def test_time_features_when_frames_are_camera_frames_or_key_frames_apart_then_no_two_look_alike() -> None:
    steps = torch.tensor([step * sign for step in (1 / 12, 1 / 6, 0.25, 0.5, 1.0, 1.5, 2.0) for sign in (-1.0, 1.0)])
    features = time_features(steps, num_periods=8, shortest_s=0.5, longest_s=8.0)
    distance = torch.cdist(features, features) + 10 * torch.eye(len(steps))
    # two unrelated moments are sqrt(16) = 4 apart
    assert distance.min() > 0.7
