"""Claim: a full-size MIM4D step fits one large GPU, and no part of it holds a row for each camera, voxel and level.

Counted   every operator of each part at full size, forward and backward, by running it on tensors without numbers: its
          multiplications and additions (matrix products, convolutions, look-ups), the bytes it takes and gives, and the bytes
          that autograd keeps. Least bytes: inputs, results and weights thrice, what is kept twice
Measured  CPU time of one thread, at the size that is said, scaled linearly to a step; peak memory of one real step
Computed  time on a GPU: each operator takes the longest of its start, its arithmetic and its bytes, at the shares of the
          peaks that are printed. No GPU was asked: these are no measurements
Beside    the straightforward ways: all rows of the lift at once, attention look-up by look-up, torch's own twice
          differentiated look-up in the renderer
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest import mock

import measure
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model.mim4d.batch import ClipViews
from model.mim4d.composite import render
from model.mim4d.deformable_attention import sample_deformable
from model.mim4d.depth_head import DepthHead
from model.mim4d.encoder import make_backbone
from model.mim4d.fpn import Fpn
from model.mim4d.lift import Cameras, RenderConv, lift_by_sampling, lift_by_splatting
from model.mim4d.net import Mim4d
from model.mim4d.network_config import Mim4dConfig
from model.mim4d.neus_field import FieldInVolume, FieldValues, NeusField
from model.mim4d.temporal_decoder import TemporalDecoder

CAMERAS = 6
TARGETS, MODES = 2, 2
START_S = 5e-6
ARITHMETIC_SHARE, BANDWIDTH_SHARE = 0.5, 0.7
SPLAT = "lift by splat"
"""The other way to lift; it is not part of a step's sums."""

OPTIMIZER_COPIES = 4
"""Weights, gradients and the two moments of AdamW, float32 each."""


class Gpu(NamedTuple):
    """Peaks that its maker gives: arithmetic of matrix units in bfloat16 and of float32 without them, and memory."""

    tflops_bf16: float
    tflops_fp32: float
    tb_per_s: float
    gb: float


GPUS = {"H200": Gpu(989, 67, 4.8, 141), "A100 80 GB": Gpu(312, 19.5, 2.04, 80), "RTX 4090": Gpu(165, 82.6, 1.01, 24)}


@dataclass
class Operators:
    """What was called: for each operator its arithmetic, its bytes and whether it is bfloat16."""

    calls: list[tuple[float, float, bool]] = field(default_factory=list)
    largest: int = 0
    kept: int = 0
    least: int = 0

    @property
    def gflop(self) -> float:
        return sum(flop for flop, _, _ in self.calls) / 1e9

    @property
    def moved(self) -> float:
        return sum(moved for _, moved, _ in self.calls)

    def seconds(self, gpu: Gpu) -> float:
        return sum(
            max(
                START_S,
                flop / (ARITHMETIC_SHARE * 1e12 * (gpu.tflops_bf16 if is_half else gpu.tflops_fp32)),
                moved / (BANDWIDTH_SHARE * 1e12 * gpu.tb_per_s),
            )
            for flop, moved, is_half in self.calls
        )


class _Counter(TorchDispatchMode):
    def __init__(self, into: Operators) -> None:
        super().__init__()
        self.into = into

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        results = [leaf for leaf in tree_leaves(result) if torch.is_tensor(leaf)]
        if results and not func.is_view:
            name = func._schema.name.removeprefix("aten::")
            moved = _moved_bytes(name, [leaf for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)], results)
            is_half = any(tensor.dtype == torch.bfloat16 for tensor in results)
            self.into.calls.append((_flop(name, args, results), moved, is_half))
            self.into.largest = max([self.into.largest, *(_num_bytes(tensor) for tensor in results)])
        return result


def _num_bytes(tensor: Tensor) -> int:
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _moved_bytes(name: str, arguments: list[Tensor], results: list[Tensor]) -> float:
    sizes = [_num_bytes(tensor) for tensor in arguments]
    if name in ("index_add_", "scatter_add_"):
        return sizes[1] + 3.0 * sizes[2]  # rows that are added to are read and written, the others are not touched
    if name in ("index_select", "gather", "index"):
        return sum(sizes[1:]) + 2.0 * sum(map(_num_bytes, results))
    if name == "_embedding_bag":
        row_bytes = arguments[0].shape[1] * arguments[0].element_size()
        return sum(sizes[1:]) + arguments[1].numel() * row_bytes + _num_bytes(results[0])
    if name in ("zero_", "fill_", "new_zeros", "zeros", "zeros_like", "ones_like", "new_ones"):
        return sum(map(_num_bytes, results))
    return sum(sizes) + sum(map(_num_bytes, results))


def _flop(name: str, args: Any, results: list[Tensor]) -> float:
    if name in ("mm", "addmm", "bmm", "baddbmm"):
        return 2.0 * results[0].numel() * args[-2].shape[-1]
    if name == "convolution":
        return 2.0 * args[1].numel() * results[0].numel() / results[0].shape[1]
    if name == "convolution_backward":  # the gradients of input and kernel cost the same
        return 2.0 * args[2].numel() * args[0].numel() / args[0].shape[1] * sum(args[-1][:2])
    if name == "_embedding_bag":
        return 2.0 * args[1].numel() * args[0].shape[1]
    if name in ("grid_sampler_2d", "grid_sampler_3d"):
        return 2.0 * results[0].numel() * 2 ** (args[0].ndim - 2)
    if name in ("grid_sampler_2d_backward", "grid_sampler_3d_backward"):
        return 4.0 * args[0].numel() * 2 ** (args[1].ndim - 2)
    return 0.0


class Work(NamedTuple):
    """One part: what runs, and the tensors that are there before and are no activations."""

    forward: Callable[[], list[Tensor]]
    weights: list[Tensor]
    inputs: list[Tensor]


class Part(NamedTuple):
    """A part of a step.

    Attributes:
        make: work of so many units.
        num: units of a call at full size.
        calls: calls in a step.
        tried: units whose CPU time is measured.
        unit: of what.
        is_2d: it runs in bfloat16 if autocast is on.
        is_real: it looks at its numbers, so it can be counted with numbers only.
    """

    make: Callable[[Mim4dConfig, int], Work]
    num: int
    calls: int
    tried: int
    unit: str
    is_2d: bool = False
    is_real: bool = False


def parts_of(config: Mim4dConfig, *, cameras: int, is_small: bool) -> dict[str, Part]:
    """Return the parts of a step with a clip of so many cameras."""
    frames = config.num_frames
    images, rays = frames * cameras, cameras * config.render.rays.rays_per_camera
    return {
        "backbone": Part(backbone, images, 1, 1, "images", True),
        "pyramid, depth": Part(pyramid, images, 1, 1, "images", True),
        "lift by sampling": Part(lambda config, num: sampling(config, num, cameras), frames, 1, 1, "frames", is_real=True),
        SPLAT: Part(lambda config, num: splat(config, num, cameras), frames, 1, 1, "frames", is_real=True),
        "volume convolution": Part(volume_conv, frames, 1, 1, "frames", True),
        "decoder": Part(decoder, frames, TARGETS, frames, "frames"),
        "renderer": Part(renderer, rays, TARGETS * MODES, min(8 if is_small else 64, rays), "rays"),
    }


def backbone(config: Mim4dConfig, num: int) -> Work:
    network = make_backbone(config.backbone, first_level=config.lift.first_level).train()
    height, width = config.input_px
    image = torch.randn(num, 3, height, width)
    cells = (height // config.mask.patch_px, width // config.mask.patch_px)
    is_seen = torch.rand(num, 1, *cells) > config.mask.hidden_ratio
    return Work(lambda: list(network(image, is_seen)), list(network.parameters()), [image, is_seen])


def pyramid(config: Mim4dConfig, num: int) -> Work:
    lift = config.lift
    channels = make_backbone(config.backbone).channels
    fpn = Fpn(channels, lift.channels, first_level=lift.first_level, num_extra=lift.num_extra_levels)
    head = DepthHead(lift.channels, lift.bins)
    levels = [_leaf(num, count, *_cells(config, 4 << place)) for place, count in enumerate(channels)]

    def forward() -> list[Tensor]:
        features, chances = head(fpn(levels))
        return [*features, *chances]

    return Work(forward, [*fpn.parameters(), *head.parameters()], levels)


def sampling(config: Mim4dConfig, num: int, cameras: int) -> Work:
    lift = config.lift
    features, chances = _maps(config, lift.strides, num, cameras)
    seen_by = ring(config, num, cameras)
    return Work(
        lambda: [lift_by_sampling(features, chances, seen_by, grid=lift.grid, bins=lift.bins, strides=lift.strides)],
        [],
        [*features, *chances],
    )


def splat(config: Mim4dConfig, num: int, cameras: int) -> Work:
    lift = config.lift
    (feature,), (chance,) = _maps(config, (32,), num, cameras)
    seen_by = ring(config, num, cameras)
    return Work(
        lambda: [lift_by_splatting(feature, chance, seen_by, grid=lift.grid, bins=lift.bins, stride=32)], [], [feature, chance]
    )


def volume_conv(config: Mim4dConfig, num: int) -> Work:
    lift = config.lift
    conv = RenderConv(lift.channels, lift.volume_channels, norm=lift.norm3d, num_groups=lift.norm_groups)
    volumes = torch.randn(1, num, *lift.grid.shape_zyx, lift.channels).movedim(-1, 2).requires_grad_()
    return Work(lambda: [conv(volumes)], list(conv.parameters()), [volumes])


def decoder(config: Mim4dConfig, num: int) -> Work:
    lift = config.lift
    network = TemporalDecoder(config.temporal, channels=lift.volume_channels, num_frames=num, grid=lift.grid)
    volumes = _leaf(1, num, lift.volume_channels, *lift.grid.shape_zyx)
    poses = torch.eye(4).expand(1, num, 4, 4).clone()
    poses[0, :, 0, 3] = -torch.arange(num) * 0.8
    time_s = -0.1 * torch.arange(num)[None]
    return Work(
        lambda: [network(volumes, poses, time_s=time_s, targets=(0,))], list(network.parameters()), [volumes, poses, time_s]
    )


def renderer(config: Mim4dConfig, num: int) -> Work:
    lift = config.lift
    neus = NeusField(lift.volume_channels, grid=lift.grid, config=config.render)
    volume = _leaf(1, lift.volume_channels, *lift.grid.shape_zyx)
    origin_m, direction = _rays(num)

    def forward() -> list[Tensor]:
        rendered = render(neus.in_volume(volume), origin_m, direction, grid=lift.grid, config=config.render)
        return [rendered.rgb, rendered.depth_m]

    return Work(forward, list(neus.parameters()), [volume, origin_m, direction])


def ring(config: Mim4dConfig, frames: int, cameras: int) -> Cameras:
    """Return cameras of 70 degrees that look all around."""
    height, width = config.input_px
    focal = width / 2 / math.tan(math.radians(35))
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    poses = torch.zeros(cameras, 4, 4)
    for camera in range(cameras):
        c, s = math.cos(2 * math.pi * camera / cameras), math.sin(2 * math.pi * camera / cameras)
        poses[camera] = torch.tensor([[s, -c, 0, 0], [0, 0, -1, 1.5], [c, s, 0, 0], [0, 0, 0, 1.0]])
    return Cameras(poses.expand(1, frames, -1, -1, -1), intrinsics.expand(1, frames, cameras, -1, -1), (height, width))


def _maps(config: Mim4dConfig, strides: tuple[int, ...], frames: int, cameras: int) -> tuple[list[Tensor], list[Tensor]]:
    torch.manual_seed(0)  # both ways of a pair get the same features
    sizes = [_cells(config, stride) for stride in strides]
    features = [_leaf(1, frames, cameras, config.lift.channels, *size) for size in sizes]
    bins = config.lift.num_depth_bins
    return features, [torch.randn(1, frames, cameras, bins, *size).softmax(3).requires_grad_() for size in sizes]


def _cells(config: Mim4dConfig, stride: int) -> tuple[int, int]:
    height, width = config.input_px
    return -(-height // stride), -(-width // stride)


def _leaf(*shape: int) -> Tensor:
    return torch.randn(shape).requires_grad_()


def _rays(num: int) -> tuple[Tensor, Tensor]:
    """Return rays (1, num, 3) from the middle of the rig, to all sides and mostly level."""
    turn = torch.arange(num) * 2.4
    direction = torch.stack([turn.cos(), turn.sin(), 0.1 * torch.sin(7.0 * turn) - 0.05], dim=-1)
    return torch.tensor([0.0, 0.0, 1.5]).expand(1, num, 3), F.normalize(direction, dim=-1)[None]


@contextmanager
def _half(is_on: bool) -> Iterator[None]:
    """Bfloat16 autocast by the rules of CUDA, which runs layer norms in float32; those of a CPU do not."""
    layer_norm = nn.LayerNorm.forward

    def in_float(module: nn.LayerNorm, x: Tensor) -> Tensor:
        return layer_norm(module, x.float())

    with torch.autocast("cpu", torch.bfloat16, enabled=is_on), mock.patch.object(nn.LayerNorm, "forward", in_float):
        yield


def counted(part: Part, config: Mim4dConfig, *, is_half: bool = False) -> Operators:
    """Count one call of a part at full size; parts that look at their numbers run for real."""
    operators = Operators()
    alive: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in alive:
            alive[storage._cdata] = tensor
            operators.kept += storage.nbytes()
        return tensor

    with nullcontext() if part.is_real else FakeTensorMode():
        # trunc_normal_ reads the values it drew, which fake tensors do not have
        with nullcontext() if part.is_real else mock.patch("torch.nn.init.trunc_normal_"):
            work = part.make(config, part.num)
        for weight in work.weights:  # weights exist before the call, so they do not count as kept
            alive[weight.untyped_storage()._cdata] = weight
        with saved_tensors_hooks(keep, lambda tensor: tensor), _Counter(operators):
            with _half(is_half and part.is_2d):
                results = work.forward()
            total = _total(results)
        with _Counter(operators):
            total.backward()
        operators.least = 3 * sum(map(_num_bytes, [*work.weights, *work.inputs, *results])) + 2 * operators.kept
    return operators


def _total(results: list[Tensor]) -> Tensor:
    return torch.stack([result.float().sum() for result in results if result.requires_grad]).sum()


def print_parts(parts: dict[str, Part], config: Mim4dConfig) -> None:
    """Print what each part of a step takes: counted at full size, and CPU time measured at the size that is said."""
    print("| part | calls | GFLOP | moved GB | least GB | kept GB | CPU ms, forward + backward | of | a step, CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    total = [0.0] * 5
    for name, part in parts.items():
        operators = counted(part, config)
        work = part.make(config, part.tried)
        work.forward()  # the first call is slower, so it is not measured
        forward, both = (
            measure.cpu_ms(run, repeat=3) for run in (work.forward, lambda work=work: _total(work.forward()).backward())
        )
        seconds = both / 1e3 * part.num / part.tried * part.calls
        row = [
            part.calls * value for value in (operators.gflop, operators.moved / 1e9, operators.least / 1e9, operators.kept / 1e9)
        ]
        if name != SPLAT:
            total = [before + value for before, value in zip(total, [*row, seconds], strict=True)]
        numbers = " | ".join(f"{value:.4g}" for value in row)
        of = f"{part.tried} of {part.num} {part.unit}"
        print(f"| {name} | {part.calls} | {numbers} | {forward:.0f} + {both - forward:.0f} | {of} | {seconds:.3g} |", flush=True)
    print(f"| a step, by sampling | | {' | '.join(f'{value:.4g}' for value in total[:4])} | | | {total[4]:.3g} |")


def print_computed(parts: dict[str, Part], config: Mim4dConfig, *, images: int) -> None:
    """Print what a step holds in memory, and how long GPUs would take for it: by the counts, not measured."""
    weights = sum(parameter.numel() for parameter in Mim4d(config).parameters())
    state = OPTIMIZER_COPIES * 4 * weights
    pixels = 12 * images * config.input_px[0] * config.input_px[1]
    print(f"\n{weights / 1e6:.1f} M parameters: weights, gradients, moments {state / 1e9:.2f} GB; images {pixels / 1e9:.2f} GB")
    print("| computed | kept for backward GB | of it backbone, renderer | memory of a step GB | " + " s | ".join(GPUS) + " s |")
    print("|---|---|---|---|" + "---|" * len(GPUS))
    renderer_part = parts["renderer"]
    chunks = math.ceil(renderer_part.num / config.render.chunk_rays)
    recomputing = config.model_copy(update={"render": config.render.model_copy(update={"recompute": True})})
    again = counted(renderer_part, recomputing)
    for is_half in (False, True):
        counts = {name: counted(part, config, is_half=is_half) for name, part in parts.items() if name != SPLAT}
        one_chunk = counts["renderer"].kept / chunks
        for recompute in (False, True):
            if recompute:
                counts["renderer"] = again
            kept = {name: parts[name].calls * operators.kept for name, operators in counts.items()}
            held = sum(kept.values()) + state + pixels + (one_chunk if recompute else 0)
            seconds = [
                sum(parts[name].calls * operators.seconds(gpu) for name, operators in counts.items()) for gpu in GPUS.values()
            ]
            way = f"{'bfloat16 images' if is_half else 'float32'}, render.recompute {str(recompute).lower()}"
            print(
                f"| {way} | {sum(kept.values()) / 1e9:.1f} | {kept['backbone'] / 1e9:.1f}, {kept['renderer'] / 1e9:.1f} "
                f"| {held / 1e9:.1f} | {' | '.join(f'{value:.2f}' for value in seconds)} |",
                flush=True,
            )
    print(
        f"assumed: {ARITHMETIC_SHARE:.0%} of the arithmetic, {BANDWIDTH_SHARE:.0%} of the bandwidth, {START_S * 1e6:.0f} us to start an "
        "operator; TFLOP/s bf16, fp32, TB/s: "
        + "; ".join(f"{name} {gpu.tflops_bf16:g}, {gpu.tflops_fp32:g}, {gpu.tb_per_s:g}" for name, gpu in GPUS.items())
    )


def print_beside(config: Mim4dConfig, *, is_small: bool) -> None:
    """Print the straightforward ways beside ours, at a reduced size."""
    print("\n| beside, forward + backward | at | kept MB | largest tensor MB | CPU ms | ratio of kept, of time |")
    print("|---|---|---|---|---|---|")
    channels, cameras = (8, 3) if is_small else (32, CAMERAS)
    reduced = config.model_copy(update={"lift": config.lift.model_copy(update={"channels": channels})})
    at = f"{cameras} cameras, 1 frame, {channels} channels"
    _print_pair("lift by sampling", at, sampling(reduced, 1, cameras), _all_rows(reduced, cameras))
    _print_pair("lift by splat", at, splat(reduced, 1, cameras), _all_cells(reduced, cameras))
    heads, points, (rows, columns) = config.temporal.short_heads, config.temporal.num_points, config.lift.grid.shape_zyx[1:]
    values = _leaf(1, 2, rows * columns, heads, config.temporal.embed_channels // heads)
    offsets, weights = _leaf(1, 2, rows * columns, heads, points, 2), _leaf(1, 2, rows * columns, heads, points)
    _print_pair(
        "deformable attention",
        f"2 sources, {heads} heads, {points} places, {rows} x {columns} cells",
        Work(lambda: [sample_deformable(values, offsets, weights, size_yx=(rows, columns))], [], [values, offsets, weights]),
        Work(lambda: [_one_by_one(values, offsets, weights, (rows, columns))], [], [values, offsets, weights]),
    )
    num = 4 if is_small else 64
    ours = renderer(config, num)
    _print_pair("renderer, look-up", f"{num} rays", ours, _by_grid_sample(ours))
    print("counted at full size, forward + backward:")
    num = config.render.chunk_rays
    for name, make in {
        "lift by sampling, one frame: straightforward": lambda config, num: _all_rows(config, CAMERAS),
        f"renderer, {num} rays: straightforward": lambda config, num: _by_grid_sample(renderer(config, num)),
        f"renderer, {num} rays: ours": renderer,
    }.items():
        operators = counted(Part(make, num, 1, num, ""), config)
        print(
            f"{name}: kept {operators.kept / 1e9:.2f} GB, largest tensor {operators.largest / 1e6:.0f} MB, moved {operators.moved / 1e9:.1f} GB"
        )


def _print_pair(name: str, at: str, ours: Work, straightforward: Work) -> None:
    rows = []
    for work in (straightforward, ours):
        operators = counted(Part(lambda config, num, work=work: work, 1, 1, 1, "", is_real=True), Mim4dConfig())
        ms = measure.cpu_ms(lambda work=work: _total(work.forward()).backward(), repeat=3)
        rows.append((operators.kept / 1e6, operators.largest / 1e6, ms))
    results, expected = ours.forward()[0].detach(), straightforward.forward()[0].detach()
    assert torch.allclose(results, expected, rtol=1e-3, atol=1e-3), (name, float((results - expected).abs().max()))
    (kept, largest, ms), (our_kept, our_largest, our_ms) = rows
    print(f"| {name}: straightforward | {at} | {kept:.1f} | {largest:.1f} | {ms:.0f} | |")
    ratio = f"{kept / our_kept:.1f}x, {ms / our_ms:.1f}x"
    print(f"| {name}: ours | | {our_kept:.1f} | {our_largest:.1f} | {our_ms:.0f} | {ratio} |", flush=True)


def _all_rows(config: Mim4dConfig, cameras: int) -> Work:
    """The lift as published: a row for every camera, voxel and level, summed at the end."""
    lift = config.lift
    features, chances = _maps(config, lift.strides, 1, cameras)
    seen_by = ring(config, 1, cameras)

    def forward() -> list[Tensor]:
        points = lift.grid.centres_m().view(-1, 3)
        matrices = (seen_by.intrinsics @ seen_by.cam_from_rig[..., :3, :]).view(cameras, 3, 4)
        u, v, d = (points @ matrices[:, :, :3].mT + matrices[:, None, :, 3]).unbind(-1)
        u, v = u / d, v / d
        height, width = config.input_px
        is_seen = (d > lift.near_m) & (d < lift.far_m) & (u > 0) & (u < width) & (v > 0) & (v < height)
        rows = []
        for feature, chance, stride in zip(features, chances, lift.strides, strict=True):
            down, across = feature.shape[-2:]
            place = torch.stack([u / (across * stride), v / (down * stride), (d - lift.near_m) / (lift.far_m - lift.near_m)], -1)
            place = (place * 2 - 1).nan_to_num(0.0).clamp(-3, 3)
            looked = F.grid_sample(feature[0, 0], place[:, None, :, :2], padding_mode="border", align_corners=False)[:, :, 0]
            likely = F.grid_sample(chance[0, 0][:, None], place[:, None, None], padding_mode="border", align_corners=False)
            rows.append(looked * likely[:, :, 0, 0] * is_seen[:, None])
        return [torch.stack(rows, -1).sum((0, -1)).view(1, 1, -1, *lift.grid.shape_zyx)]

    return Work(forward, [], [*features, *chances])


def _all_cells(config: Mim4dConfig, cameras: int) -> Work:
    """The splat as published: a row for every camera, cell and bin, then added to the voxels."""
    lift = config.lift
    (feature,), (chance,) = _maps(config, (32,), 1, cameras)
    seen_by = ring(config, 1, cameras)
    down, across = feature.shape[-2:]

    def forward() -> list[Tensor]:
        v, u = torch.meshgrid((torch.arange(down) + 0.5) * 32, (torch.arange(across) + 0.5) * 32, indexing="ij")
        pixels = torch.stack([u, v, torch.ones_like(u)], -1).double()
        rig_from_cam = torch.linalg.inv(seen_by.cam_from_rig[0, 0].double())
        rays = torch.einsum(
            "mij,mjk,yxk->myxi", rig_from_cam[:, :3, :3], torch.linalg.inv(seen_by.intrinsics[0, 0].double()), pixels
        )
        depth = lift.bins.centres_m().double()[None, :, None, None, None]
        points = rig_from_cam[:, None, None, None, :3, 3] + rays[:, None] * depth
        place = ((points - torch.tensor(lift.low_m)) / torch.tensor(lift.grid.voxel_m)).floor().long()
        is_inside = ((place >= 0) & (place < torch.tensor(lift.grid.shape_xyz))).all(-1)
        num_z, num_y, num_x = lift.grid.shape_zyx
        voxel = ((place[..., 2] * num_y + place[..., 1]) * num_x + place[..., 0])[is_inside]
        rows = (chance[0, 0][:, :, None] * feature[0, 0][:, None]).movedim(2, -1)[is_inside]
        volume = torch.zeros(num_z * num_y * num_x, rows.shape[1]).index_add(0, voxel, rows)
        return [volume.view(1, 1, num_z, num_y, num_x, -1).movedim(-1, 2)]

    return Work(forward, [], [feature, chance])


def _one_by_one(values: Tensor, offsets: Tensor, weights: Tensor, size: tuple[int, ...]) -> Tensor:
    """Deformable attention look-up by look-up: for each source, head and place."""
    rows, columns = size
    at_y, at_x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    cell = torch.stack([at_x, at_y], -1).view(-1, 2)
    _, sources, _, heads, points = weights.shape
    head_values = []
    for head in range(heads):
        total = torch.zeros(())
        for source in range(sources):
            plane = values[0, source, :, head].T.unflatten(1, (rows, columns))[None]
            for point in range(points):
                place = (2 * (cell + offsets[0, source, :, head, point]) + 1) / torch.tensor([columns, rows]) - 1
                looked = F.grid_sample(plane, place[None, None], align_corners=False)[0, :, 0]
                total = total + (looked * weights[0, source, :, head, point]).T
        head_values.append(total)
    return torch.stack(head_values, 1)[None]


def _by_grid_sample(ours: Work) -> Work:
    """The renderer with torch's own look-up, whose derivative by the point is differentiated again."""

    def values(field: Any, points: Tensor, directions: Tensor) -> FieldValues:
        net = field._field
        points = points.detach().requires_grad_()
        features = _sampled(field, points)
        distance, geometry = net.sdf_net(points, features).tensor_split([1], dim=-1)
        (gradient,) = torch.autograd.grad(distance.sum(), points, create_graph=True)
        condition = torch.cat([directions[..., None, :].expand_as(points), features, gradient, geometry], dim=-1)
        return FieldValues(distance[..., 0], gradient, torch.sigmoid(net.rgb_net(points, condition)))

    def sdf(field: Any, points: Tensor) -> Tensor:
        return field._field.sdf_net(points, _sampled(field, points))[..., 0]

    def forward() -> list[Tensor]:
        with mock.patch.object(FieldInVolume, "values", values), mock.patch.object(FieldInVolume, "sdf", sdf):
            return ours.forward()

    return Work(forward, ours.weights, ours.inputs)


def _sampled(field: Any, points: Tensor) -> Tensor:
    grid = field._field._grid
    place = grid.to_unit(points / grid.sigma).view(1, 1, 1, -1, 3)
    looked = F.grid_sample(field._volume.contiguous(), place, padding_mode="border", align_corners=False)
    return looked[0, :, 0, 0].T.view(*points.shape[:-1], -1)


def step_of(
    config: Mim4dConfig, *, cameras: int, rays: int, device: torch.device | str = "cpu", is_half: bool = False
) -> Callable[[], None]:
    """Return a call that makes a real step of one clip, on a device, in float32 or under bfloat16 autocast."""
    torch.manual_seed(0)
    network = Mim4d(config).train().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    frames = config.num_frames
    seen_by = ring(config, frames, cameras)
    poses = torch.eye(4).expand(1, frames, 4, 4).clone()
    poses[0, :, 0, 3] = -torch.arange(frames) * 0.8
    views = ClipViews(
        torch.randn(1, frames, cameras, 3, *config.input_px).to(device),
        seen_by.intrinsics.to(device),
        seen_by.cam_from_rig.to(device),
        poses.to(device),
        (-0.1 * torch.arange(frames)[None]).to(device),
    )
    cells = tuple(side // config.mask.patch_px for side in config.input_px)
    is_seen = (torch.rand(1, frames, cameras, *cells) > config.mask.hidden_ratio).to(device)
    origin_m, direction = (tensor.to(device) for tensor in _rays(rays))
    generators = [torch.Generator().manual_seed(0)]  # on the CPU wherever the network is, as in a training

    def step() -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_half):
            rendered = network(
                views,
                is_seen=is_seen,
                targets=[(0,), (1,)],
                origin_m=[origin_m] * TARGETS,
                direction=[direction] * TARGETS,
                generators=generators,
            )
        _total(
            [values for many in rendered.values() for rendering in many for values in (rendering.rgb, rendering.depth_m)]
        ).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def real_step(config: Mim4dConfig, *, cameras: int, rays: int, repeat: int) -> dict[str, float]:
    """Make real steps of one clip; for a process of its own, whose peak memory is taken."""
    step = step_of(config, cameras=cameras, rays=rays)
    before_mb = measure.peak_rss_mb()
    ms = measure.cpu_ms(step, repeat=repeat)
    return {"ms": ms, "before_mb": before_mb, "peak_mb": measure.peak_rss_mb()}


def print_real(name: str, config: Mim4dConfig, *, cameras: int, rays_per_camera: int, repeat: int) -> None:
    """Print a real step beside what the counts say of it."""
    ray_config = config.render.rays.model_copy(update={"rays_per_camera": rays_per_camera})
    config = config.model_copy(update={"render": config.render.model_copy(update={"rays": ray_config})})
    parts = parts_of(config, cameras=cameras, is_small=True)
    kept = sum(part.calls * counted(part, config).kept for name, part in parts.items() if name != SPLAT)
    state = OPTIMIZER_COPIES * 4 * sum(parameter.numel() for parameter in Mim4d(config).parameters())
    what = {"config": config.model_dump(mode="json"), "cameras": cameras, "rays": cameras * rays_per_camera, "repeat": repeat}
    command = [sys.executable, __file__, "--child", json.dumps(what)]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    print(
        f"{name}, {config.num_frames} frames of {cameras} cameras, {rays_per_camera} rays each, one thread: {measured['ms']:.0f} ms CPU a "
        f"step with AdamW; peak {measured['peak_mb']:.0f} MB, {measured['before_mb']:.0f} MB of it before the step; counted: kept "
        f"{kept / 1e6:.0f} MB, weights, gradients, moments {state / 1e6:.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument(
        "--only", choices=("full", "tiny", "beside", "real"), nargs="+", default=["full", "tiny", "beside", "real"]
    )
    args = measure.parsed(parser)
    torch.set_num_threads(1)
    if args.child:
        what = json.loads(args.child)
        print(json.dumps(real_step(Mim4dConfig.model_validate(what.pop("config")), **what)))
        return
    print(f"{measure.machine()}, torch {torch.__version__}, one thread")
    full, tiny = SMALL if args.small else Mim4dConfig(), Mim4dConfig.tiny()
    if "full" in args.only:
        parts = parts_of(full, cameras=CAMERAS, is_small=args.small)
        print_parts(parts, full)
        print_computed(parts, full, images=CAMERAS * full.num_frames)
    if "beside" in args.only:
        print_beside(full, is_small=args.small)
    if "tiny" in args.only and not args.small:
        print("\ntiny")
        parts = parts_of(tiny, cameras=CAMERAS, is_small=False)
        print_parts({name: part._replace(tried=part.num) for name, part in parts.items()}, tiny)
    if "real" in args.only:
        print()
        print_real("tiny", tiny, cameras=CAMERAS, rays_per_camera=48, repeat=1 if args.small else 5)
        print_real("full size", full, cameras=1, rays_per_camera=64, repeat=1)


SMALL = Mim4dConfig.tiny().model_copy(update={"input_px": (64, 96)})

if __name__ == "__main__":
    main()
