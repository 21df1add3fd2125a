"""The processes that read batches ahead for a loader: requests in turn, answers in order, a named error if one of them dies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from model.data.dataset import Answers, AnswersOfWorker, Filled, Request
from model.data.free_memory import free_memory_bytes
from model.data.slots import SlotPool
from storage_schemas.errors import DepthmillError
from storage_schemas.processes import WorkerDiedError, WorkerProcess, end_all

LENT_SLOTS = 2
"""Batches that a training holds besides those that are read ahead: the one of the step and the one before."""


class LoaderError(DepthmillError):
    """A process that reads for a training is gone."""


class ReadingProcesses:
    """Worker processes of one loader.

    Args:
        answers: reads a batch.
        pool: memory of the batches.
        num_workers: processes.
        num_bytes: size of a slot.
        ahead: batches that each of them reads ahead.

    Raises:
        SharedMemoryError: the batches that are read ahead do not fit into memory.
    """

    def __init__(self, answers: Answers, pool: SlotPool, num_workers: int, num_bytes: int, *, ahead: int) -> None:
        pool.require_room(num_workers * ahead + LENT_SLOTS)
        self._pool, self._num_bytes, self._ahead = pool, num_bytes, ahead
        answer, module = AnswersOfWorker(answers, num_bytes), AnswersOfWorker.__module__  # torch is imported once, not in each
        self._workers: list[WorkerProcess] = []
        try:
            for number in range(num_workers):
                self._workers.append(WorkerProcess(answer, preload=module, name=f"loader worker {number + 1}"))
        except BaseException:
            self.close()
            raise
        self._known: list[set[int]] = [set() for _ in self._workers]

    def answers(self, requests: Iterator[Request], *, name_of: Callable[[int], str]) -> Iterator[Filled]:
        """Yield the batches that are asked for, in order.

        Args:
            requests: taken a few ahead of what is yielded.
            name_of: names a frame by its number, for errors.

        Raises:
            LoaderError: a worker died.
        """
        waiting: deque[tuple[int, Request]] = deque()
        turn = 0
        for request in requests:
            waiting.append((turn, request))
            self._send(turn, request, name_of)
            turn = (turn + 1) % len(self._workers)
            if len(waiting) == self._ahead * len(self._workers):
                yield self._receive(*waiting.popleft(), name_of)
        while waiting:
            yield self._receive(*waiting.popleft(), name_of)

    def forget(self) -> None:
        """Wait for the answers of an epoch that was left early, and throw them away; LoaderError if a worker died."""
        for number, worker in enumerate(self._workers):
            while worker.num_waiting:
                try:
                    worker.receive()
                except WorkerDiedError as error:
                    raise self._lost(number, error, "the end of an epoch") from error

    def close(self) -> None:
        """End the workers; what they read is thrown away."""
        workers, self._workers = self._workers, []
        end_all(workers, grace_s=0.5)  # they write nothing

    def _send(self, number: int, request: Request, name_of: Callable[[int], str]) -> None:
        new = {request.slot} - self._known[number]
        self._known[number] |= new
        try:
            self._workers[number].send(request, handles=[self._pool.handle(slot) for slot in new])
        except WorkerDiedError as error:
            raise self._lost(number, error, name_of(request.rows[0])) from error

    def _receive(self, number: int, request: Request, name_of: Callable[[int], str]) -> Filled:
        try:
            filled: Filled = self._workers[number].receive()
        except WorkerDiedError as error:
            raise self._lost(number, error, name_of(request.rows[0])) from error
        return filled

    def _lost(self, number: int, error: WorkerDiedError, near: str) -> LoaderError:
        count, free = len(self._workers), free_memory_bytes()
        memory = "" if free is None else f"; {free / 1e9:.1f} GB of memory are free now"
        return LoaderError(
            f"loader worker {number + 1} of {count} died: {error.ending}, near {near}. The system kills a process like this when "
            f"memory runs out{memory}. Let fewer processes read (DEPTHMILL_LOADER_WORKERS={max(count // 2, 1)}) or lower "
            "batch_size if it was that, then run the same command again: it goes on from the last checkpoint"
        )
