"""Batches of a pinned manifest, in an order that depends on (seed, epoch) alone, resumable at any of them.

Why    A run that stops and goes on must see what it would have seen; more or fewer workers must not change that
How    The order is made in the trainer's process (``order``) and sent to the workers batch by batch, together with the memory to
       read into (``slots``). So workers know nothing of epochs and ranks, and the state is two numbers: the epoch, and how many
       of its samples all ranks together have been given.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from model.data.augment import draw_view, stack_views
from model.data.batch import Batch, Points, Views
from model.data.config import DataConfig
from model.data.dataset import Filled, FrameDataset, Request
from model.data.frame_reader import Wanted
from model.data.order import epoch_order, position_after, rank_spans
from model.data.row_band import RowBand
from model.data.samples import Sample, choose_samples, refuse_missing_units, run_lengths
from model.data.slot_layout import SlotLayout
from model.data.slots import SlotPool
from storage_schemas.errors import DepthmillError, ManifestError
from storage_schemas.manifest import Manifest

State = dict[str, Any]
"""What ``FrameLoader.state_dict`` returns: JSON values only."""

_UNKNOWN = (float("nan"),) * 9
"""Camera matrix of a manifest that says nothing of it (imported text lists)."""


class ResumeError(DepthmillError):
    """A loader state that belongs to other data."""


class FrameLoader:
    """Iterates over one epoch, or what is left of it, at a time; then the next epoch begins.

    Args:
        manifest: an opened manifest; its fingerprint is part of the state.
        config: what to read.
        rank: of this process.
        num_ranks: processes that share an epoch.
        num_workers: processes that read; 0 = this one.
        prefetch: batches each worker reads ahead.
        pin_memory: deliver batches in page-locked memory.
        image_root: path or URL of the data source, for stores that refer to image files.

    Raises:
        ManifestError: nothing to read, fewer frames than ranks or than one step takes, or a band of rows outside the images.
        UnitNotFoundError: a unit of the manifest has been pruned.
        ValueError: rank out of bounds.
    """

    def __init__(
        self,
        manifest: Manifest,
        config: DataConfig,
        *,
        rank: int = 0,
        num_ranks: int = 1,
        num_workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool = False,
        image_root: str | None = None,
    ) -> None:
        self._config, self._rank, self._num_ranks, self._pin_memory = config, rank, num_ranks, pin_memory
        self._fingerprint = manifest.path.fingerprint
        self._samples = choose_samples(manifest, config)
        self._run_lengths = run_lengths(self._samples)
        refuse_too_few(self._samples, config, num_ranks=num_ranks)
        refuse_missing_units(manifest.store, self._fingerprint, self._samples)
        self._epoch = self._samples_seen = 0
        self._spans()  # so that a wrong rank is noticed now
        self._band = row_band(self._samples[0], config, manifest=self._fingerprint)
        self._layout, dataset = _dataset(manifest, config, self._samples, self._band, image_root)
        self._pool = SlotPool(self._layout.num_bytes, is_shared=num_workers > 0)
        self._batches: DataLoader[Filled] = DataLoader(
            dataset,
            batch_sampler=_Requests(self._requests),  # type: ignore[arg-type]
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # or every epoch would draw from the global one, which is the trainer's
            num_workers=num_workers,
            prefetch_factor=prefetch if num_workers else None,
            persistent_workers=num_workers > 0,
            multiprocessing_context=_clean_processes() if num_workers else None,
        )

    def __len__(self) -> int:
        """Return how many batches of this epoch this rank has not been given yet."""
        return len(self._spans())

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the epoch; its state counts a batch as seen while the loop body holds it."""
        epoch, start = self._epoch, self._samples_seen
        for number, filled in enumerate(self._batches, start=1):
            memory = self._pool.lend(filled.slot)
            if filled.error is not None:
                raise filled.error
            batch = self._batch(filled, memory, epoch)
            del memory
            self._samples_seen = position_after(
                number,
                start=start,
                num_samples=self.num_samples,
                num_ranks=self._num_ranks,
                batch_size=self._config.batch_size,
            )
            yield batch.pin_memory() if self._pin_memory else batch
            del batch
        self.set_epoch(epoch + 1)

    @property
    def num_samples(self) -> int:
        """Frames of the split that are read, over all ranks."""
        return len(self._samples)

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of what ``dense_batch`` makes."""
        crop = self._config.augment.crop_px if self._config.order == "shuffled" else None
        return crop or (self._layout.height, self._layout.width)

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to, from 0."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; takes effect at the next ``iter``."""
        self._epoch, self._samples_seen = epoch, 0

    def state_dict(self) -> State:
        """Return where the run is; the same on every rank, whatever the number of workers."""
        return {
            "epoch": self._epoch,
            "samples_seen": self._samples_seen,
            "manifest": self._fingerprint,
            "num_samples": self.num_samples,
            "order": self._config.order,
            "seed": self._config.seed,
            "piece_frames": self._config.piece_frames,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on where a state was taken; takes effect at the next ``iter``.

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
        """End the workers; a later ``iter`` starts new ones."""
        iterator, self._batches._iterator = self._batches._iterator, None
        if iterator is not None and self._batches.num_workers:
            iterator._shutdown_workers()  # type: ignore[attr-defined]

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
            rank=self._rank,
            num_ranks=self._num_ranks,
            batch_size=self._config.batch_size,
            is_ragged=self._config.order == "manifest",
        )

    def _requests(self) -> Iterator[Request]:
        """Yield the batches to read; runs in this process, a few batches ahead of what the trainer has been given."""
        self._pool.take_back()  # of an epoch that was left early; its workers have finished by now
        order: Any = range(self.num_samples)
        if self._config.order == "shuffled":
            order = epoch_order(
                self._run_lengths, seed=self._config.seed, epoch=self._epoch, piece_frames=self._config.piece_frames
            ).tolist()
        for first, stop in self._spans():
            yield Request(*self._pool.take(), tuple(order[first:stop]))

    def _batch(self, filled: Filled, memory: torch.Tensor, epoch: int) -> Batch:
        samples = [self._samples[row] for row in filled.rows]
        tensors = self._layout.tensors(memory, len(samples))
        intrinsics = np.array([sample.intrinsic_px or _UNKNOWN for sample in samples], np.float32).reshape(-1, 3, 3)
        return Batch(
            tuple(sample.frame_key for sample in samples),
            tensors["image"],
            torch.from_numpy(self._band.intrinsics(intrinsics)),
            torch.tensor([sample.is_night for sample in samples]),
            None if filled.radar is None else Points.of(filled.radar),
            None if filled.sparse is None else Points.of(filled.sparse),
            tensors.get("target"),
            tensors.get("mono"),
            *self._drawn(samples, epoch),
        )

    def _drawn(self, samples: list[Sample], epoch: int) -> tuple[torch.Tensor | None, Views | None]:
        """Return which samples keep their mono, and the views; None where nothing is drawn."""
        config = self._config
        if config.order == "manifest" or not (config.mono or config.augment.changes_view):
            return None, None
        height, width = self._layout.height, self._layout.width
        views = [
            draw_view(config.augment, height=height, width=width, seed=config.seed, epoch=epoch, frame_key=sample.frame_key)
            for sample in samples
        ]
        rows, columns = self.image_size
        keeps_mono = torch.tensor([view.keeps_mono for view in views]) if config.mono else None
        return keeps_mono, stack_views(views, height=rows, width=columns) if config.augment.changes_view else None


def refuse_too_few(samples: list[Sample], config: DataConfig, *, num_ranks: int) -> None:
    """Check that every rank gets a batch.

    Raises:
        ManifestError: there are fewer frames than ranks, or than one training step takes.
    """
    if len(samples) < num_ranks:
        raise ManifestError(
            f"split '{config.split}' has {len(samples)} frames for {num_ranks} ranks, expected at least one frame a rank. "
            "Start fewer processes, or choose a larger split"
        )
    step = num_ranks * config.batch_size
    if config.order == "shuffled" and len(samples) < step:
        raise ManifestError(
            f"split '{config.split}' has {len(samples)} frames, one training step of {num_ranks} ranks with batch_size "
            f"{config.batch_size} takes {step}. Lower batch_size to {len(samples) // num_ranks} or less, or start fewer processes"
        )


def row_band(sample: Sample, config: DataConfig, *, manifest: str) -> RowBand:
    """Return the rows that are read of frames as large as ``sample``.

    Raises:
        ManifestError: the band of the configuration reaches out of the images.
    """
    if config.rows is None:
        return RowBand.whole(sample.height)
    first, stop = config.rows
    if stop > sample.height:
        raise ManifestError(
            f"data.rows is [{first}, {stop}], but images of split '{config.split}' of manifest {manifest} have {sample.height} "
            f"rows ('{sample.frame_key}'); expected a band within [0, {sample.height}]. Correct data.rows, or leave it out to "
            "read all rows"
        )
    return RowBand(first, stop, sample.height)


def _dataset(
    manifest: Manifest, config: DataConfig, samples: list[Sample], band: RowBand, image_root: str | None
) -> tuple[SlotLayout, FrameDataset]:
    has_target, width = config.dense_target is not None, samples[0].width
    layout = SlotLayout(config.batch_size, band.height, width, has_target=has_target, has_mono=config.mono)
    wanted = Wanted(config.dense_target, config.mono, config.sparse_target, config.radar, band)
    return layout, FrameDataset(manifest.store.root, samples, layout=layout, wanted=wanted, image_root=image_root)


class _Requests(Sampler[Request]):
    """The batch sampler: begins anew with every epoch."""

    def __init__(self, begin: Callable[[], Iterator[Request]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Request]:
        return self._begin()


def _as_it_is(filled: Any) -> Any:
    return filled


def _clean_processes() -> Any:
    """Return how workers start: never as copies of this process, whose store threads would be missing in them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["model.data.dataset"])  # torch is imported once, not in every worker
    return context
