"""Processes that answer requests one after the other, each over a pipe of its own; none outlives the process that started it.

Why    A queue that several processes write into hangs when one of them is killed: it dies with the queue's lock, or in the middle
       of a message whose end the reader awaits for ever. It also leaves semaphores behind, which Python then complains about
How    A worker's end of its pipe is open in that worker alone, so the pipe ends with it. A worker whose parent is gone ends
       itself, also in the middle of a request. Ctrl-C, which a terminal sends to every process, does not reach workers: their
       parent ends them. A worker does not import the script that runs, so a script needs no ``if __name__ == "__main__"``
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import reduction, resource_tracker
from typing import Any, NamedTuple
from weakref import WeakSet

from storage_schemas.errors import DepthmillError
from storage_schemas.going_on import is_stopped

LOOK_S = 10.0
"""So often a worker that has not answered is looked at: one that is stopped (SIGSTOP) would be waited for in silence."""
ANSWER_GRACE_S = 5.0
"""A worker that is let go may take this long to end by itself: it finishes what it does."""
_EXIT_CODE_S = 5.0
"""How long the system may take to say how a process ended whose pipe has ended."""


class WorkerDiedError(DepthmillError):
    """A worker process ended without an answer.

    Args:
        pid: of the process.
        exit_code: minus the signal's number if a signal ended it; None = not known.
    """

    def __init__(self, pid: int, exit_code: int | None) -> None:
        super().__init__(pid, exit_code)
        self.pid, self.exit_code = pid, exit_code

    @property
    def ending(self) -> str:
        """Which process, and how it ended."""
        return f"process {self.pid} {_ending(self.exit_code)}"

    def __str__(self) -> str:
        """Say what happened and what to do."""
        return f"a worker died ({self.ending}), {self.likely_cause}, then run the same command again; what is finished is kept"

    @property
    def likely_cause(self) -> str:
        """Why a process ends so, and what to do about it."""
        if self.exit_code is None or self.exit_code == -signal.SIGKILL:
            return "probably killed for lack of memory. Run with fewer workers"
        if self.exit_code < 0:
            return "probably by a fault in compiled code. Report it with the lines above"
        return "and what it said stands above. Mend that"


class _Raised(NamedTuple):
    """An answer that is an error, with the worker's traceback."""

    error: Exception
    text: str


class WorkerProcess:
    """A process that calls one function for each request; not safe to call from several threads at once.

    Attributes:
        num_waiting: requests that have no answer yet.

    Args:
        answer: takes a request and the file descriptors that came with it, and returns the answer; picklable.
        preload: a module that makes workers start fast: it is imported once, in the process that they are forked from. None =
            each worker imports for itself, with the environment of the moment at which it is started.
        name: of the process.
    """

    def __init__(self, answer: Callable[[Any, Sequence[int]], Any], *, preload: str | None, name: str) -> None:
        context = _context(preload)
        self.num_waiting = 0
        self._started_by = os.getpid()
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, answer), name=name, daemon=True)
        with _interrupts_blocked(), script_left_alone(needed=answer.__module__ == "__main__"):
            self._process.start()
        theirs.close()  # while it were open here, the pipe would not end with the worker
        _STARTED.add(self)

    def send(self, request: Any, *, handles: Iterable[int] = ()) -> None:
        """Ask for something. Few and small requests may wait at once, because a pipe holds some kilobytes.

        Args:
            request: picklable.
            handles: file descriptors that the worker gets copies of.

        Raises:
            WorkerDiedError: the worker is gone.
        """
        handles = list(handles)
        self.num_waiting += 1
        try:
            self._pipe.send((request, len(handles)))
            for handle in handles:
                reduction.send_handle(self._pipe, handle, self._process.pid)
        except OSError as error:
            raise self._died() from error

    def receive(self) -> Any:
        """Wait for the next answer and return it; what the worker raised is raised here, with its traceback as a note.

        A warning is logged if the worker is stopped meanwhile: somebody may let it go on, so it is waited for.

        Raises:
            WorkerDiedError: the worker is gone.
        """
        try:
            self._wait()
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        self.num_waiting -= 1
        if isinstance(answer, _Raised):
            answer.error.add_note(answer.text)
            raise answer.error
        return answer

    def let_go(self) -> None:
        """Tell the worker that nothing follows; it ends when it has finished what it does."""
        self._pipe.close()

    def end(self, *, grace_s: float = ANSWER_GRACE_S) -> None:
        """Let it go and wait until it has ended; kill it if it takes longer than ``grace_s`` seconds."""
        self.let_go()
        self._process.join(grace_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _wait(self) -> None:
        pid, is_said = int(self._process.pid or 0), False
        while not self._pipe.poll(LOOK_S):
            if is_stopped(pid) and not is_said:
                is_said = True
                logging.getLogger(__name__).warning(
                    "worker process %d is stopped, and its answer is waited for. Let it go on: kill -CONT %d. Or end it, as if "
                    "it had died: kill -KILL %d",
                    *(pid, pid, pid),
                )

    def _died(self) -> WorkerDiedError:
        pid = int(self._process.pid or 0)
        self._process.join(_EXIT_CODE_S)
        code = self._process.exitcode
        return WorkerDiedError(pid, None if code == _LOST else code)


_LOST = 255
"""What Python says of a process whose forkserver is gone."""


def end_all(workers: Iterable[WorkerProcess], *, grace_s: float = ANSWER_GRACE_S) -> None:
    """End several workers at once."""
    workers = list(workers)
    for worker in workers:
        worker.let_go()
    for worker in workers:
        worker.end(grace_s=grace_s)


_STARTED: WeakSet[WorkerProcess] = WeakSet()


@atexit.register
def _end_left_over() -> None:
    """End the workers that an error left behind.

    It is registered after multiprocessing's own exit function, so it runs first. That one sends SIGTERM, which workers ignore,
    and would wait for them for ever.
    """
    end_all(worker for worker in list(_STARTED) if worker._started_by == os.getpid())


def end_with_parent() -> None:
    """Watch the parent from a thread: a killed parent tells its children nothing, and they would work or wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="watch parent", daemon=True).start()


def _serve(pipe: Any, answer: Callable[[Any, Sequence[int]], Any]) -> None:
    """Answer until the pipe ends; runs in the worker."""
    end_with_parent()
    for number in (signal.SIGTERM, signal.SIGUSR1):  # a queue may send them to every process: the parent ends its workers
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            request, num_handles = pipe.recv()
            handles = [reduction.recv_handle(pipe) for _ in range(num_handles)]
        except (EOFError, OSError):  # the parent has let go; it is a reset if an answer was left unread
            return
        try:
            answered = answer(request, handles)
        except Exception as error:  # whatever it is, the parent must hear of it
            answered = _Raised(error, traceback.format_exc())
        with suppress(OSError):  # the parent has let go
            _reply(pipe, answered)


def _reply(pipe: Any, answered: Any) -> None:
    """Send an answer; an error that cannot be pickled is sent as its traceback."""
    try:
        content = reduction.ForkingPickler.dumps(answered)
        if isinstance(answered, _Raised):
            reduction.ForkingPickler.loads(content)  # an error whose constructor takes other arguments fails here only
    except Exception:
        text = answered.text if isinstance(answered, _Raised) else traceback.format_exc()
        content = reduction.ForkingPickler.dumps(_Raised(RuntimeError(text), text))
    pipe.send_bytes(content)


def _context(preload: str | None) -> Any:
    """Return how a worker starts: never by fork of this process, because a copy of it has the locks of its threads."""
    if preload is None or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    return context


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT in this thread, so that the processes started meanwhile inherit the block."""
    resource_tracker.ensure_running()  # starting it, as the first worker would, lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def script_left_alone(*, needed: bool = False) -> Iterator[None]:
    """Hide the running script from a process that is started meanwhile, unless what it calls stands there.

    multiprocessing imports the script in every process, which runs a script without ``if __name__ == "__main__"`` once more.
    """
    if needed:
        yield
        return
    main = vars(sys.modules["__main__"])
    with _STARTING:
        hidden: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
        main["__spec__"] = None  # multiprocessing asks for it
        try:
            yield
        finally:
            main.update(hidden)


_STARTING = threading.Lock()
"""Held while the script is hidden: two threads that start workers must not take each other's half for the script."""


def _ending(exit_code: int | None) -> str:
    if exit_code is None:
        return "is gone"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    with suppress(ValueError):
        return f"was ended by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"was ended by signal {-exit_code}"
