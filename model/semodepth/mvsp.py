"""Multi-View Scan Pyramid: what the decoder does at each stride. Global scans, scans in windows around radar, and FiLM blocks.

Source  arXiv 2605.11840; docs/method/semodepth.md#scan-pyramid, #radar-windows, #film
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.scan2d import DIRECTIONS, map_of_sequence, sequence_of_map
from model.semodepth.radar_scale import RadarMap, modulate
from model.semodepth.rms import RadarModulatedSelection


def _project(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1), nn.ReLU())


class FourDirectionLayer(nn.Module):
    """Four Radar-Modulated Selections over a map, one per direction, merged and added to the image tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.norm_rad = nn.LayerNorm(width)
        self.mamba_lr = RadarModulatedSelection(width)
        self.mamba_rl = RadarModulatedSelection(width)
        self.mamba_tb = RadarModulatedSelection(width)
        self.mamba_bt = RadarModulatedSelection(width)
        self.merge = nn.Linear(len(DIRECTIONS) * width, width)

    def forward(self, image: Tensor, radar: Tensor) -> Tensor:
        """Map image tokens (b, h, w, width) to the same shape; radar tokens have that shape and stay as they are."""
        size = image.shape[1], image.shape[2]
        normed, normed_radar = self.norm(image), self.norm_rad(radar)
        views = []
        for direction in DIRECTIONS:
            selection: RadarModulatedSelection = getattr(self, f"mamba_{direction}")
            scanned = selection(sequence_of_map(normed, direction), sequence_of_map(normed_radar, direction))
            views.append(map_of_sequence(scanned, direction, size=size))
        merged: Tensor = image + self.merge(torch.cat(views, -1))
        return merged


class GlobalScan(nn.Module):
    """Four-direction scans over the whole map: strides 32 and 16."""

    def __init__(self, image_channels: int, radar_channels: int, *, width: int, layers: int) -> None:
        super().__init__()
        self.img_proj = _project(image_channels, width)
        self.rad_proj = _project(radar_channels, width)
        self.mamba_layers = nn.ModuleList(FourDirectionLayer(width) for _ in range(layers))
        self.out_proj = nn.Sequential(nn.Conv2d(width, image_channels, 1), nn.BatchNorm2d(image_channels), nn.ReLU())

    def forward(self, image: Tensor, radar: RadarMap) -> Tensor:
        """Map image features (b, image_channels, h, w) to the same shape; radar features are on the same grid."""
        tokens = self.img_proj(image).permute(0, 2, 3, 1)
        radar_tokens = radar.project(self.rad_proj).dense().permute(0, 2, 3, 1)
        for layer in self.mamba_layers:
            tokens = layer(tokens, radar_tokens)
        out: Tensor = image + self.out_proj(tokens.permute(0, 3, 1, 2))
        return out


class WindowScan(nn.Module):
    """Four-direction scans in square windows around radar returns: stride 8.

    ``layout`` says in which order a window reads the projected features. ``correct``: as they lie. ``reference``: the public
    code takes the memory of the (channels, h, w) map as if it were (h, w, channels), and its weights are trained for that.
    """

    def __init__(
        self,
        image_channels: int,
        radar_channels: int,
        *,
        width: int,
        window: int,
        layers: int,
        layout: Literal["reference", "correct"],
        batch_independent: bool,
    ) -> None:
        super().__init__()
        self.window, self.layout, self.batch_independent = window, layout, batch_independent
        self.img_proj = _project(image_channels, width)
        self.rad_proj = _project(radar_channels, width)
        self.mamba_layers = nn.ModuleList(FourDirectionLayer(width) for _ in range(layers))
        self.out_proj = nn.Conv2d(width, image_channels, 1)
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)  # type: ignore[arg-type]  # it has a bias

    def tokens(self, features: Tensor) -> Tensor:
        """Return (b, h, w, width) tokens of a map (b, width, h, w), in the chosen layout."""
        if self.layout == "correct":
            return features.permute(0, 2, 3, 1)
        batch, width, height, columns = features.shape
        return features.contiguous().view(batch, height, columns, width)

    def forward(self, image: Tensor, radar: RadarMap, is_radar: Tensor) -> Tensor:
        """Map image features (b, image_channels, h, w) to the same shape.

        Args:
            image: image features.
            radar: radar features on the same grid.
            is_radar: (b, H, W) bool at any finer resolution, true where radar measured. Each cell of the grid that has radar
            below it is the centre of one window; windows that coincide after clamping to the map each count.
        """
        batch, _, height, width = image.shape
        centers = F.adaptive_max_pool2d(is_radar.float().unsqueeze(1), (height, width)).squeeze(1).nonzero()
        if not len(centers):
            return image
        sample, center_row, center_column = centers.unbind(1)
        row, row_weight = self.span(center_row, height)
        column, column_weight = self.span(center_column, width)
        cell = (sample.view(-1, 1, 1) * height + row.unsqueeze(2)) * width + column.unsqueeze(1)  # (windows, rows, columns)
        tokens = self.tokens(self.img_proj(image)).flatten(0, 2)[cell]
        radar_tokens = self.tokens(radar.project(self.rad_proj).dense()).flatten(0, 2)[cell]
        for layer in self.mamba_layers:
            tokens = layer(tokens, radar_tokens)
        weight = (row_weight.unsqueeze(1) * column_weight).expand(cell.shape).flatten()
        added = (tokens.flatten(0, 2) * weight.unsqueeze(1)).float()
        cells = batch * height * width
        total = added.new_zeros((cells, added.shape[1])).index_add(0, cell.flatten(), added)
        weights = weight.new_zeros(cells).index_add(0, cell.flatten(), weight)
        mean = total / weights.clamp(min=torch.finfo(weights.dtype).tiny).unsqueeze(1)
        change = self.out_proj(mean.unflatten(0, (batch, height, width)).permute(0, 3, 1, 2))
        if self.batch_independent:  # the bias of out_proj reaches every pixel, but only of samples that have radar
            has_radar = torch.bincount(sample, minlength=batch) > 0
            change = change * has_radar.view(-1, 1, 1, 1)
        out: Tensor = image + change
        return out

    def span(self, center: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Return the positions (windows, length) that windows cover along one axis, and the weight of each place (length,).

        A window covers centre - w // 2 to + w - 1, the centre being clamped to [w // 2, side - 1 - w // 2]. On a side of at most
        w cells, where the reference is undefined, it covers the side.
        """
        half, length = self.window // 2, min(self.window, side)
        start = center.clamp(half, side - 1 - half) - half if side > self.window else torch.zeros_like(center)
        place = torch.arange(length, device=center.device)
        sigma = self.window / 2.5
        return start.unsqueeze(1) + place, torch.exp(-((place - length // 2).float() ** 2) / (2.0 * sigma**2))


class RadarFilmBlock(nn.Module):
    """Twice convolution, normalisation, modulation by radar, ReLU."""

    def __init__(self, channels_in: int, radar_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.mod1 = _modulation(radar_channels, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.mod2 = _modulation(radar_channels, channels)

    def forward(self, image: Tensor, radar: RadarMap) -> Tensor:
        """Map image features (b, channels_in, h, w) and radar features on the same grid to (b, channels, h, w)."""
        x = F.relu(modulate(self.bn1(self.conv1(image)), radar, self.mod1), inplace=True)
        return F.relu(modulate(self.bn2(self.conv2(x)), radar, self.mod2), inplace=True)


def _modulation(radar_channels: int, channels: int) -> nn.Sequential:
    """Return 1x1 convolutions to gamma and beta; the last one starts at zero, so that a fresh block ignores radar."""
    last = nn.Conv2d(channels, 2 * channels, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # it has a bias
    return nn.Sequential(nn.Conv2d(radar_channels, channels, 1), nn.ReLU(), last)
