"""Which of several processes this one is, where srun or torchrun started one for each device; torch is not needed to know it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from storage_schemas.errors import RecipeError


@dataclass(frozen=True)
class Launch:
    """One of the processes of a launcher.

    Attributes:
        by: the launcher.
        rank: of this process, from 0; only rank 0 does anything but train.
        num_processes: of all nodes.
        num_nodes: on which they run, the same number on each.
    """

    by: Literal["torchrun", "srun"]
    rank: int
    num_processes: int
    num_nodes: int

    @property
    def num_devices(self) -> int:
        """Processes, and so devices, of each node."""
        return self.num_processes // self.num_nodes


def say_less() -> None:
    """Keep torch and Fabric from telling users what is no concern of theirs; takes effect where torch is not imported yet.

    DistributedDataParallel warns on every process that it looked for unused parameters and found none in the first step.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def launch_here(environ: Mapping[str, str] = os.environ) -> Launch | None:
    """Say which of a launcher's processes this is; None if it is the only one.

    A batch script of Slurm is one process, whatever number of tasks it was given: only srun starts the others.

    Raises:
        RecipeError: the nodes have different numbers of processes, or a variable is no number.
    """
    by: Literal["torchrun", "srun"]
    try:
        if "TORCHELASTIC_RUN_ID" in environ:
            by, rank, num_processes = "torchrun", int(environ["RANK"]), int(environ["WORLD_SIZE"])
            per_node = int(environ["LOCAL_WORLD_SIZE"])
            num_nodes, left = divmod(num_processes, per_node)
        elif "SLURM_STEP_ID" in environ and "SLURM_PROCID" in environ:
            by, rank = "srun", int(environ["SLURM_PROCID"])
            num_processes = int(environ.get("SLURM_STEP_NUM_TASKS") or environ["SLURM_NTASKS"])
            num_nodes = int(environ.get("SLURM_STEP_NUM_NODES") or environ.get("SLURM_NNODES") or 1)
            left = num_processes % num_nodes
        else:
            return None
    except (KeyError, ValueError) as error:
        raise RecipeError(
            f"the environment of srun or torchrun is not whole: {error}. Start depthmill by srun or torchrun itself, or take "
            "their variables (SLURM_..., TORCHELASTIC_...) out of the environment"
        ) from error
    if num_processes == 1:
        return None
    if left:
        raise RecipeError(
            f"{by} started {num_processes} processes on {num_nodes} nodes, expected the same number on each node. Give "
            "--ntasks-per-node (srun) or the same --nproc-per-node everywhere (torchrun)"
        )
    return Launch(by, rank, num_processes, num_nodes)
