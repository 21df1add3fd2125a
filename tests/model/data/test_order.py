from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.order import chosen_share, epoch_order, position_after, rank_spans

RUNS = st.lists(st.integers(1, 60), min_size=1, max_size=12)
RANKS = st.integers(1, 8)
BATCH = st.integers(1, 7)


@given(RUNS, st.integers(0, 2**31), st.integers(0, 1000), st.integers(1, 9))
def test_order_is_a_permutation_that_depends_on_seed_and_epoch_alone(runs, seed, epoch, piece):
    order = epoch_order(runs, seed=seed, epoch=epoch, piece_frames=piece)
    assert sorted(order.tolist()) == list(range(sum(runs)))
    assert np.array_equal(order, epoch_order(runs, seed=seed, epoch=epoch, piece_frames=piece))


@given(st.lists(st.integers(20, 60), min_size=2, max_size=12), st.integers(0, 2**31), st.integers(0, 1000), st.integers(1, 4))
def test_two_epochs_and_two_seeds_differ(runs, seed, epoch, piece):
    order = epoch_order(runs, seed=seed, epoch=epoch, piece_frames=piece)
    assert not np.array_equal(order, epoch_order(runs, seed=seed, epoch=epoch + 1, piece_frames=piece))
    assert not np.array_equal(order, epoch_order(runs, seed=seed + 1, epoch=epoch, piece_frames=piece))


@given(RUNS, st.integers(0, 100), st.integers(1, 9))
def test_pieces_are_neighbours_in_one_scene_and_nearly_all_of_full_length(runs, epoch, piece):
    order = epoch_order(runs, seed=0, epoch=epoch, piece_frames=piece)
    scene = np.repeat(np.arange(len(runs)), runs)[order]
    breaks = np.flatnonzero((np.diff(order) != 1) | (np.diff(scene) != 0))
    num_reads = len(breaks) + 1
    assert num_reads <= sum(-(-(length - 1) // piece) + 1 for length in runs)  # a scene's first and last piece may be short


def test_scenes_are_interleaved():
    order = epoch_order([40] * 50, seed=0, epoch=0, piece_frames=4)
    scenes_per_batch = [len(set(batch // 40)) for batch in order.reshape(-1, 16)]
    assert min(scenes_per_batch) >= 3
    assert np.mean(scenes_per_batch) > 4


@given(st.integers(0, 300), RANKS, BATCH, st.data(), st.booleans())
def test_ranks_share_an_epoch_without_loss_or_repetition_from_any_resume_point(total, ranks, batch, data, is_ragged):
    start = data.draw(st.integers(0, total))
    shares = [
        rank_spans(total, start=start, rank=rank, num_ranks=ranks, batch_size=batch, is_ragged=is_ragged) for rank in range(ranks)
    ]
    seen = sorted(position for spans in shares for first, stop in spans for position in range(first, stop))
    assert all(0 < stop - first <= batch for spans in shares for first, stop in spans)
    if is_ragged:
        assert seen == list(range(start, total))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    else:
        assert seen == list(range(start, start + len(seen)))
        assert total - start - len(seen) < ranks * batch
        assert {tuple(stop - first for first, stop in spans) for spans in shares} == {(batch,) * len(shares[0])}


@given(st.integers(1, 300), RANKS, RANKS, BATCH, st.data())
def test_run_that_stops_and_goes_on_with_other_ranks_sees_every_sample_once(total, ranks, other_ranks, batch, data):
    def seen(num_ranks, start, steps=None):
        return [
            position
            for rank in range(num_ranks)
            for first, stop in rank_spans(total, start=start, rank=rank, num_ranks=num_ranks, batch_size=batch, is_ragged=True)[
                :steps
            ]
            for position in range(first, stop)
        ]

    steps = data.draw(st.integers(0, total // (ranks * batch)))
    reached = position_after(steps, start=0, num_samples=total, num_ranks=ranks, batch_size=batch)
    assert sorted(seen(ranks, 0, steps) + seen(other_ranks, reached)) == list(range(total))


def test_frames_left_out_are_not_the_same_each_epoch():
    left_out = [set(epoch_order([10, 9], seed=0, epoch=epoch, piece_frames=2)[16:].tolist()) for epoch in range(20)]
    assert len(set.union(*left_out)) == 19


def test_spans_when_rank_or_start_is_out_of_bounds_then_say_so():
    with pytest.raises(ValueError, match="rank is 2, expected 0 to 1 for 2 ranks"):
        rank_spans(10, start=0, rank=2, num_ranks=2, batch_size=1, is_ragged=False)
    with pytest.raises(ValueError, match="cannot resume at sample 11 of an epoch of 10; expected 0 to 10"):
        rank_spans(10, start=11, rank=0, num_ranks=2, batch_size=1, is_ragged=False)


@given(st.integers(1, 200), st.floats(0.001, 1.0), st.floats(0.001, 1.0), st.integers(0, 9))
def test_share_has_the_size_it_says_and_lies_within_a_larger_one(total, one, other, seed):
    keys = [f"scene/{number}" for number in range(total)]
    small, large = (chosen_share(keys, share=share, seed=seed) for share in sorted((one, other)))
    assert set(small) <= set(large) and small == sorted(small)
    assert len(large) == max(1, round(max(one, other) * total))
    assert chosen_share(keys, share=1.0, seed=seed) == list(range(total))


def test_share_of_another_seed_has_other_samples_from_everywhere():
    keys = [f"scene/{number}" for number in range(1000)]
    first, second = (chosen_share(keys, share=0.1, seed=seed) for seed in (0, 1))
    assert len(set(first) & set(second)) < 30
    assert np.histogram(first, bins=4, range=(0, 1000))[0].min() > 12
