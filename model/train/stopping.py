"""SIGTERM and SIGUSR1 while a training goes on: the optimiser step is finished, last.pt is written, then the process ends.

Why    A queue says some time before it ends a job that it will (SIGUSR1 before a time limit, SIGTERM). A training that obeys at
       once repeats up to five minutes of steps; one that is told in the middle of a step can save after it.
How    While steps are done a signal is noted. After each step all processes agree whether one of them has been told, so that
       they all stop after the same step. While a split is measured, which may take long, last.pt is there already, and a signal
       ends the measuring at once; it is done first when the training goes on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class TrainingStopped(KeyboardInterrupt):
    """A training was told to stop, and has saved what it did; like Ctrl-C it passes all that reports errors and goes on.

    Args:
        signum: the signal.
        step: optimiser steps that last.pt has.
        path: the checkpoint.
    """

    def __init__(self, signum: int, step: int, path: str) -> None:
        super().__init__(signum, step, path)
        self.signum, self.step, self.path = signum, step, path

    def __str__(self) -> str:
        """Say what was saved, and what to do."""
        name = signal.Signals(self.signum).name
        return f"ended by {name}: step {self.step} is saved in {self.path}; the same command goes on from there"


class StopSignals:
    """Notes signals from entering the block to its end; in a thread that receives no signals it does nothing."""

    def __init__(self) -> None:
        self._received = 0
        self._saved: tuple[int, str] | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Begin to note."""
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give the signals back. After a stop they are ignored: a second one must not cut off what is kept of the training."""
        for number, handler in self._former.items():
            signal.signal(number, signal.SIG_IGN if isinstance(error, TrainingStopped) else handler)
        if self._received and error is None:
            signal.raise_signal(self._received)  # it came after the last step: whoever else handles it shall have it

    def agreed(self, fabric: Fabric) -> int:
        """Return the signal that this or another process has received, 0 for none; all processes must call it together."""
        if fabric.world_size == 1:
            return self._received
        import torch

        received = torch.tensor(float(self._received), device=fabric.device)
        most: Any = fabric.all_reduce(received, reduce_op="max")
        return int(most)

    @contextmanager
    def obeyed(self, step: int, path: str) -> Iterator[None]:
        """End this process as soon as a signal comes, for ``path`` has all that was done up to ``step``.

        Raises:
            TrainingStopped: a signal came.
        """
        self._saved = step, path
        try:
            if self._received:
                raise TrainingStopped(self._received, step, path)
            yield
        finally:
            self._saved = None

    def _note(self, signum: int, frame: object) -> None:
        self._received = self._received or signum
        if self._saved is not None:
            (step, path), self._saved = self._saved, None
            raise TrainingStopped(signum, step, path)
