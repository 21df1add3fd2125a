"""Which files of a channel, and which boxes of an object, follow each other without a break.

Why    The tables say it with the fields prev and next. Converters leave them empty, and a record that is taken out leaves
       links to nowhere; a window of sweeps would then be cut without a word
Source docs/method/pipeline.md#links
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.nuscenes.checks import SceneFindings

LARGEST_GAP = 2.5
"""Where no link tells, files further apart in time than so many times the usual interval do not follow each other."""


class Chains(NamedTuple):
    """The chains of a channel's files.

    Attributes:
        number: (n,) chain of each file, from 0.
        num_absent: files after the first of a channel without any link; its chains follow time alone.
        num_dangling: links to no file of this channel and scene.
        num_against_time: links to another file than the one before it in time.
        num_breaks: files after the first whose link is empty: the tables say that a chain begins there.
    """

    number: NDArray[np.int64]
    num_absent: int = 0
    num_dangling: int = 0
    num_against_time: int = 0
    num_breaks: int = 0


def chains_of(tokens: Sequence[str], previous: Sequence[str], times_us: NDArray[np.int64]) -> Chains:
    """Number the unbroken chains of files that are in time order.

    A link to the file before it in time joins the two. An empty link is a break, unless no file of the channel has a right
    link. Any other link is wrong: then two files are joined if the time between them is usual.

    Args:
        tokens: token of each file.
        previous: token of the file before each, as its record says; "" = none.
        times_us: (n,) time of each file, ascending.
    """
    count = len(tokens)
    num_linked = sum(map(str.__eq__, tokens, previous[1:]))
    if num_linked == count - 1 or count == 0:  # as in every sound release
        return Chains(np.zeros(count, np.int64))
    gaps_us = np.diff(times_us)
    is_near = gaps_us <= LARGEST_GAP * np.median(gaps_us)
    if not any(previous[1:]):
        return Chains(_numbers(is_near), num_absent=count - 1)
    is_linked = np.array([before == link for before, link in zip(tokens, previous[1:], strict=False)])
    is_empty = np.array([not link and num_linked > 0 for link in previous[1:]])
    is_wrong = ~is_linked & ~is_empty
    known = set(tokens)
    num_dangling = sum(bool(wrong and link and link not in known) for wrong, link in zip(is_wrong, previous[1:], strict=True))
    return Chains(
        _numbers(is_linked | (is_wrong & is_near)),
        num_dangling=num_dangling,
        num_against_time=int(is_wrong.sum()) - num_dangling,
        num_breaks=int(is_empty.sum()),
    )


def note_chains(found: SceneFindings, channel: str, chains: Chains) -> None:
    """Note what is wrong with the links of a channel."""
    by_time = "Windows of sweeps follow time instead"
    found.missing(f"{channel} files have no link to the file before them", chains.num_absent, channel=channel, advice=by_time)
    found.missing(f"{channel} files are linked to a file that is not there", chains.num_dangling, channel=channel, advice=by_time)
    found.missing(
        f"{channel} files are linked to another file than the one before them in time",
        chains.num_against_time,
        channel=channel,
        advice=by_time,
    )
    found.missing(
        f"{channel} files begin a new chain, since their link is empty",
        chains.num_breaks,
        channel=channel,
        advice="Windows of sweeps end there",
    )


def _numbers(is_joined: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the chain of each file from whether it is joined to the one before it."""
    return np.concatenate([[0], np.cumsum(~is_joined)])
