"""SemoDepth: dense depth from one camera image and sparse radar.

Source  arXiv 2605.11840; docs/method/semodepth.md#network, #plug-in-branch
Reads   image_u8 (b, h, w, 3) RGB; radar_m (b, h, w) metres, 0 = nothing; mono_m (b, h, w) metres, optional, plug-in only
Writes  depth (b, h, w): in the log-normalised space of ``DepthSpace`` by ``forward``, in metres by ``predict``; if asked for,
        the log scale (b, h, w) that says how far a teacher is to be believed
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.blocks.full_precision import last_in_float32
from model.blocks.resnet import ResNet34, resnet34_channels
from model.errors import InputError
from model.semodepth.depth_space import DepthSpace
from model.semodepth.mvsp import GlobalScan, RadarFilmBlock, WindowScan
from model.semodepth.network_config import SemoDepthConfig
from model.semodepth.radar_graph import RadarGraph, RadarNodes, radar_nodes
from model.semodepth.radar_scale import RadarMap, SparseMap, add_dense, place_by_resize, place_by_scatter

GLOBAL_LAYERS, WINDOW_LAYERS = 2, 1
"""Layers of the scans at strides 32 and 16, and in the windows at stride 8."""


class WithUncertainty(NamedTuple):
    """A prediction and how far its teacher is to be believed.

    Attributes:
        depth: (b, h, w), in the normalised space by ``forward``, in metres by ``predict_with_uncertainty``.
        log_scale: (b, h, w) s, not clamped; see ``blocks/dense_teacher_loss``.
    """

    depth: Tensor
    log_scale: Tensor


class SemoDepth(nn.Module):
    """The network; its options are in ``config``."""

    def __init__(self, config: SemoDepthConfig | None = None) -> None:
        super().__init__()
        self._is_fixed = False
        self.config = config or SemoDepthConfig()
        self.depth_space = DepthSpace(self.config.min_depth_m, self.config.max_depth_m)
        base = self.config.base_channels
        c0, c1, c2, c3, c4 = resnet34_channels(base)
        d0, d1, d2, d3, d4 = base, base, 2 * base, 4 * base, 4 * base
        self.encoder = ResNet34(base)
        self.radar_graph = RadarGraph(width=base, out=base)
        if self.config.plug_in:
            last = nn.Conv2d(base // 2, base, 3, padding=1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # it has a bias
            self.mono_embed = nn.Sequential(nn.Conv2d(1, base // 2, 3, padding=1), nn.ReLU(), last)
        self.radar_proj = nn.ModuleList(nn.Sequential(nn.Conv2d(base, base, 1), nn.ReLU()) for _ in range(5))
        self.scan4 = GlobalScan(c4, base, width=4 * base, layers=GLOBAL_LAYERS)
        self.scan3 = GlobalScan(d4 + c3, base, width=4 * base, layers=GLOBAL_LAYERS)
        self.scan2 = WindowScan(
            d3 + c2,
            base,
            width=2 * base,
            window=self.config.window_size,
            layers=WINDOW_LAYERS,
            layout=self.config.window_layout,
            batch_independent=self.config.batch_independent,
        )
        self.film4 = RadarFilmBlock(c4, base, d4)
        self.film3 = RadarFilmBlock(d4 + c3, base, d3)
        self.film2 = RadarFilmBlock(d3 + c2, base, d2)
        self.film1 = RadarFilmBlock(d2 + c1, base, d1)
        self.film0 = RadarFilmBlock(d1 + c0, base, d0)
        self.head = nn.Sequential(nn.Conv2d(d0, base // 2, 3, padding=1), nn.ReLU(), nn.Conv2d(base // 2, 1, 1))
        if self.config.uncertainty:  # last, so that all other weights begin as they do without it
            scale = nn.Conv2d(base // 2, 1, 1)
            nn.init.zeros_(scale.weight)
            nn.init.zeros_(scale.bias)  # type: ignore[arg-type]  # it has a bias
            self.uncertainty_head = nn.Sequential(nn.Conv2d(d0, base // 2, 3, padding=1), nn.ReLU(), scale)

    def forward(
        self, image_u8: Tensor, radar_m: Tensor, mono_m: Tensor | None = None, *, with_uncertainty: bool = False
    ) -> Tensor | WithUncertainty:
        """Predict normalised depth (b, h, w), not clamped; ``depth_space.metres`` turns it into metres.

        Args:
            image_u8: (b, h, w, 3) RGB.
            radar_m: (b, h, w) metres, 0 = nothing; the caller clips it to the maximum depth.
            mono_m: (b, h, w) monocular depth in metres. None skips the plug-in branch; zeros pass through it, as in training with
                mono drop-out, or skip it too (``absent_mono``).
            with_uncertainty: compute the log scale too; without, its head costs nothing.

        Returns:
            The depth; with_uncertainty: depth and log scale.

        Raises:
            InputError: shapes or dtypes do not fit, mono_m is given to a network without the plug-in branch, or the log scale is
                asked of one without its head.
        """
        self._check(image_u8, radar_m, mono_m)
        if with_uncertainty and not self.config.uncertainty:
            raise InputError("the log scale was asked of a network without the uncertainty head; build it with uncertainty=True")
        c0, c1, c2, c3, c4 = self.encoder(image_u8, downscale=self.config.input_downscale)
        nodes = radar_nodes(radar_m, max_nodes=self.config.max_radar_nodes)
        if len(nodes.sample):
            features = self.radar_graph.of_returns(nodes, max_depth_m=self.config.max_depth_m)
        else:
            features = c0.new_zeros((0, self.config.base_channels), dtype=torch.float32)
        mono = self._embed_mono(mono_m)
        r4, r3, r2, r1, r0 = (
            self._radar_at(nodes, features, mono, grid=(level.shape[2], level.shape[3])).project(proj)  # type: ignore[arg-type]
            for level, proj in zip((c4, c3, c2, c1, c0), self.radar_proj, strict=True)
        )
        d4 = self.film4(self.scan4(c4, r4), r4)
        d3 = self.film3(self.scan3(join(d4, c3), r3), r3)
        d2 = self.film2(self.scan2(join(d3, c2), r2, radar_m > 0), r2)
        d1 = self.film1(join(d2, c1), r1)
        d0 = self.film0(join(d1, c0), r0)
        size = image_u8.shape[1:3]
        if self.config.input_downscale == 1:
            out = last_in_float32(self.head, F.interpolate(d0, size, mode="bilinear", align_corners=False))
        else:  # at stride 2 of the smaller image; full resolution would only cost
            out = F.interpolate(last_in_float32(self.head, d0), size, mode="bilinear", align_corners=False)
        normalized = out.squeeze(1).float()
        if not with_uncertainty:
            return normalized
        # enlarged after the head in any case: a scale need not be as sharp as depth, and the full grid costs four times as much
        log_scale = F.interpolate(last_in_float32(self.uncertainty_head, d0), size, mode="bilinear", align_corners=False)
        return WithUncertainty(normalized, log_scale.squeeze(1).float())

    @torch.no_grad()
    def predict(
        self,
        image_u8: Tensor | NDArray[np.uint8],
        radar_m: Tensor | NDArray[np.float32],
        mono_m: Tensor | NDArray[np.float32] | None = None,
    ) -> Tensor:
        """Predict metres (b, h, w) in evaluation mode, on the network's device; arguments as in ``forward``, any h and w."""
        return self.depth_space.metres(self._evaluated(image_u8, radar_m, mono_m, with_uncertainty=False))

    @torch.no_grad()
    def predict_with_uncertainty(
        self,
        image_u8: Tensor | NDArray[np.uint8],
        radar_m: Tensor | NDArray[np.float32],
        mono_m: Tensor | NDArray[np.float32] | None = None,
    ) -> WithUncertainty:
        """Predict metres (b, h, w) and the log scale (b, h, w), otherwise as ``predict``; for studies and pictures."""
        answer: WithUncertainty = self._evaluated(image_u8, radar_m, mono_m, with_uncertainty=True)
        return WithUncertainty(self.depth_space.metres(answer.depth), answer.log_scale)

    def _evaluated(
        self,
        image_u8: Tensor | NDArray[np.uint8],
        radar_m: Tensor | NDArray[np.float32],
        mono_m: Tensor | NDArray[np.float32] | None,
        *,
        with_uncertainty: bool,
    ) -> Any:
        """Return what ``forward`` does in evaluation mode; the mode is put back."""
        device = self.encoder.conv1.weight.device
        was_training = self.training
        self.eval()
        try:
            image, radar = torch.as_tensor(image_u8).to(device), torch.as_tensor(radar_m).to(device)
            mono = None if mono_m is None else torch.as_tensor(mono_m).to(device)
            return self(image, radar, mono, with_uncertainty=with_uncertainty)
        finally:
            self.train(was_training)

    def load_imagenet_weights(self, path: str | Path) -> None:
        """Load the encoder's weights from torchvision's ``resnet34-*.pth``; see ``ResNet34.load_imagenet_weights``."""
        self.encoder.load_imagenet_weights(path)

    def _embed_mono(self, mono_m: Tensor | None) -> Tensor | None:
        skips = self.config.absent_mono == "skip"
        # in training the branch stays in the graph, so that a batch without any depth has gradients, of 0
        if mono_m is None or (skips and not self.training and not bool(mono_m.any())):
            return None
        relative = (mono_m / self.config.max_depth_m).clamp(0.0, 1.0).unsqueeze(1)
        embedded: Tensor = self.mono_embed(relative)
        return embedded * (mono_m > 0).any(dim=2).any(dim=1).view(-1, 1, 1, 1) if skips else embedded

    def train_only_plug_in(self) -> None:
        """Fix everything but the branch for monocular depth, for good: weights, and the averages of the norms."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.mono_embed.requires_grad_(True)
        self._is_fixed = True
        self.train(self.training)

    def train(self, mode: bool = True) -> SemoDepth:
        """Set training mode; what is fixed stays in evaluation mode."""
        super().train(mode)
        if self._is_fixed:
            for name, child in self.named_children():
                child.train(mode and name == "mono_embed")
        return self

    def _radar_at(self, nodes: RadarNodes, features: Tensor, mono: Tensor | None, *, grid: tuple[int, int]) -> RadarMap:
        place = place_by_resize if self.config.radar_to_scale == "resize" else place_by_scatter
        placed: SparseMap = place(nodes, features, grid=grid)
        return placed if mono is None else add_dense(placed, mono)

    def _check(self, image_u8: Tensor, radar_m: Tensor, mono_m: Tensor | None) -> None:
        if image_u8.ndim != 4 or image_u8.shape[3] != 3 or image_u8.dtype != torch.uint8 or image_u8.numel() == 0:
            raise InputError(f"image must be uint8 (b, h, w, 3), got {image_u8.dtype} {tuple(image_u8.shape)}")
        num_frames, height, width = image_u8.shape[:3]
        if self.training and num_frames * math.ceil(height / 32) * math.ceil(width / 32) < 2:  # batch norm needs two cells
            raise InputError(
                f"{num_frames} frame of {width}x{height} pixels is too small to train on, expected more than 32 rows or columns, "
                "or a larger train.data.batch_size. Take larger images, or wider rows (train.data.rows)"
            )
        for name, depth in (("radar", radar_m), ("mono", mono_m)):
            if depth is not None and (depth.shape != image_u8.shape[:3] or not depth.is_floating_point()):
                raise InputError(
                    f"{name} must be floating-point metres of the image's size {tuple(image_u8.shape[:3])}, "
                    f"got {depth.dtype} {tuple(depth.shape)}"
                )
        if mono_m is not None and not self.config.plug_in:
            raise InputError("monocular depth was given to a network without the plug-in branch; build it with plug_in=True")


def join(coarse: Tensor, skip: Tensor) -> Tensor:
    """Resize decoder features to an encoder stage's grid and put both side by side."""
    return torch.cat([F.interpolate(coarse, skip.shape[2:], mode="bilinear", align_corners=False), skip], dim=1)
