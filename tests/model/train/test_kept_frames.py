from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.train.kept_frames import NAMED, SPREAD, WORST, Kept, KeptFrames


def kept_of(errors, **wanted) -> list[Kept[int]]:
    """Offer frames 0, 1, 2, ... of these errors; what is kept of a frame is its number."""
    keeper: KeptFrames[int] = KeptFrames(**wanted)
    made: list[int] = []
    for number, error in enumerate(errors):
        keeper.offer(str(number), error=lambda error=error: error, make=lambda number=number: made.append(number) or number)
    assert len(made) == len(set(made))  # a frame that is wanted twice is made once
    return keeper.chosen()


@given(errors=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=60), worst=st.integers(0, 7))
def test_worst_when_frames_come_in_any_order_then_the_largest_errors_and_of_equal_ones_the_first(errors, worst):
    chosen = kept_of(errors, worst=worst)
    wrong = [number for number, error in enumerate(errors) if any(error)]
    expected = sorted(wrong, key=lambda number: (-errors[number][0], -errors[number][1], number))[:worst]
    assert [kept.picture for kept in chosen] == expected and all(kept.reasons == (WORST,) for kept in chosen)


@given(count=st.integers(1, 400), spread=st.integers(1, 6))
def test_spread_when_the_number_of_frames_is_not_known_then_as_many_as_wanted_over_the_whole_split(count, spread):
    places = [kept.picture for kept in kept_of([(0,)] * count, spread=spread)]
    assert len(places) == min(count, spread) and places[0] == 0 and places == sorted(set(places))
    if spread > 1:  # the last one stands in the last part, and no gap is much larger than another
        gaps = np.diff(places) if len(places) > 1 else np.ones(1)
        assert count - 1 - places[-1] <= max(gaps) and max(gaps) <= 2.5 * min(gaps)


def test_chosen_when_frames_are_named_and_bad_then_each_once_with_every_reason():
    chosen = kept_of([(0,), (5,), (1,), (9,), (0,)], named=["4", "3", "x"], worst=2, spread=1)
    assert chosen == [
        Kept("4", 4, (NAMED,)),
        Kept("3", 3, (NAMED, WORST)),
        Kept("1", 1, (WORST,)),
        Kept("0", 0, (SPREAD,)),
    ]


def test_offer_when_thousands_of_frames_come_then_few_are_held():
    alive, most = set[int](), 0

    class Picture:
        def __init__(self) -> None:
            alive.add(id(self))

        def __del__(self) -> None:
            alive.discard(id(self))

    keeper: KeptFrames[Picture] = KeptFrames(named=["17"], worst=3, spread=2)
    for number in range(3000):
        keeper.offer(str(number), error=lambda number=number: (float(number),), make=Picture)  # each worse than all before it
        most = max(most, len(alive))
    assert most <= 1 + 3 + 2 * 2 + 1 and len(keeper.chosen()) == 6
