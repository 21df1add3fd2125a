"""The front surface of every pixel: from all returns of a window to the mean inverse depth of the nearest layer.

Why    The nearest of many returns is a biased estimate: the more returns, the nearer. What lies behind a gap is another surface
How    Returns packed by the projection (``accumulate.gather_returns``) are sorted into tiles of the image. A tile fits into the
       first caches. There, pixels with equally many returns are taken together, so that vector code runs over pixels
Source docs/method/pipeline.md#front-surface

A return is a whole number of steps of 1/256 m, truncated. Its depth lies in the middle of its step in the mean, so the mean is
taken of 1 / (step + 1/2), and the result is truncated again: a pixel with one return keeps its bits. The layer needs no sorting:
its end moves to the farthest return within the allowed gap until it stays. The inverse depths are added up as whole numbers of
2^-24 of the nearest one. So the order of the returns does not matter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.kernels.accumulate import EMPTY
from pipeline.kernels.left_pack import LANES, pack_inside

GAP_SHARE = 0.03
GAP_M = 0.3
"""Two returns that follow each other belong to one surface up to a gap of 3 % + 0.3 m: one row of a coarse image sees the road
that far apart."""

LAYER = 1.3
"""A layer ends at 1.3 times its nearest depth, so that a chain of returns along a wall does not reach the horizon."""

TILE = 16384
"""Pixels of a tile; more and fewer measured slower."""

MANY = 24
"""Pixels with more returns than this are taken one by one."""

CARRIED = np.uint32(1 << 15)
"""Bit of a key that says that a return was carried here on a moving object."""

_GAP_SHARE, _LAYER, _GAP_STEPS = np.float32(GAP_SHARE), np.float32(LAYER), np.float32(256 * GAP_M)
_ONE, _ONE_STEP = np.float32(2**24), np.int32(2**24)
_TINY = 1e-6
"""A share times a count that is a whole number may be rounded up."""

_PIXEL = np.uint32(TILE - 1)
_STEP_SHIFT, _VOTE_SHIFT, _STEP = np.uint32(16), np.uint64(32), np.uint64(0xFFFF)
_PLACE, _STRIDE_SHIFT = np.int64(0xFFFFFFFF), np.int64(32)


class TileMemory(NamedTuple):
    """Memory for one tile, used again for the next.

    Attributes:
        num_of: (TILE,) returns of each pixel.
        place: (TILE,) where the next return of each pixel goes in ``table``, and in the upper half the way to the one after.
        here: (TILE,) pixels with more than one return at their own place, others -1.
        kind_here: (TILE,) returns of these pixels; MANY + 1 stands for all above MANY.
        listed: (TILE,) pixels with more than one return, packed.
        kind: (TILE,) ``kind_here`` of these.
        number: (MANY + 2,) listed pixels by their number of returns; the last one stands for all above MANY.
        stride: (MANY + 2,) how far apart the returns of such a pixel lie in ``table``.
        next_pixel: (MANY + 2,) where the next such pixel goes in ``ordered``.
        to_place: (MANY + 2,) what leads from there to where its first return goes in ``table``.
        ordered: (TILE,) listed pixels by their number of returns.
        table: the only return of a pixel is at the pixel's own place. From TILE on, returns of pixels with equally many
            together: return i of the n-th of N pixels is at i * N + n.
        votes: how many other sweeps see through each return of ``table``; or (0,).
        nearest: (TILE,) and the others: a value of each of the pixels that are taken together.
    """

    num_of: NDArray[np.int32]
    place: NDArray[np.int64]
    here: NDArray[np.int32]
    kind_here: NDArray[np.uint16]
    listed: NDArray[np.int32]
    kind: NDArray[np.uint16]
    number: NDArray[np.int32]
    stride: NDArray[np.int32]
    next_pixel: NDArray[np.int32]
    to_place: NDArray[np.int32]
    ordered: NDArray[np.int32]
    table: NDArray[np.float32]
    votes: NDArray[np.uint8]
    nearest: NDArray[np.float32]
    last: NDArray[np.float32]
    before: NDArray[np.float32]
    reach: NDArray[np.float32]
    total: NDArray[np.int32]
    front: NDArray[np.int32]
    most: NDArray[np.int32]


def new_tile_memory(num_returns: int, *, has_votes: bool = False) -> TileMemory:
    """Return memory for tiles of at most as many returns."""
    steps, counts, few = np.empty((4, TILE), np.float32), np.empty((5, TILE), np.int32), np.empty((4, MANY + 2), np.int32)
    room = TILE + LANES
    listing = np.empty(room, np.int32), np.empty(room, np.uint16), np.empty(room, np.int32), np.empty(room, np.uint16)
    place, table = np.empty(TILE, np.int64), np.empty(TILE + num_returns, np.float32)
    votes = np.empty(TILE + num_returns if has_votes else 0, np.uint8)
    of_pixels, of_lanes = (counts[0], place, *listing), (*steps, counts[2], counts[3], counts[4])
    return TileMemory(*of_pixels, few[0], few[1], few[2], few[3], counts[1], table, votes, *of_lanes)


@njit(cache=True, error_model="numpy")
def sort_into_tiles(slot, step, votes, num_static, count, starts, keys):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Sort returns into tiles of TILE pixels.

    Args:
        slot: (count,) int32 pixels.
        step: (count,) uint16 depths, 1/256 m.
        votes: (count,) uint16 how many other sweeps see through each; or (0,).
        num_static: returns from this one on were carried on moving objects.
        count: returns.
        starts: (num_tiles + 1,) int64 output: where the returns of each tile begin in ``keys``.
        keys: (count,) uint32 output: depth in the upper half, CARRIED, pixel of the tile; with votes uint64, and those above.
    """
    num_tiles = len(starts) - 1
    counts = np.zeros((4, num_tiles), np.int64)  # four, so that an addition need not wait for the one before
    for i in range(count):
        counts[i & 3, np.uint64(slot[i]) // np.uint64(TILE)] += 1
    places = np.empty(num_tiles, np.int64)
    total = 0
    for tile in range(num_tiles):
        starts[tile] = places[tile] = total
        total += counts[0, tile] + counts[1, tile] + counts[2, tile] + counts[3, tile]
    starts[num_tiles] = total
    if votes.size > 0:
        _append_votes(slot, step, votes, 0, num_static, np.uint32(0), places, keys)
        _append_votes(slot, step, votes, num_static, count, CARRIED, places, keys)
    else:
        _append(slot, step, 0, num_static, np.uint32(0), places, keys)
        _append(slot, step, num_static, count, CARRIED, places, keys)


@njit(cache=True, error_model="numpy")
def _append(slot, step, first, last, mark, places, keys):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        pixel = np.uint32(slot[i])
        tile = np.uint64(pixel // np.uint32(TILE))
        to = places[tile]
        keys[np.uint64(to)] = (np.uint32(step[i]) << _STEP_SHIFT) | mark | (pixel & _PIXEL)
        places[tile] = to + 1


@njit(cache=True, error_model="numpy")
def _append_votes(slot, step, votes, first, last, mark, places, keys):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        pixel = np.uint32(slot[i])
        tile = np.uint64(pixel // np.uint32(TILE))
        to = places[tile]
        key = (np.uint32(step[i]) << _STEP_SHIFT) | mark | (pixel & _PIXEL)
        keys[np.uint64(to)] = (np.uint64(votes[i]) << _VOTE_SHIFT) | np.uint64(key)
        places[tile] = to + 1


@njit(cache=True, error_model="numpy")
def form_surface(starts, keys, entry, least_front_share, memory, out, facts):  # type: ignore[no-untyped-def]
    """Write the front surface of every pixel.

    Args:
        starts: (num_tiles + 1,) and
        keys: returns of each tile, from ``sort_into_tiles``; overwritten.
        entry: (num_pixels,) uint16 depth behind which a static return is hidden, EMPTY for none; or (0,).
        least_front_share: a pixel whose front layer holds less than this share of its returns stays empty.
        memory: from ``new_tile_memory``.
        out: (num_pixels,) uint16, 1/256 m, 0 = no measurement.
        facts: (num_pixels,) uint32, 0 before; written where something is measured. Four bytes, the lowest first: returns of the
            front layer, up to 255; their share of the pixel's returns in 1/255; nearest to farthest in 1/512 of the nearest; the
            largest vote. Or (0,).

    Returns:
        The number of measured pixels.
    """
    measured = 0
    for tile in range(len(starts) - 1):
        of_tile = keys[starts[tile] : starts[tile + 1]]
        here, facts_here = out[tile * TILE : (tile + 1) * TILE], facts[tile * TILE : (tile + 1) * TILE]
        if entry.size > 0:
            of_tile = of_tile[: _drop_hidden(of_tile, entry[tile * TILE : (tile + 1) * TILE])]
        if len(of_tile) == 0:
            here[:] = 0
            continue
        _sort_by_count(of_tile, memory)
        _take_singles(memory, here, facts_here)
        begin, listed = TILE, 0
        for many in range(2, MANY + 1):
            number = memory.number[many]
            if number:
                _form_lanes(memory, begin, listed, many, number, least_front_share, here)
                if facts.size > 0:
                    _note_lanes(memory, begin, listed, many, number, here, facts_here)
            begin += many * number
            listed += number
        for n in range(listed, listed + memory.number[MANY + 1]):
            pixel = memory.ordered[n]
            stop = memory.place[pixel] & _PLACE
            start = stop - memory.num_of[pixel]
            here[pixel], last, front = _form_one(memory.table[start:stop], least_front_share)
            if facts.size > 0 and here[pixel] > 0:
                facts_here[pixel] = _facts_of_one(memory, start, stop, last, front)
        for i in range(len(here)):
            measured += here[i] > 0
    return measured


@njit(cache=True, error_model="numpy")
def _drop_hidden(keys, entry):  # type: ignore[no-untyped-def]
    """Keep the returns of a tile that lie in front of the entry into a moving box, or were carried; return how many."""
    lowest = EMPTY
    for i in range(len(entry)):
        lowest = min(lowest, entry[i])
    if lowest == EMPTY:
        return len(keys)
    kept = 0
    for i in range(len(keys)):
        key = keys[i]
        keys[kept] = key
        kept += ((key & CARRIED) != 0) | (np.uint16(key >> _STEP_SHIFT & _STEP) <= entry[np.uint64(key & _PIXEL)])
    return kept


@njit(cache=True, error_model="numpy")
def _sort_by_count(keys, memory):  # type: ignore[no-untyped-def]
    """Write the returns of a tile to ``memory.table``, of pixels with equally many together, few first."""
    count, place, number, stride = memory.num_of, memory.place, memory.number, memory.stride
    count[:], number[:] = 0, 0
    for i in range(len(keys)):
        count[np.uint64(keys[i] & _PIXEL)] += np.int32(1)
    none, one, above = np.int32(-1), np.int32(1), np.int32(MANY + 1)
    for pixel in range(TILE):  # without a branch, so that the compiler makes vector code of it
        memory.here[pixel] = np.int32(pixel) if count[pixel] > one else none
        memory.kind_here[pixel] = np.uint16(min(count[pixel], above))
        place[pixel] = pixel  # of a single return, which no other one follows
    listed = pack_inside(memory.here, memory.kind_here, TILE, memory.listed, memory.kind, 0, none)
    for n in range(listed):
        number[np.uint64(memory.kind[np.uint64(n)])] += one
    begin, first = TILE, 0
    for many in range(2, MANY + 2):
        memory.next_pixel[many], memory.to_place[many], stride[many] = first, begin - first, number[many]
        first += number[many]
        begin += many * number[many]
    stride[MANY + 1] = 1  # the returns of each of these lie together
    rest = np.int64(begin - (MANY + 1) * number[MANY + 1])
    for n in range(listed):
        pixel, kind = memory.listed[np.uint64(n)], np.uint64(memory.kind[np.uint64(n)])
        at = memory.next_pixel[kind]
        memory.next_pixel[kind] = at + one
        memory.ordered[np.uint64(at)] = pixel
        to = np.int64(at + memory.to_place[kind])
        if kind > np.uint64(MANY):
            to = rest
            rest += count[np.uint64(pixel)]
        place[np.uint64(pixel)] = (np.int64(stride[kind]) << _STRIDE_SHIFT) | to
    if memory.votes.size > 0:
        _place_with_votes(keys, place, memory.table, memory.votes)
    else:
        _place(keys, place, memory.table)


@njit(cache=True, error_model="numpy")
def _place(keys, place, table):  # type: ignore[no-untyped-def]
    for i in range(len(keys)):
        at = np.uint64(keys[i] & _PIXEL)
        to = place[at]
        table[np.uint64(to & _PLACE)] = np.float32(np.uint32(keys[i]) >> _STEP_SHIFT)
        place[at] = to + (to >> _STRIDE_SHIFT)


@njit(cache=True, error_model="numpy")
def _place_with_votes(keys, place, table, votes):  # type: ignore[no-untyped-def]
    for i in range(len(keys)):
        at = np.uint64(keys[i] & _PIXEL)
        to = place[at]
        table[np.uint64(to & _PLACE)] = np.float32(np.uint32(keys[i]) >> _STEP_SHIFT)
        votes[np.uint64(to & _PLACE)] = np.uint64(keys[i]) >> _VOTE_SHIFT
        place[at] = to + (to >> _STRIDE_SHIFT)


@njit(cache=True, error_model="numpy")
def _take_singles(memory, out, facts):  # type: ignore[no-untyped-def]
    """Write the only return of every pixel that has one, 0 to all other pixels of a tile, and the facts of the former."""
    for pixel in range(len(out)):
        is_single = memory.num_of[pixel] == 1
        out[pixel] = np.uint16(np.int32(memory.table[pixel] if is_single else np.float32(0)))
    if facts.size > 0:
        for pixel in range(len(out)):
            vote = np.uint32(memory.votes[pixel]) if memory.votes.size > 0 else np.uint32(0)
            facts[pixel] = (vote << np.uint32(24) | np.uint32(0xFF01)) if memory.num_of[pixel] == 1 else facts[pixel]


@njit(cache=True, error_model="numpy")
def _form_lanes(memory, begin, first, many, number, least_front_share, out):  # type: ignore[no-untyped-def]
    """Form the surface of ``number`` pixels with ``many`` returns each.

    Args:
        memory: ``table`` holds their returns from ``begin`` on, ``ordered`` the pixels from ``first`` on.
        begin: see there.
        first: see there.
        many: returns of each pixel.
        number: pixels.
        least_front_share: see ``form_surface``.
        out: (TILE,) uint16 output, at the pixels.
    """
    table, pixels = memory.table[begin : begin + many * number], memory.ordered[first : first + number]
    nearest, last, front, total = memory.nearest[:number], memory.last[:number], memory.front[:number], memory.total[:number]
    if many == 2:
        _layers_of_two(table[:number], table[number:], nearest, last, front, total)
    elif many == 3:
        _layers_of_three(table[:number], table[number : 2 * number], table[2 * number :], nearest, last, front, total)
    else:
        _layers(table, many, memory.before[:number], memory.reach[:number], nearest, last, front, total)
    least = least_front_share * many - _TINY
    for n in range(number):
        depth = _depth_of(nearest[n], front[n], total[n])
        out[np.uint64(pixels[n])] = np.uint16(depth if front[n] >= least else np.int32(0))


@njit(cache=True, error_model="numpy")
def _layers(table, many, before, reach, nearest, last, front, total):  # type: ignore[no-untyped-def]
    """Find the front layers of pixels with ``many`` returns each, from ``table`` (many * number,).

    Outputs (number,): nearest and last step, how many returns a layer has, and the sum of their inverse depths.
    ``before`` and ``reach`` (number,) are working memory.
    """
    number = len(nearest)
    for n in range(number):
        nearest[n] = table[n]
    for i in range(1, many):
        row = table[i * number : (i + 1) * number]
        for n in range(number):
            nearest[n] = min(nearest[n], row[n])
    for n in range(number):
        last[n] = nearest[n]
    for _ in range(many - 1):  # each time a layer moves on it takes at least one return
        for n in range(number):
            before[n], reach[n] = last[n], _reach(nearest[n], last[n])
        for i in range(many):
            row = table[i * number : (i + 1) * number]
            for n in range(number):
                last[n] = max(last[n], row[n] if row[n] <= reach[n] else np.float32(0))
        moved = 0
        for n in range(number):
            moved += last[n] != before[n]
        if moved == 0:
            break
    total[:], front[:] = 0, 0
    for i in range(many):
        row = table[i * number : (i + 1) * number]
        for n in range(number):
            is_front = row[n] <= last[n]
            front[n] += is_front
            share = _share_of_nearest(nearest[n], row[n])
            total[n] += share if is_front else np.int32(0)


@njit(cache=True, error_model="numpy")
def _layers_of_two(first, second, nearest, last, front, total):  # type: ignore[no-untyped-def]
    """Do what ``_layers`` does for pixels with two returns (number,) each, in one pass."""
    for n in range(len(first)):
        near, far = min(first[n], second[n]), max(first[n], second[n])
        is_front = far <= _reach(near, near)
        share = _share_of_nearest(near, far)
        nearest[n], last[n] = near, far if is_front else near
        front[n] = np.int32(1) + np.int32(is_front)
        total[n] = _ONE_STEP + (share if is_front else np.int32(0))


@njit(cache=True, error_model="numpy")
def _layers_of_three(first, second, third, nearest, last, front, total):  # type: ignore[no-untyped-def]
    """Do what ``_layers`` does for pixels with three returns (number,) each, in one pass: sorted, a layer is a chain."""
    for n in range(len(first)):
        low, high = min(first[n], second[n]), max(first[n], second[n])
        near, far = min(low, third[n]), max(high, third[n])
        middle = max(low, min(high, third[n]))
        has_middle = middle <= _reach(near, near)
        has_far = has_middle & (far <= _reach(near, middle))
        share, share_far = _share_of_nearest(near, middle), _share_of_nearest(near, far)
        nearest[n], last[n] = near, far if has_far else (middle if has_middle else near)
        front[n] = np.int32(1) + np.int32(has_middle) + np.int32(has_far)
        total[n] = _ONE_STEP + (share if has_middle else np.int32(0)) + (share_far if has_far else np.int32(0))


@njit(cache=True, error_model="numpy")
def _form_one(steps, least_front_share):  # type: ignore[no-untyped-def]
    """Return the surface of one pixel of many returns, by the same rule; the layer's farthest return, and how many it has."""
    nearest, before = steps[0], np.float32(0)
    for i in range(len(steps)):
        nearest = min(nearest, steps[i])
    last = nearest
    while last != before:
        before, reach = last, _reach(nearest, last)
        for i in range(len(steps)):
            last = max(last, steps[i] if steps[i] <= reach else np.float32(0))
    front, total = 0, np.int64(0)
    for i in range(len(steps)):
        is_front = steps[i] <= last
        front += 1 if is_front else 0
        share = _share_of_nearest(nearest, steps[i])
        total += share if is_front else np.int32(0)
    is_formed = front >= least_front_share * len(steps) - _TINY
    return np.uint16(_depth_of(nearest, front, total) if is_formed else np.int32(0)), last, front


@njit(cache=True, error_model="numpy")
def _note_lanes(memory, begin, first, many, number, out, facts):  # type: ignore[no-untyped-def]
    """Write the facts of pixels right after ``_form_lanes``, which takes the same arguments."""
    table, pixels, noted = memory.table[begin : begin + many * number], memory.ordered[first : first + number], memory.total
    nearest, last, front = memory.nearest[:number], memory.last[:number], memory.front[:number]
    of_share, tiny = np.float32(255) / np.float32(many), np.float32(1e-3)
    for n in range(number):
        share = np.int32(np.float32(front[n]) * of_share + tiny)
        noted[n] = front[n] | share << 8 | np.int32(_spread_step(nearest[n], last[n])) << 16
    if memory.votes.size > 0:
        most, votes = memory.most[:number], memory.votes[begin : begin + many * number]
        most[:] = 0
        for i in range(many):
            row, of_row = table[i * number : (i + 1) * number], votes[i * number : (i + 1) * number]
            for n in range(number):
                most[n] = max(most[n], np.int32(of_row[n]) if row[n] <= last[n] else np.int32(0))
        for n in range(number):
            noted[n] |= most[n] << 24
    for n in range(number):
        at = np.uint64(pixels[n])
        facts[at] = np.uint32(noted[n]) if out[at] > 0 else np.uint32(0)


@njit(cache=True, error_model="numpy")
def _facts_of_one(memory, start, stop, last, front):  # type: ignore[no-untyped-def]
    """Return the facts of one pixel of many returns."""
    nearest, most = last, np.uint8(0)
    for i in range(start, stop):
        nearest = min(nearest, memory.table[i])
        if memory.votes.size > 0 and memory.table[i] <= last:
            most = max(most, memory.votes[i])
    share = max(255 * front // (stop - start), 1)
    return np.uint32(min(front, 255) | share << 8 | np.int64(_spread_step(nearest, last)) << 16 | np.int64(most) << 24)


@njit(cache=True, error_model="numpy")
def _spread_step(nearest, last):  # type: ignore[no-untyped-def]
    return np.int32((last - nearest) * np.float32(512) / nearest)


@njit(cache=True, error_model="numpy")
def _reach(nearest, last):  # type: ignore[no-untyped-def]
    """Return how far the next return of a layer may lie, whose returns so far lie between two steps."""
    return min(last + (_GAP_SHARE * last + _GAP_STEPS), _LAYER * nearest)


@njit(cache=True, error_model="numpy")
def _share_of_nearest(nearest, step):  # type: ignore[no-untyped-def]
    """Return the inverse depth of a return in 2^-24 of the nearest one's."""
    half = np.float32(0.5)
    return np.int32((nearest + half) / (step + half) * _ONE)


@njit(cache=True, error_model="numpy")
def _depth_of(nearest, front, total):  # type: ignore[no-untyped-def]
    """Return the depth in whole steps of the mean of ``front`` inverse depths that add up to ``total``."""
    return np.int32((np.float64(nearest) + 0.5) * (front * 16777216.0) / total)
