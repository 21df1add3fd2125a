"""How the processes of a training are started: one alone, several that we start, or several that srun or torchrun has started."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from model.devices import DeviceError, network_device
from model.train.config import CommonConfig, Machine
from model.train.launch import Launch, launch_here, say_less
from model.train.ranks import RanksError, set_slurm_variables
from model.train.stopping import SIGNALS, TrainingStopped
from storage_schemas.errors import DepthmillError

if TYPE_CHECKING:  # Lightning takes as long to load as torch itself, and only those who train need it
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

TOGETHER = timedelta(days=7)
"""How long processes may wait for each other: rank 0 may measure for hours. That one of them is gone is seen in another way."""


def fabric_of(config: CommonConfig, machine: Machine) -> Fabric:
    """Return the Fabric of a training.

    Raises:
        DeviceError: the devices are not there.
        RanksError: several nodes were asked for, and there is no process on each.
    """
    say_less()
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    accelerator, launch = network_device(machine.accelerator).type, launch_here()
    _refuse_missing(machine, launch, accelerator)
    # without it DDP fails on parameters without gradients: those of the radar graph in a batch without radar, those of a
    # detector's heads in a batch without objects
    strategy: Any = DDPStrategy(start_method="popen" if launch else "spawn", find_unused_parameters=True, timeout=TOGETHER)
    precision: Any = "bf16-mixed" if config.uses_bfloat16(accelerator) else "32-true"
    return Fabric(
        accelerator=accelerator,
        devices=machine.num_devices,
        num_nodes=machine.num_nodes,
        strategy="auto" if machine.num_processes == 1 else strategy,
        precision=precision,
        plugins=[_environment(launch)],
    )


def _environment(launch: Launch | None) -> ClusterEnvironment:
    """Return what Fabric knows of the processes; named, because its own search takes any job of Slurm for one of srun."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if launch is None:
        return LightningEnvironment()
    if launch.by == "torchrun":
        return TorchElasticEnvironment()
    set_slurm_variables(launch)
    return SLURMEnvironment(auto_requeue=False)


def _refuse_missing(machine: Machine, launch: Launch | None, accelerator: str) -> None:
    asked = (machine.num_devices, machine.num_nodes)
    if launch is not None and asked != (launch.num_devices, launch.num_nodes):
        raise RanksError(
            f"{launch.by} started {launch.num_devices} processes on each of {launch.num_nodes} nodes, and the training is set to "
            f"{machine.num_devices} devices on each of {machine.num_nodes}. Start it as depthmill train, which takes the "
            "launcher's numbers, or set both to the same"
        )
    if launch is None and machine.num_nodes > 1:
        raise RanksError(
            f"a training on {machine.num_nodes} nodes needs a process for each device, started by srun or torchrun. See "
            "docs/operations/slurm.md, or set DEPTHMILL_NUM_NODES=1"
        )
    if accelerator == "cuda" and torch.cuda.device_count() < machine.num_devices:
        raise DeviceError(
            f"{machine.num_devices} devices of a node were asked for, and torch sees {torch.cuda.device_count()} GPU on "
            f"{socket.gethostname()}. Set DEPTHMILL_NUM_DEVICES, or let every process of the node see all its GPUs (with Slurm "
            "--gpus-per-node, and neither --gpus-per-task nor --gpu-bind)"
        )


class Told:
    """What the processes that we start tell us of their end; made where they are started, and handed to them."""

    def __init__(self) -> None:
        self._failures: Any = multiprocessing.get_context("spawn").SimpleQueue()

    def attempt(self, rank: int, work: Callable[[], None]) -> tuple[int, int, str] | None:
        """Do the work of one process; returns what ``TrainingStopped`` takes if it was told to stop, else None."""
        try:
            work()
        except TrainingStopped as stopped:
            return stopped.signum, stopped.step, stopped.path
        except DepthmillError as error:
            self._failures.put((rank, str(error)))
            raise
        return None

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Raise what a process said; to be entered where they are started.

        Raises:
            RanksError: one of them failed with a user's mistake, or is gone.
        """
        try:
            yield
        except (ProcessExitedException, ProcessRaisedException) as error:
            if not self._failures.empty():
                rank, text = self._failures.get()
                raise RanksError(text if rank == 0 else f"rank {rank} failed: {text}") from error
            if not isinstance(error, ProcessExitedException) or error.signal_name is None:
                raise
            raise RanksError(
                f"rank {error.error_index} (process {error.error_pid}) was ended by {error.signal_name}. The system kills a "
                "process like this when memory runs out. Run the same command: it goes on from the last checkpoint"
            ) from error


@contextmanager
def signals_passed_on() -> Iterator[None]:
    """Send SIGTERM and SIGUSR1 on to the processes that this one has started, which stop after their step.

    One that has not begun its steps ends at once; then this process obeys the signal as it did before.
    """
    received: list[int] = []

    def pass_on(signum: int, frame: object) -> None:
        received.append(signum)
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, signum)

    is_main = threading.current_thread() is threading.main_thread()  # no other one receives signals
    former = {number: signal.signal(number, pass_on) for number in SIGNALS} if is_main else {}
    ended_early = False
    try:
        yield
    except RanksError:
        ended_early = bool(received)
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        if ended_early:
            signal.raise_signal(received[0])
