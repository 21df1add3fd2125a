"""Which annotated object a detection means, by where it is seen in the image, so that its errors can be named one by one.

Why    KITTI's own matching asks for an overlap in space, so a detection whose depth is wrong has no object there, and nothing
       could be said of its depth. Where the centre is seen in the image does not depend on depth, size or heading
Rule   A detection means the nearest object of its category, or of the neighbour that the benchmark passes over, by the projected
       centres of the boxes in space. They are apart by at most 5 cells of the head maps, or a quarter of the height of the
       object's image box if that is more. The surest detection of an object is its match; further ones are duplicates.
       Matches are made once, before anything is replaced
Source docs/method/monoddle.md#oracle-analysis
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.objects import Objects
from model.data.rectified_camera import project_points
from model.monoddle.measured_cameras import FrameCamera
from model.monoddle.precision.average_precision import NEIGHBOUR
from model.monoddle.precision.box_overlap import Floats
from model.monoddle.precision.overlap_pairs import Integers, World, is_of

CELLS_ACROSS = 320
"""Cells of the head maps across an image at the published input width, 1,280 / 4."""

MOST_CELLS = 5
"""Centres farther apart than so many cells are those of different things."""

SHARE_OF_HEIGHT = 0.25
"""Of a large box, centres may be apart by this share of its height: 5 cells are little where a car fills half the image."""

NO_OBJECT = -1


class Matches(NamedTuple):
    """Which object each of d detections means; NO_OBJECT = none.

    Attributes:
        nearest: (d,) int64 the object that it means, which a surer detection may mean, too.
        truth: (d,) int64 the object whose match it is.
    """

    nearest: Integers
    truth: Integers

    @property
    def is_duplicate(self) -> NDArray[np.bool_]:
        """Say (d,) which detections mean an object that has a surer one."""
        is_duplicate: NDArray[np.bool_] = (self.nearest != NO_OBJECT) & (self.truth == NO_OBJECT)
        return is_duplicate


def centres_m(objects: Objects) -> Floats:
    """Return the centres (n, 3) of boxes in space, whose location is that of the bottom face."""
    centres: Floats = objects.location_m - np.array([0.0, 0.5, 0.0]) * objects.size_hwl_m[:, :1]
    return centres


def has_place(objects: Objects) -> NDArray[np.bool_]:
    """Return (n,) whether objects stand before the camera and have a size; KITTI's -1000 and -1 say neither."""
    stands: NDArray[np.bool_] = (objects.location_m[:, 2] > 0) & (objects.size_hwl_m >= 0).all(axis=1)
    return stands


def seen_at_px(objects: Objects, projections: Floats) -> Floats:
    """Return the pixels (n, 2) of the centres of boxes through projections (n, 3, 4); NaN of objects without a place."""
    points = np.where(has_place(objects)[:, None], centres_m(objects), np.nan)
    return project_points(projections, points)


def match_by_centre(world: World, cameras: Sequence[FrameCamera], categories: Sequence[str]) -> Matches:
    """Find what each detection means.

    Args:
        world: with all pairs of each frame.
        cameras: of the frames.
        categories: whose detections are matched.
    """
    projections = np.stack([camera.projection for camera in cameras])
    truth_px = seen_at_px(world.truth, projections[world.truth_frame])
    found_px = seen_at_px(world.detections, projections[world.found_frame])
    cell_px = np.array([camera.image_px[1] for camera in cameras]) / CELLS_ACROSS
    height_px = world.truth.box_px[:, 3] - world.truth.box_px[:, 1]
    most_px = np.maximum(MOST_CELLS * cell_px[world.truth_frame], SHARE_OF_HEIGHT * height_px)
    nearest, truth = (np.full(len(world.detections), NO_OBJECT, np.int64) for _ in range(2))
    for category in categories:
        is_meant = is_of(world.truth, category) | is_of(world.truth, NEIGHBOUR.get(category, category))
        pairs = np.flatnonzero(is_meant[world.pair_truth] & is_of(world.detections, category)[world.pair_found])
        first, second = world.pair_truth[pairs], world.pair_found[pairs]
        apart_px = np.hypot(*(truth_px[first] - found_px[second]).T)
        is_near = apart_px <= most_px[first]  # NaN is not
        first, second, apart_px = first[is_near], second[is_near], apart_px[is_near]
        order = np.lexsort((first, apart_px, second))
        detection, of_detection = np.unique(second[order], return_index=True)
        nearest[detection] = first[order][of_detection]
        # detections stand by falling score, so the first that means an object is its surest
        matched, of_truth = np.unique(nearest[detection], return_index=True)
        truth[detection[of_truth]] = matched
    return Matches(nearest, truth)
