"""YAML files of the public detectors, written from facts: their groups, keys and values, not their text."""

from __future__ import annotations

import copy
from typing import Any

KITTI_DA3_UNCERTAINTY: dict[str, Any] = {
    "random_seed": 444,
    "dataset": {
        "type": "KITTI", "root_dir": "data/KITTI", "num_workers": 4, "batch_size": 16, "use_3d_center": True,
        "class_merging": False, "use_dontcare": False, "bbox2d_type": "anno", "meanshape": False, "writelist": ["Car"],
        "random_flip": 0.5, "random_crop": 0.5, "scale": 0.4, "shift": 0.1, "use_da3_depth": True,
    },
    "model": {
        "type": "centernet3d", "backbone": "dla34", "neck": "DLAUp", "num_class": 3, "freeze_backbone": False,
        "use_distill_uncertainty": True,
    },
    "optimizer": {"type": "adam", "lr": 0.00125, "weight_decay": 0.00001},
    "lr_scheduler": {"warmup": True, "decay_rate": 0.1, "decay_list": [90, 120]},
    "trainer": {
        "max_epoch": 140, "gpu_ids": "0,1,2,3,4,5,6,7", "save_frequency": 10, "max_checkpoints": 5,
        "find_unused_parameters": True,
    },
    "distributed": {"enabled": True, "dp_reference": {"total_batch_size": 16, "lr": 0.00125, "num_gpus": 8}},
    "distill": {"lambda": 0.5, "loss_type": "l1", "foreground_weight": 5.0, "use_uncertainty": True},
    "tester": {
        "type": "KITTI", "mode": "single", "threshold": 0.2, "checkpoint": "results/<timestamp>/checkpoint_epoch_140.pth",
        "checkpoints_dir": "results/<timestamp>",
    },
}  # fmt: skip
"""The experiment of the published uncertainty."""


def changed(base: dict[str, Any] = KITTI_DA3_UNCERTAINTY, **changes: Any) -> dict[str, Any]:
    """A file with other values: ``model__backbone="timm_resnet50"``; None takes a key or a whole group out."""
    data = copy.deepcopy(base)
    for name, value in changes.items():
        *groups, last = name.split("__")
        group = data
        for one in groups:
            group = group.setdefault(one, {})
        if value is None:
            del group[last]
        else:
            group[last] = value
    return data


KITTI_NO_DA3 = changed(
    dataset__use_da3_depth=False, model__freeze_backbone=None, model__use_distill_uncertainty=None, trainer__gpu_ids="0, 1",
    trainer__max_checkpoints=None, distributed__dp_reference__num_gpus=2, distill__use_uncertainty=None, **{"distill__lambda": 0.0},
)  # fmt: skip
"""The baseline."""

MONODLE = changed(
    KITTI_NO_DA3, dataset__root_dir=None, dataset__num_workers=None, dataset__use_da3_depth=None, distributed=None, distill=None,
    trainer__find_unused_parameters=None,
)  # fmt: skip
"""MonoDLE's own example."""
