"""Views of a pinned manifest in batches, with the targets of a detector; order and resuming are ``ordered_loader``'s."""

from __future__ import annotations

import numpy as np
import torch

from model.data.dataset import Filled, UnitDataset
from model.data.ordered_loader import OrderedLoader, refuse_too_few, share_of
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
        rank: of this process.
        num_ranks: processes that share an epoch.
        num_workers: processes that read; 0 = this one.
        prefetch: batches each worker reads ahead.
        pin_memory: deliver batches in page-locked memory.
        image_root: path or URL of the data source, for stores that refer to image files.

    Raises:
        ManifestError: nothing to read, frames without boxes or teacher's maps, fewer frames than ranks or than one step takes, or
            frames that nobody annotated in a split that targets are wanted of.
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
        rank: int = 0,
        num_ranks: int = 1,
        num_workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool = False,
        image_root: str | None = None,
    ) -> None:
        wanted = ("images", "boxes", *(["depth_mono"] if config.mono else []))
        samples = share_of(choose_samples(manifest, config, wanted), config, key=lambda sample: sample.frame_key)
        fingerprint = manifest.path.fingerprint
        refuse_too_few(samples, config, num_ranks=num_ranks)
        refuse_missing_units(manifest.store, fingerprint, samples)
        layout = detection_slots(config.batch_size, network, with_targets=rules is not None, mono=config.mono)
        augment = config.augment if config.order == "shuffled" else None
        reading = DetectionReading(tuple(samples), layout, network, rules, augment, config.seed, config.mono)
        super().__init__(
            samples,
            config,
            manifest=fingerprint,
            layout=layout,
            dataset=UnitDataset(manifest.store.root, reading, image_root=image_root),
            rank=rank,
            num_ranks=num_ranks,
            num_workers=num_workers,
            prefetch=prefetch,
            pin_memory=pin_memory,
        )
        self._has_targets, self._split = rules is not None, config.split

    def _batch(self, filled: Filled, memory: torch.Tensor, epoch: int) -> DetectionBatch:
        samples = [self._samples[row] for row in filled.rows]
        found: list[ReadView] = filled.found
        self._refuse_not_annotated(samples, found)
        tensors = self._layout.tensors(memory, len(samples))
        targets = None
        if self._has_targets:
            targets = stack_targets([one.targets for one in found if one.targets is not None])
            targets = targets._replace(heatmap=tensors["heatmap"])
        return DetectionBatch(
            tuple(sample.frame_key for sample in samples),
            tuple(sample.sample_token for sample in samples),
            tensors["image"],
            [one.view for one in found],
            np.stack([one.projection for one in found]),
            [one.objects for one in found],
            np.array([one.is_annotated for one in found]),
            targets,
            tensors.get("teacher"),
        )

    def _refuse_not_annotated(self, samples: list[Sample], found: list[ReadView]) -> None:
        """An image that nobody annotated looks like one without objects; learning from it would unlearn all of them."""
        for sample, one in zip(samples, found, strict=True):
            if self._has_targets and not one.is_annotated:
                raise ManifestError(
                    f"frame '{sample.frame_key}' has no annotations, so split '{self._split}' cannot be trained on. Choose "
                    "another split in train.data.split"
                )
