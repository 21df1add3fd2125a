"""A command under srun or torchrun: rank 0 does what it is told, the other processes train with it and do nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from flows.waiting import be_quiet
from model.train.launch import Launch, launch_here, say_less


@contextmanager
def first_of_the_launched() -> Iterator[None]:
    """Go on in rank 0, and in a process that is the only one; every other process ends within and never comes out.

    Raises:
        RanksError: the processes do not find each other.
        RecipeError: the launcher's environment is not whole, or torch is not installed.
    """
    launch = launch_here()
    if launch is None:
        yield
        return
    if launch.rank:
        be_quiet()
    from flows.run.training import refuse_without_torch

    refuse_without_torch()
    say_less()
    if launch.rank:
        _follow(launch)
    from model.train.ranks import lead

    leader, code = lead(launch), 1
    try:
        yield
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        leader.end(code)


def _follow(launch: Launch) -> NoReturn:
    """Train with rank 0 until it ends; the signals of a queue come to every process, and rank 0 says what is to be said."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda signum, frame: os._exit(128 + signum))
    from model.families import FAMILIES
    from model.train.loop import train_as_told
    from model.train.ranks import Follower

    Follower(launch).serve(lambda work: train_as_told(work, FAMILIES))
