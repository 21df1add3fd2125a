"""Which frames of a split are kept for pictures while they go by one after the other, however many come.

Why    A split has thousands of frames, and what a picture is made of takes megabytes: only what is shown may stay in memory
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")

FrameErrors = tuple[float, ...]
"""How wrong a frame is; the first number decides, the next ones where it is equal. All 0 = nothing is wrong."""

NAMED, WORST, SPREAD = "named", "worst", "spread"
"""Why a frame is kept: it was asked for, it is one of the worst, or it is one of those spread evenly over the split."""


class Kept(NamedTuple, Generic[T]):
    """One frame that was kept.

    Attributes:
        key: of the frame.
        picture: what its picture is made of.
        reasons: of ``NAMED``, ``WORST`` and ``SPREAD``.
    """

    key: str
    picture: T
    reasons: tuple[str, ...]


def _nothing_is_wrong() -> FrameErrors:
    return ()


class KeptFrames(Generic[T]):
    """Keeps frames for pictures: those that are named, the worst ones, and some spread evenly over the split.

    At most ``len(named) + worst + 2 * spread + 1`` frames are in memory.

    Args:
        named: keys of frames that are kept in any case, in the order in which they are shown.
        worst: how many of the largest error; a frame in which nothing is wrong is never one of them.
        spread: how many spread evenly.
    """

    def __init__(self, *, named: Sequence[str] = (), worst: int = 0, spread: int = 0) -> None:
        self._names, self._most_worst, self._most_spread = tuple(dict.fromkeys(named)), worst, spread
        self._named: dict[str, T] = {}
        self._worst: list[tuple[FrameErrors, int, str, T]] = []  # a heap: the least wrong comes first
        self._spread: list[tuple[str, T]] = []
        self._stride, self._seen = 1, 0

    def offer(self, key: str, *, make: Callable[[], T], error: Callable[[], FrameErrors] = _nothing_is_wrong) -> None:
        """Look at the next frame, and keep it if it is wanted.

        Args:
            key: of the frame.
            make: makes what is kept; asked once at most, and before this returns.
            error: computes how wrong it is; asked only if the worst frames are wanted.
        """
        number, self._seen = self._seen, self._seen + 1
        made: list[T] = []

        def picture() -> T:
            if not made:
                made.append(make())
            return made[0]

        if key in self._names:
            self._named[key] = picture()
        if self._most_worst:
            wrong = error()
            place = (wrong, -number)  # of equal ones the earlier frame stays
            if any(wrong) and (len(self._worst) < self._most_worst or place > self._worst[0][:2]):
                heapq.heappush(self._worst, (wrong, -number, key, picture()))
                if len(self._worst) > self._most_worst:
                    heapq.heappop(self._worst)
        if self._most_spread and number % self._stride == 0:
            self._spread.append((key, picture()))
            if len(self._spread) > 2 * self._most_spread:  # from here on every second frame is kept
                self._spread, self._stride = self._spread[::2], 2 * self._stride

    def chosen(self) -> list[Kept[T]]:
        """Return the frames, each once: those named, then the worst, the most wrong first, then those spread over the split."""
        pictures: dict[str, T] = {}
        reasons: dict[str, list[str]] = {}
        places = np.linspace(0, len(self._spread) - 1, min(self._most_spread, len(self._spread))).round().astype(int)
        for reason, frames in (
            (NAMED, [(key, self._named[key]) for key in self._names if key in self._named]),
            (WORST, [(key, picture) for _, _, key, picture in sorted(self._worst, key=lambda kept: kept[:2], reverse=True)]),
            (SPREAD, [self._spread[place] for place in places]),
        ):
            for key, picture in frames:
                pictures.setdefault(key, picture)
                reasons.setdefault(key, []).append(reason)
        return [Kept(key, picture, tuple(reasons[key])) for key, picture in pictures.items()]
