"""The projection on the CPU: compiled by numba, on one core; every machine can run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.accumulate import EMPTY, FrozenGroups, finish_frame, new_scratch, project_nearest

Project = Callable[[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]], int]
"""What every engine offers for the points and the image size it was opened with: ``project(chosen, matrices, planes, out)``.

Takes (k,) int64 groups, none of them twice; (k, 3, 4) float32 matrices from each group's own frame: rows give u*z, v*z and z;
(k, 6, 4) float32 from ``frustum_planes``. Fills ``out`` (height * width,) uint16 with the nearest depth of every pixel, 1/256 m,
0 = no measurement, and returns the number of measured pixels.
"""


@contextmanager
def projecting_on_cpu(groups: FrozenGroups, *, height: int, width: int) -> Iterator[Project]:
    """Yield the projection of a scene's points into images of one size, on the CPU.

    Args:
        groups: the scene's points.
        height: image rows.
        width: image columns.
    """
    zbuffer = np.full(height * width, EMPTY, np.uint16)
    scratch = new_scratch()

    def project(
        chosen: NDArray[np.int64], matrices: NDArray[np.float32], planes: NDArray[np.float32], out: NDArray[np.uint16]
    ) -> int:
        project_nearest(
            groups.xyz_m,
            groups.first_block,
            groups.block_start,
            groups.block_bounds_m,
            chosen,
            matrices,
            planes,
            height,
            width,
            zbuffer,
            scratch,
        )
        return int(finish_frame(zbuffer, out))

    yield project
