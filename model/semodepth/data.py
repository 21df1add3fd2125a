"""Frames of a pinned manifest in batches: image, dense maps, radar and sparse depth, at the size they are stored.

Order and resuming are ``ordered_loader``'s.
"""

from __future__ import annotations

import numpy as np
import torch

from model.data.dataset import Filled
from model.data.ordered_loader import HERE, OrderedLoader, Placement, share_of
from model.data.row_band import RowBand
from model.data.samples import (
    Sample,
    choose_samples,
    frames_with_teacher,
    refuse_missing_units,
    refuse_mixed_sizes,
    refuse_without_confidence,
)
from model.data.slot_layout import frame_slots
from model.semodepth.augment import draw_view, stack_views
from model.semodepth.batch import Batch, Points, Views
from model.semodepth.config import DataConfig
from model.semodepth.reader import FrameReading, Wanted
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import Manifest

_UNKNOWN = (float("nan"),) * 9
"""Camera matrix of a manifest that says nothing of it (imported text lists)."""


class FrameLoader(OrderedLoader[Batch]):
    """Iterates over one epoch, or what is left of it, at a time; then the next epoch begins.

    Args:
        manifest: an opened manifest; its fingerprint is part of the state.
        config: what to read.
        placement: where the loader runs, and how.
        with_confidence: a loss weighs the target by the confidence of depth_accumulated, which every unit must have.
        with_teacher: a loss learns from depth_mono, so that frames without any are refused or left out, as ``config.incomplete``
            says; needs ``config.mono``.

    Raises:
        ManifestError: nothing to read, fewer frames than ranks or than one step takes, a band of rows outside the images, a unit
            without confidence, or an empty map of a teacher.
        UnitNotFoundError: a unit of the manifest has been pruned.
        ValueError: rank out of bounds.
    """

    def __init__(
        self,
        manifest: Manifest,
        config: DataConfig,
        *,
        placement: Placement = HERE,
        with_teacher: bool = False,
        with_confidence: bool = False,
    ) -> None:
        self._config = config
        asked_for = (*stores_asked_for(config), *(["depth_accumulated"] if with_confidence else []))
        samples = choose_samples(manifest, config, tuple(dict.fromkeys(asked_for)))
        fingerprint = manifest.path.fingerprint
        refuse_mixed_sizes(fingerprint, config, samples)
        refuse_missing_units(manifest.store, fingerprint, samples)
        if with_confidence:
            refuse_without_confidence(manifest, config, samples)
        if with_teacher:
            samples = frames_with_teacher(manifest, config, samples)
        samples = share_of(samples, config, key=lambda sample: sample.frame_key)
        self._band = row_band(samples[0], config, manifest=fingerprint)
        reading = _reading(config, samples, self._band, with_confidence=with_confidence)
        super().__init__(samples, config, manifest=manifest, reading=reading, placement=placement)

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of what ``dense_batch`` makes."""
        crop = self._config.augment.crop_px if self._config.order == "shuffled" else None
        return crop or (self._layout.height, self._layout.width)

    def _batch(self, filled: Filled, memory: torch.Tensor, epoch: int) -> Batch:
        samples = [self._samples[row] for row in filled.rows]
        tensors = self._layout.tensors(memory, len(samples))
        radar, sparse = filled.rest
        intrinsics = np.array([sample.intrinsic_px or _UNKNOWN for sample in samples], np.float32).reshape(-1, 3, 3)
        return Batch(
            tuple(sample.frame_key for sample in samples),
            tensors["image"],
            torch.from_numpy(self._band.intrinsics(intrinsics)),
            torch.tensor([sample.is_night for sample in samples]),
            None if radar is None else Points.of(radar),
            None if sparse is None else Points.of(sparse),
            tensors.get("target"),
            tensors.get("mono"),
            *self._drawn(samples, epoch),
            confidence_u8=tensors.get("confidence"),
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


def _reading(config: DataConfig, samples: list[Sample], band: RowBand, *, with_confidence: bool) -> FrameReading:
    maps = [name for name, is_wanted in (("target", config.dense_target is not None), ("mono", config.mono)) if is_wanted]
    wanted = Wanted(config.dense_target, config.mono, config.sparse_target, config.radar, band, with_confidence)
    layout = frame_slots(config.batch_size, band.height, samples[0].width, maps=maps, byte_maps=list(wanted.others))
    return FrameReading(tuple(samples), layout, wanted)


def stores_asked_for(config: DataConfig) -> tuple[str, ...]:
    """Return the stores that a configuration reads, images first."""
    wanted = [
        "images",
        *([config.dense_target] if config.dense_target else []),
        *(["depth_mono"] if config.mono else []),
        *(["depth_single"] if config.sparse_target else []),
        *(["radar_points"] if config.radar else []),
    ]
    return tuple(dict.fromkeys(wanted))
