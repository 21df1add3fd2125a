"""Views of a pinned manifest in batches, with the targets of a detector; order and resuming are ``ordered_loader``'s."""

from __future__ import annotations

import math

import numpy as np
import torch

from model.data.dataset import Filled
from model.data.ordered_loader import HERE, OrderedLoader, Placement, share_of
from model.data.samples import Sample, choose_samples, refuse_missing_units
from model.monoddle.batch import DetectionBatch, stack_targets
from model.monoddle.config import DetectionDataConfig
from model.monoddle.network_config import MonoDdleConfig
from model.monoddle.reader import DetectionReading, ReadView, detection_slots
from model.monoddle.targets import TargetRules
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import Manifest


class DetectionLoader(OrderedLoader[DetectionBatch]):
    """Iterates over one epoch, or what is left of it, at a time; then the next epoch begins.

    Args:
        manifest: an opened manifest; its fingerprint is part of the state.
        config: what to read.
        network: options of the network, which decide size, classes and targets.
        rules: which objects are learned; None = no targets are made.
        placement: where the loader runs, and how.
        teacher_far_m: stored depth of the teacher from here on teaches nothing.

    Raises:
        ManifestError: nothing to read, frames without boxes or teacher's maps, fewer frames than ranks or than one step takes, or
            frames that were not annotated in a split that targets are wanted of.
        UnitNotFoundError: a unit of the manifest has been pruned.
        ValueError: rank out of bounds.
    """

    def __init__(
        self,
        manifest: Manifest,
        config: DetectionDataConfig,
        network: MonoDdleConfig,
        *,
        rules: TargetRules | None,
        placement: Placement = HERE,
        teacher_far_m: float = math.inf,
    ) -> None:
        wanted = ("images", "boxes", *(["depth_mono"] if config.mono else []))
        samples = share_of(choose_samples(manifest, config, wanted), config, key=lambda sample: sample.frame_key)
        refuse_missing_units(manifest.store, manifest.path.fingerprint, samples)
        layout = detection_slots(config.batch_size, network, with_targets=rules is not None, mono=config.mono)
        augment = config.augment if config.order == "shuffled" else None
        reading = DetectionReading(tuple(samples), layout, network, rules, augment, config.seed, config.mono, teacher_far_m)
        super().__init__(samples, config, manifest=manifest, reading=reading, placement=placement)
        self._has_targets, self._split = rules is not None, config.split

    def _batch(self, filled: Filled, memory: torch.Tensor, epoch: int) -> DetectionBatch:
        samples = [self._samples[row] for row in filled.rows]
        views: list[ReadView] = filled.rest
        self._refuse_not_annotated(samples, views)
        tensors = self._layout.tensors(memory, len(samples))
        targets = None
        if self._has_targets:
            targets = stack_targets([view.targets for view in views if view.targets is not None])
            targets = targets._replace(heatmap=tensors["heatmap"])
        return DetectionBatch(
            tuple(sample.frame_key for sample in samples),
            tuple(sample.sample_token for sample in samples),
            tensors["image"],
            [view.view for view in views],
            np.stack([view.projection for view in views]),
            [view.objects for view in views],
            np.array([view.is_annotated for view in views]),
            targets,
            tensors.get("teacher"),
        )

    def _refuse_not_annotated(self, samples: list[Sample], views: list[ReadView]) -> None:
        """Raise if an image was not annotated: trained on as one without objects, it would teach that there are none."""
        for sample, view in zip(samples, views, strict=True):
            if self._has_targets and not view.is_annotated:
                raise ManifestError(
                    f"frame '{sample.frame_key}' has no annotations, so split '{self._split}' cannot be trained on. Choose "
                    "another split in train.data.split"
                )
