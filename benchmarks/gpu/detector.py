"""MonoDDLE with DLA-34 at 384 x 1280: latency of an image, and time and memory of a training step with batch 16."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gpu.bench import Bench
from gpu.figure import Figure
from model.monoddle.batch import TargetTensors
from model.monoddle.loss import detection_losses
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import MonoDdleConfig

SMALL = MonoDdleConfig(dla_widths=(8, 8, 8, 8, 8, 16), head_width=8, input_px=(64, 96))


def figures(bench: Bench) -> Iterator[Figure]:
    """Measure float32 and bfloat16."""
    for name, is_half in (("float32", False), ("bfloat16", True)):
        yield from bench.attempt(f"DLA-34, {name}", lambda name=name, is_half=is_half: _measured(bench, name, is_half))


def _measured(bench: Bench, name: str, is_half: bool) -> Iterator[Figure]:
    torch.manual_seed(0)
    config, batch = (SMALL, 2) if bench.is_small else (MonoDdleConfig(), 16)
    network = MonoDdle(config).to(bench.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(batch, 3, *config.input_px, device=bench.device).contiguous(memory_format=torch.channels_last)
    targets = made_up_targets(config, batch).to(bench.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    @torch.no_grad()
    def see() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=is_half):
            network.eval()(images[:1])

    def step() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=is_half):
            loss = detection_losses(network.train()(images), targets)["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    yield Figure(f"one image, {name}", bench.latency_ms(see), "ms")
    yield Figure(f"training step, batch {batch}, {name}", bench.latency_ms(step, most=10), "ms")
    if bench.is_gpu:
        yield Figure(f"training step, batch {batch}, {name}, peak memory", bench.peak_gb(step), "GB")


def made_up_targets(config: MonoDdleConfig, batch: int, *, objects: int = 8) -> TargetTensors:
    """Return targets of some objects at random cells."""
    (height, width), slots = config.grid_px, config.max_objects
    cells = torch.randint(0, height * width, (batch, slots))
    is_object = (torch.arange(slots) < objects).expand(batch, -1).contiguous()
    heatmap = torch.zeros(batch, config.num_classes, height * width)
    heatmap[:, 0].scatter_(1, cells[:, :objects], 1.0)
    sizes = torch.rand(batch, slots, 3) + 1
    return TargetTensors(
        heatmap=heatmap.view(batch, config.num_classes, height, width),
        cell_index=cells,
        offset_2d=torch.rand(batch, slots, 2),
        size_2d=torch.rand(batch, slots, 2) * 20,
        offset_3d=torch.rand(batch, slots, 2),
        depth_m=torch.rand(batch, slots) * 60 + 1,
        size_3d_m=sizes,
        whole_size_m=sizes,
        heading_bin=torch.zeros(batch, slots, dtype=torch.int64),
        heading_rad=torch.zeros(batch, slots),
        is_object=is_object,
        is_3d=is_object,
        class_index=torch.zeros(batch, slots, dtype=torch.int64),
    )
