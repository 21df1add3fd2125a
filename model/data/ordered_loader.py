"""Batches in an order that depends on (seed, epoch) alone, resumable at any of them, whatever a batch is made of.

Why    A run that stops and goes on must see what it would have seen; more or fewer workers must not change that
How    The order is made in the trainer's process (``order``) and sent to the workers batch by batch, together with the memory to
       read into (``slots``). So workers know nothing of ranks, and the state is two numbers: the epoch, and how many of its
       samples all ranks together have been given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import torch

from model.data.dataset import Answers, Filled, Reading, Request
from model.data.order import chosen_share, epoch_order, position_after, rank_spans
from model.data.reading_processes import LoaderError, ReadingProcesses
from model.data.samples import Sample, run_lengths
from model.data.slots import SlotPool
from storage_schemas.errors import DepthmillError, ManifestError
from storage_schemas.manifest import Manifest

State = dict[str, Any]
"""What ``state_dict`` returns: JSON values only."""


class ResumeError(DepthmillError):
    """A loader state that belongs to other data."""


@dataclass(frozen=True)
class Placement:
    """Where a loader runs, and how; nothing of it changes what is delivered over all ranks.

    Attributes:
        rank: of this process.
        num_ranks: processes that share an epoch.
        num_workers: processes that read for this one; 0 = this one.
        prefetch: batches that each worker reads ahead.
        pin_memory: deliver batches in page-locked memory.
        image_root: path or URL of the data source, for stores that refer to image files.
    """

    rank: int = 0
    num_ranks: int = 1
    num_workers: int = 0
    prefetch: int = 2
    pin_memory: bool = False
    image_root: str | None = None


HERE = Placement()
"""One process that reads for itself."""


class OrderConfig(Protocol):
    """What decides the order."""

    @property
    def split(self) -> str:
        """Split of the manifest, for error texts."""

    @property
    def batch_size(self) -> int:
        """Frames a batch and rank."""

    @property
    def order(self) -> str:
        """``shuffled`` or ``manifest``."""

    @property
    def seed(self) -> int:
        """Of the order."""

    @property
    def piece_frames(self) -> int:
        """Consecutive frames that stay together."""

    @property
    def share(self) -> float:
        """Share of the samples that is read in shuffled order."""


class _Pinnable(Protocol):
    def pin_memory(self) -> Any:
        """Return a copy in page-locked memory."""


B = TypeVar("B", bound=_Pinnable)


class OrderedLoader(ABC, Generic[B]):
    """Iterates over one epoch, or what is left of it, at a time; then the next epoch begins.

    Attributes:
        sample_word: what a sample is called in error texts.

    Args:
        samples: the frames of the split.
        config: batch size and order.
        manifest: that is read; its fingerprint is part of the state.
        reading: answers requests, in the workers.
        placement: where the loader runs, and how.

    Raises:
        ManifestError: fewer samples than ranks or than one step takes.
        ValueError: rank out of bounds.
    """

    sample_word: ClassVar[str] = "frame"

    def __init__(
        self, samples: Sequence[Sample], config: OrderConfig, *, manifest: Manifest, reading: Reading, placement: Placement
    ) -> None:
        _refuse_too_few(len(samples), config, num_ranks=placement.num_ranks, word=self.sample_word)
        self._samples, self._order, self._layout, self._placement = samples, config, reading.layout, placement
        self._fingerprint = manifest.path.fingerprint
        self._run_lengths = run_lengths(samples)
        self._epoch = self._samples_seen = 0
        self._spans()  # raises now if the rank is wrong, not at the first batch
        self._answers = Answers(manifest.store.root, reading, image_root=placement.image_root)
        self._pool = SlotPool(reading.layout.num_bytes, is_shared=placement.num_workers > 0)
        self._processes: ReadingProcesses | None = None

    @abstractmethod
    def _batch(self, filled: Filled, memory: torch.Tensor, epoch: int) -> B:
        """Return the batch that a worker has read; its tensors may look into the memory."""

    def __len__(self) -> int:
        """Return how many batches of this epoch this rank has not been given yet."""
        return len(self._spans())

    def __iter__(self) -> Iterator[B]:
        """Yield the rest of the epoch; its state counts a batch as seen while the loop body holds it."""
        epoch, start = self._epoch, self._samples_seen
        for number, filled in enumerate(self._filled(), start=1):
            memory = self._pool.lend(filled.slot)
            if filled.error is not None:
                raise filled.error
            batch = self._batch(filled, memory, epoch)
            del memory
            self._samples_seen = position_after(
                number,
                start=start,
                num_samples=self.num_samples,
                num_ranks=self._placement.num_ranks,
                batch_size=self._order.batch_size,
            )
            yield batch.pin_memory() if self._placement.pin_memory else batch
            del batch
        self.set_epoch(epoch + 1)

    @property
    def num_samples(self) -> int:
        """Frames of the split that are read, over all ranks."""
        return len(self._samples)

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to, from 0."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; takes effect at the next ``iter``."""
        self._epoch, self._samples_seen = epoch, 0

    def state_dict(self) -> State:
        """Return how far the run has read; the same on every rank, whatever the number of workers."""
        return {
            "epoch": self._epoch,
            "samples_seen": self._samples_seen,
            "manifest": self._fingerprint,
            "num_samples": self.num_samples,
            "order": self._order.order,
            "seed": self._order.seed,
            "piece_frames": self._order.piece_frames,
        }

    def load_state_dict(self, state: State) -> None:
        """Continue where a state was taken; takes effect at the next ``iter``.

        Raises:
            ResumeError: the state was taken over another manifest, split or order.
        """
        here = self.state_dict()
        for name in [name for name in here if name not in ("epoch", "samples_seen")]:
            if state.get(name) != here[name]:
                raise ResumeError(
                    f"loader state has {name} {state.get(name)}, this loader has {here[name]}: frames would come in another "
                    "order. Resume with the manifest and data config of the run, or start a new run"
                )
        if not 0 <= state["samples_seen"] <= self.num_samples:
            raise ResumeError(
                f"loader state has seen {state['samples_seen']} samples, an epoch has {self.num_samples}: the state is damaged. "
                "Resume from an older checkpoint"
            )
        self._epoch, self._samples_seen = int(state["epoch"]), int(state["samples_seen"])

    def close(self) -> None:
        """End the workers and give up their memory; a later ``iter`` starts new ones."""
        if self._processes is not None:
            self._processes.close()
            self._processes = None
            self._pool = SlotPool(self._layout.num_bytes, is_shared=True)

    def __enter__(self) -> Self:
        """Return the loader; leaving the block ends its workers."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        self.close()

    def _spans(self) -> list[tuple[int, int]]:
        return rank_spans(
            self.num_samples,
            start=self._samples_seen,
            rank=self._placement.rank,
            num_ranks=self._placement.num_ranks,
            batch_size=self._order.batch_size,
            is_ragged=self._order.order == "manifest",
        )

    def _filled(self) -> Iterator[Filled]:
        """Yield the batches of the rest of the epoch as they are read, in order."""
        placement = self._placement
        if not placement.num_workers:
            self._pool.take_back()
            for request in self._requests():
                yield self._answers.fill(request, self._pool.memory(request.slot))
            return
        try:
            if self._processes is None:
                workers = (self._answers, self._pool, placement.num_workers, self._layout.num_bytes)
                self._processes = ReadingProcesses(*workers, ahead=placement.prefetch)
            self._processes.forget()  # what was asked for in an epoch that was left early
            self._pool.take_back()
            yield from self._processes.answers(self._requests(), name_of=self._sample_name)
        except LoaderError:
            self.close()  # its other workers are of no use any more
            raise

    def _requests(self) -> Iterator[Request]:
        """Yield the batches to read; runs in this process, a few batches ahead of what the trainer has been given."""
        order: Any = range(self.num_samples)
        if self._order.order == "shuffled":
            order = epoch_order(
                self._run_lengths, seed=self._order.seed, epoch=self._epoch, piece_frames=self._order.piece_frames
            ).tolist()
        for first, stop in self._spans():
            yield Request(self._pool.take(), tuple(order[first:stop]), self._epoch)

    def _sample_name(self, row: int) -> str:
        return f"{self.sample_word} '{self._samples[row].frame_key}'"


T = TypeVar("T")


def share_of(items: Sequence[T], config: OrderConfig, *, key: Callable[[T], str]) -> list[T]:
    """Return the samples that a configuration trains on: all of them, or a share; in evaluation (manifest order) all.

    Args:
        items: the samples of the split, in manifest order.
        config: share, seed and order.
        key: names a sample.
    """
    if config.order != "shuffled" or config.share == 1.0 or not items:
        return list(items)
    return [items[number] for number in chosen_share([key(item) for item in items], share=config.share, seed=config.seed)]


def _refuse_too_few(count: int, config: OrderConfig, *, num_ranks: int, word: str) -> None:
    """Check that every rank gets a batch, and training a step."""
    if count < num_ranks:
        raise ManifestError(
            f"split '{config.split}' has {count} {word}s for {num_ranks} ranks, expected at least one {word} a rank. "
            "Start fewer processes, or choose a larger split"
        )
    step = num_ranks * config.batch_size
    if config.order == "shuffled" and count < step:
        raise ManifestError(
            f"split '{config.split}' has {count} {word}s, one training step of {num_ranks} ranks with batch_size "
            f"{config.batch_size} takes {step}. Lower batch_size to {count // num_ranks} or less, or start fewer processes"
        )
