"""Ctrl-C, SIGTERM or SIGUSR1 while a command works.

Ctrl-C and SIGTERM end it. SIGUSR1, which a queue sends before a time limit, does as well, and puts its job of Slurm back into the
queue. A training finishes its step and saves it first (model/train/stopping.py): it ends by ``TrainingStopped``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import NoReturn

from flows.waiting import take_line_away
from model.train.ranks import leader_here
from model.train.stopping import SIGNALS, TrainingStopped
from storage_schemas.shown_text import shown

INTERRUPT_GRACE_S = 5.0
"""After Ctrl-C a command may take this long to close what it has opened."""
REQUEUE_S = 60.0
"""How long Slurm may take to answer."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell says it: 128 and the number of the signal."""
BY_SIGNAL = 128
"""Exit code of a command that a signal ended, less the signal's number: 143 after SIGTERM, 138 after SIGUSR1."""


def stop_soon_when_interrupted(advice: str = "finished units are kept; the same command does what is left") -> None:
    """Let Ctrl-C end a command within seconds with one line, and a second one at once; SIGTERM and SIGUSR1 say theirs.

    Processes that the command has started watch it and end with it, so it may end without waiting for them.

    Args:
        advice: what the line says besides.
    """

    def interrupt(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, _end_at_once)
        _say(f"interrupted: {advice}")
        watchdog = threading.Timer(INTERRUPT_GRACE_S, os._exit, (INTERRUPTED,))
        watchdog.daemon = True
        watchdog.start()
        raise KeyboardInterrupt

    def terminate(signum: int, frame: object) -> NoReturn:
        leader = leader_here()
        if leader is not None and leader.failure is not None:  # torchrun ends this process because another one has failed
            _say(f"error: {leader.failure}")
            os._exit(1)
        _say(f"ended by {signal.Signals(signum).name}: {advice}")
        if signum == signal.SIGUSR1:
            requeue()
        os._exit(BY_SIGNAL + signum)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
        for number in SIGNALS:
            signal.signal(number, terminate)


def as_python_does() -> None:
    """Undo it for a command whose work handles the signals itself."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)


def exit_when_interrupted(interrupt: KeyboardInterrupt) -> NoReturn:
    """Exit as after Ctrl-C, or as after the signal that stopped a training; whatever was open is closed by now.

    A second Ctrl-C meanwhile changes nothing, not even the exit code.
    """
    if isinstance(interrupt, TrainingStopped):
        _say(str(interrupt))
        if interrupt.signum == signal.SIGUSR1:
            requeue()
        sys.exit(BY_SIGNAL + interrupt.signum)
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python puts back the default before it ends, unless a signal is ignored
    sys.exit(INTERRUPTED)


def requeue() -> None:
    """Put the job of Slurm that this process belongs to back into the queue; nothing outside of a job."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    if "SLURM_ARRAY_JOB_ID" in os.environ:  # by its own number the first task of an array would mean the whole of it
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    command = ["scontrol", "requeue", job]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=REQUEUE_S, stdin=subprocess.DEVNULL)
        why = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}" if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if why:
        _say(f"the job was not put back into the queue: {' '.join(command)}: {why}. Submit the same script again")
    else:
        _say(f"job {job} is put back into the queue")


def _end_at_once(*_: object) -> NoReturn:
    os._exit(INTERRUPTED)


def _say(what: str) -> None:
    take_line_away()
    print(shown(what), file=sys.stderr, flush=True)
