"""What the two processes of test_empty_process do: real families on real batches, the second one's without anything to learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from model.families import FAMILIES, parse_train_config
from model.mim4d.batch import ClipBatch
from model.monoddle.batch import DetectionBatch
from model.semodepth.batch import Batch
from model.train.config import Machine
from model.train.step import do_step
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store


def without_targets(batch: Any) -> Any:
    """Return a batch whose frames say nothing: no LiDAR, no object, no teacher."""
    if isinstance(batch, Batch):
        mono = None if batch.mono_steps is None else torch.zeros_like(batch.mono_steps)
        assert batch.target_steps is not None
        return replace(batch, sparse=None, target_steps=torch.zeros_like(batch.target_steps), mono_steps=mono)
    if isinstance(batch, DetectionBatch):
        assert batch.targets is not None
        names = ("heatmap", "is_object", "is_3d")
        empty = batch.targets._replace(**{name: torch.zeros_like(getattr(batch.targets, name)) for name in names})
        teacher = None if batch.teacher_steps is None else torch.zeros_like(batch.teacher_steps)
        return replace(batch, targets=empty, teacher_steps=teacher)
    assert isinstance(batch, ClipBatch)
    return replace(
        batch,
        points=batch.points[:0],
        point_window=batch.point_window[:0],
        point_frame=batch.point_frame[:0],
        is_held_out=batch.is_held_out[:0],
    )


def run(fabric: Fabric, store: str, group: dict[str, Any], num_steps: int) -> float:
    """Return the largest difference between the weights of the two processes; NaN if one is not a number."""
    config: Any = parse_train_config(group, where="test")
    family, manifest = FAMILIES.of(config), open_manifest(Store(store))
    torch.manual_seed(0)
    raw = family.network(config)
    network, optimizer = fabric.setup(raw, family.optimizer(raw, config))
    one: Any = Fabric(accelerator="cpu", devices=1)
    with family.loader(manifest, config, one, Machine("cpu")) as loader:
        batches = [batch for _ in range(config.accumulate * num_steps) for batch in list(loader)[:1]]
        own = iter([without_targets(batch) for batch in batches] if fabric.global_rank else batches)
        for _ in range(num_steps):
            losses, _ = do_step(fabric, family, network, optimizer, own, config, epoch=1.0)
            assert losses is not None
    both: Any = fabric.all_gather(torch.cat([parameter.detach().flatten() for parameter in raw.parameters()]))
    return float((both[0] - both[1]).abs().max())


def launch(store: str, group: dict[str, Any], num_steps: int) -> float:
    """Run two processes on the CPU; return what the first found."""
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=True)
    found: Any = Fabric(accelerator="cpu", devices=2, strategy=strategy).launch(run, store, group, num_steps)
    return float(found)
