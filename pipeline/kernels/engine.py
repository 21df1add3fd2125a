"""Which engine projects LiDAR points into images: the GPU where there is one that gives the CPU's bits, else the CPU.

The result is the same bit for bit, so the engine is a matter of the machine: an environment variable, never in a fingerprint.
Both do "the nearest return wins"; what a recipe adds to that is formed on the CPU (``project_surfaces``).
Nothing here touches a GPU before the first projection of a process. What was found is kept per process and not handed
to forked children, in which CUDA does not work: they look again, and take the CPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache

from pipeline.kernels.accumulate import FrozenGroups
from pipeline.kernels.engine_check import difference_of, made_up_scene
from pipeline.kernels.engine_numba import Project, projecting_on_cpu
from storage_schemas.errors import DepthmillError
from storage_schemas.install_command import install_command
from storage_schemas.shown_text import shown

ENGINES = ("cuda", "numba")
ENGINE_VARIABLE = "DEPTHMILL_ACCUMULATE_ENGINE"
_CPU = "compiled CPU kernels"


class AccumulateEngineError(DepthmillError):
    """The engine asked for does not exist, cannot be used here, or failed."""


@dataclass(frozen=True)
class Choice:
    """One engine, whether it can be used, and why (not)."""

    engine: str
    is_usable: bool
    reason: str


@dataclass(frozen=True)
class GpuFinding:
    """Whether this process can use a GPU, and why not.

    Attributes:
        is_usable: it computes, and gives the CPU's bits.
        is_simulated: there is no GPU; numba simulates one in Python.
        is_there: a driver answers for a device, usable or not.
        says: the device's name, or the obstacle and what to do about it.
    """

    is_usable: bool
    is_simulated: bool
    is_there: bool
    says: str


def gpu_of_process() -> GpuFinding:
    """Return whether this process can use a GPU; the first call starts CUDA, if it is installed, and checks its result."""
    return _look_for_gpu(os.getpid())


@cache
def _look_for_gpu(process: int) -> GpuFinding:
    """Look once in each process; ``process`` is its number."""
    try:
        from numba import cuda

        is_there = cuda.cuda_error() is None
        if not is_there:
            cause = " ".join(str(cuda.cuda_error()).split()).split(". ")[0]  # the rest is advice on numba's own variables
            return GpuFinding(False, False, False, f"no NVIDIA GPU with a driver was found ({cause})")
        if not cuda.is_available():
            return GpuFinding(False, False, True, f"CUDA's compiler (libnvvm) was not found: {_install()}")
    except Exception as error:  # packages and drivers that do not fit raise any error, and none may stop a run
        return GpuFinding(
            False,
            False,
            False,
            f"numba.cuda does not start ({_in_one_line(error)}): {_install()}",
        )
    try:
        from pipeline.kernels.accumulate_cuda import IS_SIMULATED

        if IS_SIMULATED:
            return GpuFinding(True, True, False, "no GPU: numba simulates one (NUMBA_ENABLE_CUDASIM)")
        difference = check_gpu()
        if difference is not None:
            return GpuFinding(False, False, True, f"the GPU does not give the CPU's bits: {difference}. Please report this")
        return GpuFinding(True, False, True, _device_name())
    except Exception as error:  # for the same reason
        return GpuFinding(
            False,
            False,
            True,
            f"the GPU does not run the kernel ({_in_one_line(error)}): {_install()}",
        )


def check_gpu(points_of_group: int = 2000) -> str | None:
    """Run a made-up scene on GPU and CPU; say how they differ, None if they agree in every bit."""
    from pipeline.kernels.accumulate_cuda import projecting_on_gpu

    scene = made_up_scene(points_of_group)
    size = {"height": scene.height, "width": scene.width}
    with projecting_on_gpu(scene.groups, **size) as on_gpu, projecting_on_cpu(scene.groups, **size) as on_cpu:
        return difference_of(on_cpu, on_gpu, scene=scene)


def _device_name() -> str:
    from numba import cuda

    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
    return f"{name}, same bits as the CPU on a made-up scene"


def _in_one_line(error: Exception) -> str:
    tokens = f"{type(error).__name__}: {error}".split()
    return " ".join(tokens[:40])


def _wanted(engine: str | None) -> str:
    return engine or os.environ.get(ENGINE_VARIABLE) or "auto"


def choose_engine(engine: str | None = None) -> Choice:
    """Return the engine that projects in this process.

    Args:
        engine: an engine to force; without it the environment's ``DEPTHMILL_ACCUMULATE_ENGINE``, then the GPU if it is usable.

    Raises:
        AccumulateEngineError: the forced engine does not exist or cannot be used here.
    """
    wanted = _wanted(engine)
    if wanted == "numba":
        return Choice("numba", True, f"forced; {_CPU}")
    if wanted not in ("auto", *ENGINES):
        raise AccumulateEngineError(
            f"accumulation engine '{wanted}' does not exist; expected auto or one of {', '.join(ENGINES)} ({ENGINE_VARIABLE})"
        )
    gpu = gpu_of_process()
    if wanted == "cuda":
        if not gpu.is_usable:
            raise AccumulateEngineError(
                f"accumulation engine 'cuda' cannot be used: {gpu.says}. "
                f"Or leave the choice to depthmill (unset {ENGINE_VARIABLE}): the CPU gives the same result"
            )
        return Choice("cuda", True, f"forced; {gpu.says}")
    if gpu.is_usable and not gpu.is_simulated:
        return Choice("cuda", True, gpu.says)
    if gpu.is_there:
        _warn_once(os.getpid(), gpu.says)
    return Choice("numba", True, _CPU)


@cache
def _warn_once(process: int, says: str) -> None:
    """Say on one line, once in each process, why an existing GPU is not used."""
    print(shown(f"warning: LiDAR is accumulated on the CPU: {says}"), file=sys.stderr)


@contextmanager
def projecting(groups: FrozenGroups, *, height: int, width: int, engine: str | None = None) -> Iterator[Project]:
    """Yield the projection of a scene's points into images of one size, by the engine of this process.

    If the choice is free and the GPU has no room for the points, the CPU takes the scene.

    Args:
        groups: the scene's points.
        height: image rows.
        width: image columns.
        engine: an engine to force; see ``choose_engine``.

    Raises:
        AccumulateEngineError: the forced engine cannot be used, or the GPU failed in the middle of a scene.
    """
    choice = choose_engine(engine)
    if choice.engine == "numba":
        with projecting_on_cpu(groups, height=height, width=width) as project:
            yield project
        return
    from numba.cuda.cudadrv.driver import CudaAPIError

    from pipeline.kernels.accumulate_cuda import projecting_on_gpu

    with ExitStack() as stack:
        try:
            project = stack.enter_context(projecting_on_gpu(groups, height=height, width=width))
        except CudaAPIError as error:
            if _wanted(engine) == "cuda":
                raise _failed(error) from error
            _warn_once(os.getpid(), f"the GPU did not take the points of a scene ({_in_one_line(error)})")
            project = stack.enter_context(projecting_on_cpu(groups, height=height, width=width))
        try:
            yield project
        except CudaAPIError as error:
            raise _failed(error) from error


def _failed(error: Exception) -> AccumulateEngineError:
    return AccumulateEngineError(
        f"accumulation engine 'cuda' failed: {_in_one_line(error)}. Run again with fewer workers, "
        f"for each holds its scene on the GPU, or with {ENGINE_VARIABLE}=numba: the CPU gives the same result"
    )


def engine_choices() -> list[Choice]:
    """Return every engine, the one in use first.

    Raises:
        AccumulateEngineError: the forced engine does not exist or cannot be used here.
    """
    used = choose_engine()
    if used.engine == "cuda":
        return [used, Choice("numba", True, _CPU)]
    gpu = gpu_of_process()
    return [used, Choice("cuda", gpu.is_usable, gpu.says)]


def _install() -> str:
    return f"run: {install_command('gpu')}, or 'numba-cuda[cu12]' if nvidia-smi shows a CUDA version below 13"
