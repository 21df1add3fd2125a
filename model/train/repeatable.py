"""What makes a training give the same bits again: a fixed number of threads on a CPU, repeatable operations on a GPU.

Why    Sums depend on how they are split. On a CPU torch splits convolutions, batch norms and matrix products by the number of
       threads, which was that of the machine's cores: six runs of one training with two threads gave six networks, and one thread
       another. With one thread they are equal whatever the machine has; so one is the default, and the number is a key of the
       recipe, because it decides the result. The same number of threads gives the same bits with operations that add in a fixed
       order
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from model.train.config import CommonConfig
from storage_schemas.errors import DepthmillError

_NOT_REPEATABLE = "does not have a deterministic implementation"


class NotRepeatableError(DepthmillError):
    """An operation that cannot give the same bits again, in a training that asks for them."""


@contextmanager
def repeatable(config: CommonConfig, device_type: str) -> Iterator[None]:
    """Compute as a configuration says, until the block ends; to be entered before a network is put on its device.

    Args:
        config: of the training.
        device_type: ``cpu`` or ``cuda``.

    Raises:
        NotRepeatableError: ``train.deterministic`` is set, and an operation has no repeatable form on this GPU.
    """
    is_cpu = device_type == "cpu"
    before = torch.get_num_threads(), torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic
    was_on, fill = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    if is_cpu:
        torch.set_num_threads(config.cpu_threads)
    else:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is computed
    if config.deterministic or (is_cpu and config.cpu_threads > 1):
        torch.use_deterministic_algorithms(True)
        deterministic.fill_uninitialized_memory = False  # it finds errors, and costs a pass over every new tensor
    try:
        yield
    except RuntimeError as error:
        if _NOT_REPEATABLE not in str(error):
            raise
        operation = str(error).split(_NOT_REPEATABLE)[0].strip()
        raise NotRepeatableError(
            f"train.deterministic is true, and on {device_type} {operation} has no form that gives the same bits again. Set "
            "train.deterministic to false, or train on a CPU (DEPTHMILL_DEVICE=cpu)"
        ) from error
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(was_on, warn_only=before[1])
        deterministic.fill_uninitialized_memory = fill
