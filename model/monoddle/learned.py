"""What a detector will not learn of a split, and why: found before the first step, where a loss of 0 would say it in vain.

Reads   boxes of a pinned manifest
Source  docs/method/monoddle.md#learned-objects
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from model.data.samples import choose_samples
from model.data.units import OpenedUnits
from model.monoddle.affine_view import resting_view
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.precision.average_precision import not_measured_text, split_measured
from model.monoddle.targets import is_inside_grid, reasons_not_learned
from storage_schemas.manifest import Manifest


def detection_notices(config: MonoDdleTrainConfig, manifest: Manifest) -> list[str]:
    """Return what should be known before a training, a sentence each.

    Reads boxes until one object of every class is found that is learned, which in sound data the first scenes have.

    Raises:
        ManifestError: the split or a camera has no frames, or frames lack boxes.
    """
    wanted = config.network.train_classes
    notices = []
    if unmeasured := split_measured(wanted)[1]:
        notices.append(not_measured_text(unmeasured))
    if config.frozen_backbone and not (config.imagenet_weights or config.start_from or config.backbone_from):
        notices.append(
            "train.frozen_backbone is true and the backbone begins with random weights, which it keeps. Name its weights in "
            "train.imagenet_weights, train.backbone_from or train.start_from."
        )
    num_learned: Counter[str] = Counter()
    why: dict[str, Counter[str]] = {name: Counter() for name in wanted}
    num_others, num_regions = Counter[str](), 0
    units = OpenedUnits(manifest.store, None)
    for sample in choose_samples(manifest, config.data, ("boxes",)):
        boxes = units.boxes(sample)
        objects, projection = boxes.objects(sample.frame), boxes.projections[sample.frame]
        view = resting_view((sample.height, sample.width), config.network.input_px)
        is_outside = ~is_inside_grid(objects, projection, view=view, config=config.network, rules=config.targets)
        reasons = {**reasons_not_learned(objects, config.targets), "have their centre outside the image": is_outside}
        failed = np.array(list(reasons.values())).reshape(len(reasons), len(objects))
        names = list(reasons)
        for number, category in enumerate(map(str, objects.category)):
            if category == "DontCare":
                num_regions += 1
            elif category not in why:
                num_others[category] += 1
            elif failed[:, number].any():
                why[category][names[int(failed[:, number].argmax())]] += 1
            else:
                num_learned[category] += 1
        if len(num_learned) == len(wanted):
            return notices
    return [*notices, *_nothing_learned(config, num_learned, why, num_others, num_regions)]


def _nothing_learned(
    config: MonoDdleTrainConfig,
    num_learned: Counter[str],
    why: dict[str, Counter[str]],
    num_others: Counter[str],
    num_regions: int,
) -> list[str]:
    split, classes = config.data.split, config.network.train_classes
    if num_learned:
        return [
            f"0 of {why[name].total():,} objects of {name} are learned: {_reasons(why[name]) or f'split {split} has none'}."
            for name in classes
            if not num_learned[name]
        ]
    total = sum((reasons for reasons in why.values()), Counter[str]())
    texts = [_reasons(total)] if total else []
    if others := num_others.total():
        types = ", ".join(f"{count:,} {name}" for name, count in num_others.most_common())
        texts.append(f"{others:,} are of types that train.network.train_classes ({', '.join(classes)}) does not name ({types})")
    if not texts:
        texts.append(
            f"split {split} has no annotated object" + (f", only {num_regions:,} DontCare regions" if num_regions else "")
        )
    return [
        f"0 of {total.total() + others:,} objects are learned: {', '.join(texts)}. The network will find nothing; correct the "
        "labels, train.network.train_classes or train.targets"
    ]


def _reasons(why: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in why.most_common())
