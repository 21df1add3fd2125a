"""The hot loop of accumulation on a GPU, by numba.cuda: the same bits as ``pipeline.kernels.accumulate``.

Why    A window of 160 sweeps is 66 MB of points. A GPU reads them at once, and the scene's points fit beside it: they are sent
       over once per scene and stay for all its cameras; per frame a few matrices go there and one uint16 map comes back
Same   Every product, sum and quotient is rounded for itself, in the order of the CPU's loop. A GPU's compiler would fuse a*b + c
       into one rounding (nvvm does by default, and numba has no switch for it), so the operations are libdevice's ``_rn``
       functions, which are never fused. Culling compares as the CPU does, also with NaN. The minimum does not depend on order
Memory Device memory of a process: 12 bytes a point (165 MB for a 20 s nuScenes scene, also while the CPU encodes what was made of
       it) and 6 bytes a pixel (9 MB), beside CUDA's own context (some hundred MB). Workers that share a GPU each hold that. It
       is given back when the scene's points are forgotten. All use the first device that CUDA_VISIBLE_DEVICES lets them see

Importing this module loads numba.cuda, but starts nothing on the device; ``pipeline.kernels.engine`` imports it when needed.
``projecting_on_cpu`` is the twin that tests and every process's self-check compare with.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda
from numba.core import config
from numba.cuda import libdevice
from numpy.typing import NDArray

from pipeline.kernels.accumulate import EMPTY, FAR_M, NEAR_M, FrozenGroups
from pipeline.kernels.engine_numba import Project

IS_SIMULATED = bool(config.ENABLE_CUDASIM)
"""Whether numba runs kernels in Python (NUMBA_ENABLE_CUDASIM=1): slow, without a GPU, for tests."""

THREADS = 2 if IS_SIMULATED else 256
"""Threads of a CUDA block, which takes one culling block: two points each. A simulated one is a thread of Python."""

FINISHING_BLOCKS = 2 if IS_SIMULATED else 512
"""CUDA blocks that finish a frame together, each taking several runs of pixels."""

_LEAST_BLOCKS = 1 if IS_SIMULATED else 128  # numba warns of smaller launches; a tiny scene needs no warning
_FRUSTUM = 3  # first row of the planes in ``transforms``

if IS_SIMULATED:  # libdevice is not simulated; NumPy's float32 scalars round after every operation, too
    _times, _plus, _divided = operator.mul, operator.add, operator.truediv
else:
    _times, _plus, _divided = libdevice.fmul_rn, libdevice.fadd_rn, libdevice.fdiv_rn

_ZERO, _ONE, _STEPS = np.float32(0), np.float32(1), np.float32(256)
_UNSEEN = np.uint32(EMPTY)


@cuda.jit(device=True)
def _affine(a, b, c, d, x, y, z):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Return a*x + b*y + c*z + d."""
    return _plus(_plus(_plus(_times(a, x), _times(b, y)), _times(c, z)), d)


@cuda.jit(device=True)
def _larger_of(a, b):  # type: ignore[no-untyped-def]
    """Return what numba's ``max`` returns on the CPU; on the GPU numba's ``max`` treats NaN differently."""
    return b if b > a else a


@cuda.jit(device=True)
def _is_seen(m, box):  # type: ignore[no-untyped-def]
    """Say whether a bounding box (6,) reaches the inner side of every plane; ``m`` as in ``_project``."""
    for plane in range(_FRUSTUM, _FRUSTUM + 6):
        a, b, c = m[plane, 0], m[plane, 1], m[plane, 2]
        along_x = _larger_of(_times(a, box[0]), _times(a, box[3]))
        along_y = _larger_of(_times(b, box[1]), _times(b, box[4]))
        along_z = _larger_of(_times(c, box[2]), _times(c, box[5]))
        largest = _plus(_plus(_plus(along_x, along_y), along_z), m[plane, 3])
        if not largest >= _ZERO:
            return False
    return True


@cuda.jit(cache=True)
def _project(xyz, block_group, block_start, block_bounds, place, transforms, near, far, height, width, zbuffer):  # type: ignore[no-untyped-def]
    """Lower the z-buffer to the depths of the chosen groups; one CUDA block takes one culling block.

    Args:
        xyz: (3, n) float32 points.
        block_group: (num_blocks,) int32 group of each block.
        block_start: (num_blocks + 1,) int64.
        block_bounds: (num_blocks, 6) float32.
        place: (num_groups,) int32 number of each group in ``transforms``, -1 = not chosen.
        transforms: (k, 9, 4) float32: three rows of the matrix, six planes of the frustum.
        near: float32 metres; the bounds are arguments, for numba's cache does not see when another file's constants change.
        far: float32 metres.
        height: image rows.
        width: image columns.
        zbuffer: (height * width,) uint32: a GPU has no atomic minimum of 16 bits.
    """
    block = cuda.blockIdx.x
    if block >= block_group.shape[0]:
        return
    k = place[block_group[block]]
    if k < 0 or not _is_seen(transforms[k], block_bounds[block]):
        return
    m = transforms[k]
    a0, a1, a2, a3 = m[0, 0], m[0, 1], m[0, 2], m[0, 3]
    b0, b1, b2, b3 = m[1, 0], m[1, 1], m[1, 2], m[1, 3]
    c0, c1, c2, c3 = m[2, 0], m[2, 1], m[2, 2], m[2, 3]
    wide, high = np.float32(width), np.float32(height)
    for i in range(block_start[block] + cuda.threadIdx.x, block_start[block + 1], cuda.blockDim.x):
        x, y, z = xyz[0, i], xyz[1, i], xyz[2, i]
        depth = _affine(c0, c1, c2, c3, x, y, z)
        if depth > near and depth < far:
            scale = _divided(_ONE, depth)
            u = _times(_affine(a0, a1, a2, a3, x, y, z), scale)
            v = _times(_affine(b0, b1, b2, b3, x, y, z), scale)
            if u >= _ZERO and u < wide and v >= _ZERO and v < high:
                at = np.int32(v) * width + np.int32(u)
                step = np.uint32(_times(depth, _STEPS))
                if step < zbuffer[at]:  # the value may be out of date, but then it is too large, and no return is lost
                    cuda.atomic.min(zbuffer, at, step)


@cuda.jit(cache=True)
def _finish(zbuffer, out, num_measured):  # type: ignore[no-untyped-def]
    """Copy the z-buffer to ``out`` (uint16, 0 = no measurement), reset it, and add its measured pixels to ``num_measured``."""
    num_seen = 0
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        value = zbuffer[i]
        if value != _UNSEEN:
            num_seen += 1
            out[i] = value
            zbuffer[i] = _UNSEEN
        else:
            out[i] = 0
    if num_seen > 0:
        cuda.atomic.add(num_measured, 0, num_seen)


@dataclass(frozen=True)
class _ScenePointsOnDevice:
    """The arrays of ``_project`` that stay the same for a scene."""

    xyz: Any
    block_group: Any
    block_start: Any
    block_bounds: Any


_on_device: dict[int, _ScenePointsOnDevice] = {}
"""Keys are the ``id`` of the scene's points; an entry is deleted together with them."""


def _sent(groups: FrozenGroups) -> _ScenePointsOnDevice:
    """Return a scene's points on the device; they are sent the first time."""
    key = id(groups)
    if key not in _on_device:
        num_points = int(groups.block_start[-1])
        xyz = cuda.device_array((3, max(num_points, 1)), np.float32)
        for axis in range(3):  # one copy per axis, so that the unused room behind the points is not sent
            if num_points:
                xyz[axis, :num_points].copy_to_device(groups.xyz_m[axis, :num_points])
        block_group = np.repeat(np.arange(len(groups.sweep), dtype=np.int32), np.diff(groups.first_block))
        _on_device[key] = _ScenePointsOnDevice(
            xyz, cuda.to_device(block_group), cuda.to_device(groups.block_start), cuda.to_device(groups.block_bounds_m)
        )
        weakref.finalize(groups, _forget, key).atexit = False
    return _on_device[key]


def _forget(key: int) -> None:
    """Give back the device memory of a scene now; numba would wait until a fifth of the device is to be freed."""
    _on_device.pop(key, None)
    if not IS_SIMULATED:
        cuda.current_context().memory_manager.deallocations.clear()


@contextmanager
def projecting_on_gpu(groups: FrozenGroups, *, height: int, width: int) -> Iterator[Project]:
    """Yield the projection of a scene's points into images of one size, on the GPU.

    Args:
        groups: the scene's points; they stay on the device until this object is gone.
        height: image rows.
        width: image columns.

    Raises:
        CudaAPIError: numba's; the device has no room for the points, or failed.
    """
    num_groups, num_blocks = len(groups.sweep), len(groups.block_bounds_m)
    scene = _sent(groups) if num_blocks else None
    place = cuda.device_array(max(num_groups, 1), np.int32)
    transforms = cuda.device_array((max(num_groups, 1), _FRUSTUM + 6, 4), np.float32)
    zbuffer = cuda.to_device(np.full(height * width, EMPTY, np.uint32))
    on_device = cuda.device_array(height * width, np.uint16)
    num_measured = cuda.device_array(1, np.int32)
    nothing = np.zeros(1, np.int32)
    near, far = np.float32(NEAR_M), np.float32(FAR_M)

    def project(
        chosen: NDArray[np.int64], matrices: NDArray[np.float32], planes: NDArray[np.float32], out: NDArray[np.uint16]
    ) -> int:
        if scene is not None and len(chosen):
            place_of = np.full(num_groups, -1, np.int32)
            place_of[chosen] = np.arange(len(chosen))
            place.copy_to_device(place_of)
            transforms[: len(chosen)].copy_to_device(np.concatenate([matrices, planes], axis=1))
            _project[max(num_blocks, _LEAST_BLOCKS), THREADS](
                scene.xyz,
                scene.block_group,
                scene.block_start,
                scene.block_bounds,
                place,
                transforms,
                near,
                far,
                height,
                width,
                zbuffer,
            )
        num_measured.copy_to_device(nothing)
        _finish[FINISHING_BLOCKS, THREADS](zbuffer, on_device, num_measured)
        on_device.copy_to_host(out)
        return int(num_measured.copy_to_host()[0])

    yield project
