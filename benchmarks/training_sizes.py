"""Claim: which batch a GPU of 8 to 80 GB holds of the default trainings, and about how many hours they take (docs/sizing.md).

Counted   every operator of a training step of SemoDepth and of the detector, forward and backward, under bfloat16 as on a GPU:
          arithmetic, bytes moved, and bytes that autograd keeps. SemoDepth runs on two smaller images; the line through them gives
          what a full one keeps, and the area its arithmetic. The detector runs at full size. MIM4D's counts are those of mim4d_step.py
Computed  memory: what is kept, weights, gradients and moments, below 85 % of the card. Time: by the peaks of the cards, each
          operator at 50 % of the arithmetic or 70 % of the bandwidth. No GPU was asked: these are no measurements
"""

from __future__ import annotations

from typing import NamedTuple

import measure  # isort: skip  (before torch: it limits the thread pools)
import torch
from gpu.detector import made_up_targets
from mim4d_step import OPTIMIZER_COPIES, Gpu, Operators, Part, Work, counted
from semodepth_network import made_up_frames

from model.blocks.selective_scan import forced_engine
from model.monoddle.loss import detection_losses
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import MonoDdleConfig
from model.semodepth.loss import composite_loss
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig

FULL_PX = (900, 1600)
SHARE_OF_CARD = 0.85
CARDS = {
    "RTX 4060, 8 GB": Gpu(30, 15.1, 0.272, 8),
    "RTX 3060, 12 GB": Gpu(25.5, 12.7, 0.36, 12),
    "RTX 4090, 24 GB": Gpu(165, 82.6, 1.01, 24),
    "L40S, 48 GB": Gpu(362, 91.6, 0.864, 48),
    "A100, 80 GB": Gpu(312, 19.5, 2.04, 80),
}


class Training(NamedTuple):
    """A default training: its counts for one frame, bytes that do not grow with the batch, and how many frames it sees."""

    name: str
    frame: Operators
    state: int
    batch: int
    frames: int
    epochs: int


def main() -> None:
    args = measure.parsed(measure.arguments(__doc__))
    print(f"{measure.machine()}, torch {torch.__version__}")
    size = (72, 128) if args.small else (450, 800)
    channels = 8 if args.small else 64
    semodepth = _semodepth(size, channels)
    half = _semodepth((size[0] // 2, size[1] // 2), channels)
    print(f"SemoDepth, kept a megapixel: {_per_megapixel(semodepth, size):.2f} GB at {size[1]}x{size[0]}, "
          f"{_per_megapixel(half, (size[0] // 2, size[1] // 2)):.2f} GB at half the side")  # fmt: skip
    area = FULL_PX[0] * FULL_PX[1] / (size[0] * size[1])
    # calls are scaled by the area; what is kept lies on a line, since windows around radar returns do not grow with the image
    slope, base = _line(semodepth.kept, half.kept)
    print(f"SemoDepth, kept a frame: {base / 1e9:.2f} GB and {slope / (size[0] * size[1]) * 1e6 / 1e9:.2f} GB a megapixel")
    full = Operators(_scaled(semodepth, area).calls, kept=int(base + slope * area))
    detector = MonoDdleConfig(dla_widths=(8, 8, 8, 8, 8, 16), head_width=8, input_px=(64, 96)) if args.small else MonoDdleConfig()
    for training in (
        Training("SemoDepth, nuScenes", full, _state(SemoDepth(SemoDepthConfig(base_channels=channels))), 12, 27430, 50),
        Training("MonoDDLE, KITTI", _detector(detector), _state(MonoDdle(detector)), 16, 3712, 140),
    ):
        _print(training)


def _semodepth(size: tuple[int, int], channels: int) -> Operators:
    """Count a step of one image; it looks at the radar returns, so it runs with numbers."""

    def make(_: object, num: int) -> Work:
        network = SemoDepth(SemoDepthConfig(base_channels=channels))
        image, radar, target = made_up_frames(num, *size)

        def forward() -> list[torch.Tensor]:
            losses = composite_loss(network(image, radar), target, target, space=network.depth_space)
            assert losses is not None
            return [losses.loss]

        return Work(forward, list(network.parameters()), [image, radar, target])

    with forced_engine("numba"):
        return counted(Part(make, 1, 1, 1, "images", is_2d=True, is_real=True), None, is_half=True)


def _detector(config: MonoDdleConfig) -> Operators:
    def make(_: object, num: int) -> Work:
        network = MonoDdle(config).train()
        images, targets = torch.randn(num, 3, *config.input_px), made_up_targets(config, num)
        return Work(lambda: [detection_losses(network(images), targets)["total"]], list(network.parameters()), [images])

    return counted(Part(make, 1, 1, 1, "images", is_2d=True, is_real=True), None, is_half=True)


def _scaled(operators: Operators, factor: float) -> Operators:
    calls = [(flop * factor, moved * factor, is_half) for flop, moved, is_half in operators.calls]
    return Operators(calls, kept=int(operators.kept * factor))


def _line(kept: int, kept_of_half: int) -> tuple[float, float]:
    """Return slope and base of the line through the kept bytes of an area and of a quarter of it."""
    slope = (kept - kept_of_half) / 0.75
    return slope, kept - slope


def _state(network: torch.nn.Module) -> int:
    return OPTIMIZER_COPIES * 4 * sum(parameter.numel() for parameter in network.parameters())


def _per_megapixel(operators: Operators, size: tuple[int, int]) -> float:
    return operators.kept / (size[0] * size[1]) * 1e6 / 1e9


def largest_batch(gigabytes: float, *, frame: float, state: float, published: int) -> int:
    """Return the largest divisor of the published batch that fits a card; 0 if not one frame does."""
    fitting = [
        size for size in range(1, published + 1) if published % size == 0 and state + size * frame <= SHARE_OF_CARD * gigabytes
    ]
    return max(fitting, default=0)


def _print(training: Training) -> None:
    frame, state = training.frame.kept / 1e9, training.state / 1e9
    print(f"\n{training.name}: {frame:.2f} GB kept a frame, {state:.2f} GB weights, gradients and moments; "
          f"published batch {training.batch}, {training.frames:,} frames, {training.epochs} epochs")  # fmt: skip
    print("| card | batch_size | accumulate | GB | hours, computed |\n|---|---|---|---|---|")
    for card, gpu in CARDS.items():
        batch = largest_batch(gpu.gb, frame=frame, state=state, published=training.batch)
        if not batch:
            print(f"| {card} | none fits | | {state + frame:.1f} | |")
            continue
        seconds = _scaled(training.frame, batch).seconds(gpu) / batch
        hours = seconds * training.frames * training.epochs / 3600
        print(f"| {card} | {batch} | {training.batch // batch} | {state + batch * frame:.1f} | {hours:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
