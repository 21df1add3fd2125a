"""Every annotated object beside every detection of its frame, with what the two share: what all measures of boxes look at.

Why    Overlaps are most of the work of an average precision, and do not depend on category or difficulty. An analysis that
       moves some detections keeps the pairs, and works out anew only what a moved box changes
Source docs/method/monoddle.md#average-precision
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.objects import Objects, join_objects
from model.monoddle.precision.box_overlap import Floats, overlap_2d, own_share_2d, solid_boxes, solid_overlaps
from storage_schemas.errors import DepthmillError

Integers = NDArray[np.int64]


class AveragePrecisionError(DepthmillError):
    """Annotations and detections that cannot be measured against each other."""


class Frames(NamedTuple):
    """The objects of all frames in one list, categories in lower case."""

    objects: Objects
    num_objects: Integers  # (frames,)
    frame_of: Integers  # (n,)


class World(NamedTuple):
    """All frames as one.

    Attributes:
        truth: t objects, DontCare too, in the order of the frames.
        detections: d of them, in the order of the frames and of falling scores.
        truth_frame: (t,) int64 number of the frame.
        found_frame: (d,) int64 likewise.
        pair_truth: (p,) int64 the object of each pair of one frame, rising; none is DontCare.
        pair_found: (p,) int64 its detection, rising where the object is the same.
        overlap: (p,) of each pair, by 2d, bev and 3d.
        similarity: (p,) how well the directions agree, 0 to 1.
        own_share: (d,) largest part of a detection in one area that is not to be judged.
    """

    truth: Objects
    detections: Objects
    truth_frame: Integers
    found_frame: Integers
    pair_truth: Integers
    pair_found: Integers
    overlap: dict[str, Floats]
    similarity: Floats
    own_share: Floats


def joined_world(truth: Sequence[Objects], detections: Sequence[Objects]) -> World:
    """Put the objects and the detections of the same frames beside each other, and compare their boxes.

    Raises:
        AveragePrecisionError: the numbers of frames differ, or a number is not finite.
    """
    if len(truth) != len(detections):
        raise AveragePrecisionError(
            f"annotations of {len(truth)} frames and detections of {len(detections)}, expected the same frames in the same "
            "order; give Objects.none() for a frame in which nothing was found"
        )
    return paired_world(joined_frames("truth", truth), joined_frames("found", detections))


def joined_frames(what: str, frames: Sequence[Objects]) -> Frames:
    """Join frames of finite numbers; AveragePrecisionError names the number that is not, and ``what`` it is of."""
    num_objects = np.array([len(frame) for frame in frames], np.int64)
    objects = join_objects(list(frames))
    frame_of = np.repeat(np.arange(len(frames)), num_objects)
    _check_finite(what, objects, frame_of)
    lower = np.char.lower(objects.category) if len(objects) else objects.category
    return Frames(replace(objects, category=lower), num_objects, frame_of)


def is_of(objects: Objects, category: str) -> NDArray[np.bool_]:
    """Return (n,) whether objects are of a category, whose upper and lower case are one."""
    is_same: NDArray[np.bool_] = objects.category == category.lower()
    return is_same


def some_pairs(world: World, is_kept: NDArray[np.bool_]) -> World:
    """Return a world with some of its pairs (p,); those left out must share nothing, whatever becomes of the detections."""
    return world._replace(
        pair_truth=world.pair_truth[is_kept],
        pair_found=world.pair_found[is_kept],
        overlap={name: values[is_kept] for name, values in world.overlap.items()},
        similarity=world.similarity[is_kept],
    )


def with_detections(world: World, detections: Objects) -> World:
    """Return a world whose detections have other boxes.

    Args:
        world: stays as it is.
        detections: (d,) in the world's order, with its scores and categories.
    """
    first, second = world.pair_truth, world.pair_found
    before, overlap, own_share = world.detections, dict(world.overlap), world.own_share
    is_in_space = _differ(before, detections, "location_m", "size_hwl_m", "rotation_y_rad")[second]
    if is_in_space.any():
        for name, values in zip(("bev", "3d"), _solid_overlaps(world.truth, detections, first, second, is_in_space), strict=True):
            overlap[name] = np.where(is_in_space, values, overlap[name])
    if (is_moved := _differ(before, detections, "box_px")).any():
        overlap["2d"] = overlap_2d(world.truth.box_px[first], detections.box_px[second])
        own_share = np.where(is_moved, _own_shares(world, detections, is_moved), own_share)
    similarity = world.similarity
    if _differ(before, detections, "alpha_rad").any():
        similarity = _similarity(world.truth, detections, first, second)
    return world._replace(detections=detections, overlap=overlap, similarity=similarity, own_share=own_share)


def paired_world(truth: Frames, detections: Frames) -> World:
    """Put the detections of each frame in falling order, and compare its boxes."""
    order = np.lexsort((-detections.objects.score, detections.frame_of))
    all_truth, all_found = truth.objects, detections.objects[order]
    pair_truth, pair_found = _pairs_of_one_frame(truth.num_objects, detections.num_objects)
    is_area = is_of(all_truth, "DontCare")[pair_truth]
    own_share = np.zeros(len(all_found))
    areas, inside = pair_truth[is_area], pair_found[is_area]
    np.maximum.at(own_share, inside, own_share_2d(all_found.box_px[inside], all_truth.box_px[areas]))
    pair_truth, pair_found = pair_truth[~is_area], pair_found[~is_area]
    in_bev, in_space = _solid_overlaps(all_truth, all_found, pair_truth, pair_found, np.ones(len(pair_truth), bool))
    overlap = {
        "2d": overlap_2d(all_truth.box_px[pair_truth], all_found.box_px[pair_found]),
        "bev": in_bev,
        "3d": in_space,
    }
    similarity = _similarity(all_truth, all_found, pair_truth, pair_found)
    frames = truth.frame_of, detections.frame_of
    return World(all_truth, all_found, *frames, pair_truth, pair_found, overlap, similarity, own_share)


def _solid_overlaps(
    truth: Objects, detections: Objects, pair_truth: Integers, pair_found: Integers, is_wanted: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return the overlaps from above and in space (p,) of pairs; 0 where they are not wanted or too far apart to touch."""
    reach = [np.hypot(part.size_hwl_m[:, 1], part.size_hwl_m[:, 2]) / 2 for part in (truth, detections)]
    distance = [detections.location_m[pair_found, axis] - truth.location_m[pair_truth, axis] for axis in (0, 2)]
    both = reach[0][pair_truth] + reach[1][pair_found]
    near = np.flatnonzero(is_wanted & (np.abs(distance[0]) < both) & (np.abs(distance[1]) < both))
    first, second = solid_boxes(truth)[pair_truth[near]], solid_boxes(detections)[pair_found[near]]
    in_bev, in_space = np.zeros(len(pair_truth)), np.zeros(len(pair_truth))
    in_bev[near], in_space[near] = solid_overlaps(first, second)
    return in_bev, in_space


def _own_shares(world: World, detections: Objects, is_moved: NDArray[np.bool_]) -> Floats:
    """Return (d,) what part of each moved detection lies in one area that is not to be judged; 0 of the others."""
    shares = np.zeros(len(detections))
    areas = np.flatnonzero(is_of(world.truth, "DontCare"))
    moved = np.flatnonzero(is_moved)
    first, last = (np.searchsorted(world.truth_frame[areas], world.found_frame[moved], side=side) for side in ("left", "right"))
    inside = np.repeat(moved, last - first)
    within = np.arange(len(inside)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
    area = areas[np.repeat(first, last - first) + within]
    np.maximum.at(shares, inside, own_share_2d(detections.box_px[inside], world.truth.box_px[area]))
    return shares


def _similarity(truth: Objects, detections: Objects, pair_truth: Integers, pair_found: Integers) -> Floats:
    similarity: Floats = (1.0 + np.cos(truth.alpha_rad[pair_truth] - detections.alpha_rad[pair_found])) / 2.0
    return similarity


def _differ(a: Objects, b: Objects, *names: str) -> NDArray[np.bool_]:
    """Return (n,) whether objects differ in one of the columns."""
    is_other = np.zeros(len(a), bool)
    for name in names:
        before, after = getattr(a, name), getattr(b, name)
        if before is not after:
            is_other |= (before != after).any(axis=tuple(range(1, before.ndim)))
    return is_other


def _pairs_of_one_frame(num_truth: Integers, num_found: Integers) -> tuple[Integers, Integers]:
    """Return every pair of an object and a detection of one frame, as numbers among all objects and all detections."""
    partners = np.repeat(num_found, num_truth)  # of each object
    first_partner = np.repeat(np.cumsum(num_found) - num_found, num_truth)
    pair_truth = np.repeat(np.arange(len(partners)), partners)
    within = np.arange(len(pair_truth)) - np.repeat(np.cumsum(partners) - partners, partners)
    return pair_truth, first_partner[pair_truth] + within


def _check_finite(what: str, objects: Objects, frame_of: Integers) -> None:
    for field in fields(Objects):
        values = getattr(objects, field.name)
        if field.name == "category" or np.isfinite(values).all():
            continue
        bad = int((~np.isfinite(values)).reshape(len(objects), -1).any(axis=1).argmax())
        frame = int(frame_of[bad])
        raise AveragePrecisionError(
            f"{what}: object {bad - int(np.searchsorted(frame_of, frame))} of frame {frame} ({objects.category[bad]}) has "
            f"{field.name} {values[bad]}, expected finite numbers. Leave it out, or correct what made it"
        )
