"""The network as a graph that torch can trace for ONNX: the plain twin of ``net.SemoDepth`` for one frame of a fixed size.

Why    The network computes only where radar is: it looks for returns and leaves out what they do not reach. Such branches depend
       on the values of a frame, and a traced graph has none. Here every map is dense. One return and one window that weigh
       nothing are added, so that no list is empty. The selective scan is the readable recurrence, as one loop of the graph.
       The answers agree up to rounding (tests/model/semodepth/test_traced_net.py).
Reads  image_u8 (1, h, w, 3) RGB; radar_m (1, h, w) metres, 0 = nothing; mono_m (1, h, w) metres, with the plug-in branch only
Writes depth_m (1, h, w) metres
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.selective_scan import traced_scan
from model.semodepth.mvsp import WindowScan
from model.semodepth.net import SemoDepth, join
from model.semodepth.radar_scale import DenseMap, bilinear_readers
from model.train.onnx_file import Traceable

MOST_DIFFERENCE = 1e-4
"""Share of the largest depth: float32 sums in another order, through an exponential."""


class TracedSemoDepth(nn.Module):
    """A network in evaluation mode, for one frame of a fixed size.

    Args:
        network: whose weights are used.
        size: rows and columns of the image.
    """

    def __init__(self, network: SemoDepth, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self._size = network, size
        self.eval()

    def forward(self, image_u8: Tensor, radar_m: Tensor, mono_m: Tensor | None = None) -> Tensor:
        """Return metres (1, h, w)."""
        network, config = self.network, self.network.config
        levels = network.encoder(image_u8, downscale=config.input_downscale)
        row, column, depth_m, is_return = self._returns(radar_m[0])
        height, width = self._size
        features = torch.stack([row / height, column / width, depth_m / config.max_depth_m], dim=-1)
        # the added return stands for a frame without any: a row of scores may not be -inf everywhere
        is_node = is_return | ~is_return.any()
        features = network.radar_graph(features.unsqueeze(0), is_node.unsqueeze(0))[0] * is_return.unsqueeze(1)
        mono = self._mono(mono_m)
        maps = []
        for level, proj in zip(reversed(levels), network.radar_proj, strict=True):
            assert isinstance(proj, nn.Sequential)
            grid = int(level.shape[2]), int(level.shape[3])
            placed = self._placed(row, column, is_return, features, grid)
            if mono is not None:
                placed = placed + F.interpolate(mono, grid, mode="bilinear", align_corners=False)
            maps.append(DenseMap(placed).project(proj))
        r4, r3, r2, r1, r0 = maps
        c0, c1, c2, c3, c4 = levels
        with traced_scan():
            d4 = network.film4(network.scan4(c4, r4), r4)
            d3 = network.film3(network.scan3(join(d4, c3), r3), r3)
            d2 = network.film2(self._in_windows(network.scan2, join(d3, c2), r2, row, column, is_return), r2)
        d1 = network.film1(join(d2, c1), r1)
        d0 = network.film0(join(d1, c0), r0)
        if config.input_downscale == 1:
            out = network.head(F.interpolate(d0, self._size, mode="bilinear", align_corners=False))
        else:
            out = F.interpolate(network.head(d0), self._size, mode="bilinear", align_corners=False)
        return network.depth_space.metres(out.squeeze(1))

    def _returns(self, radar_m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return rows, columns, depths and whether each is a return; the last one is none, so that there is always one."""
        added = F.pad((radar_m > 0).flatten(), (0, 1), value=1.0)
        place = added.nonzero().squeeze(1)
        torch._check(place.shape[0] >= 1)
        total = place.shape[0] - 1
        number = torch.arange(place.shape[0], device=place.device)
        # of too many returns every (total / most)-th is taken, as radar_nodes does
        most = self.network.config.max_radar_nodes
        share = number.new_full((), 1) * total
        is_taken = (number + 1) * most // share.clamp(min=1) > number * most // share.clamp(min=1)
        is_return = (number < share) & (is_taken | (share <= most))
        height, width = self._size
        pixel = place.clamp(max=height * width - 1)
        depth_m = torch.where(is_return, radar_m.flatten()[pixel], 0.0)
        return pixel // width, pixel % width, depth_m, is_return

    def _mono(self, mono_m: Tensor | None) -> Tensor | None:
        network = self.network
        if mono_m is None:
            return None
        relative = (mono_m / network.config.max_depth_m).clamp(0.0, 1.0).unsqueeze(1)
        embedded: Tensor = network.mono_embed(relative)
        return embedded * (mono_m > 0).any() if network.config.absent_mono == "skip" else embedded

    def _placed(self, row: Tensor, column: Tensor, is_return: Tensor, features: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the map (1, channels, h, w) of features (n, channels) as both ways of placing leave it."""
        cells, channels = grid[0] * grid[1], features.shape[1]
        if self.network.config.radar_to_scale == "scatter":
            cell = (row * grid[0] // self._size[0]) * grid[1] + column * grid[1] // self._size[1]
            lowest = torch.where(is_return.unsqueeze(1), features, -torch.inf)
            index = cell.unsqueeze(1).expand_as(lowest)
            flat = features.new_full((cells, channels), -torch.inf).scatter_reduce(0, index, lowest, "amax")
            flat = torch.where(torch.isinf(flat), 0.0, flat)
        else:
            rows, row_weights = bilinear_readers(row, self._size[0], grid[0])
            columns, column_weights = bilinear_readers(column, self._size[1], grid[1])
            weight = row_weights.unsqueeze(2) * column_weights.unsqueeze(1) * is_return.view(-1, 1, 1)
            cell = rows.unsqueeze(2) * grid[1] + columns.unsqueeze(1)
            contributions = features.unsqueeze(1).unsqueeze(1) * weight.unsqueeze(-1)
            flat = features.new_zeros((cells, channels)).index_add(0, cell.flatten(), contributions.flatten(0, 2))
        return flat.view(1, *grid, channels).permute(0, 3, 1, 2)

    def _in_windows(
        self, scan: WindowScan, image: Tensor, radar: DenseMap, row: Tensor, column: Tensor, is_return: Tensor
    ) -> Tensor:
        """Do what ``WindowScan.forward`` does, with one window more that weighs nothing."""
        height, width = int(image.shape[2]), int(image.shape[3])
        down = _covers(self._size[0], height)[row] * is_return.unsqueeze(1)
        across = _covers(self._size[1], width)[column]
        # every cell that holds a pixel with a return; at the border of two cells a pixel may lie in both
        is_centre = torch.einsum("nh,nw->hw", down, across).flatten() > 0
        place = F.pad(is_centre.float(), (0, 1), value=1.0).nonzero().squeeze(1)
        torch._check(place.shape[0] >= 1)
        is_window = (place < height * width).float()
        centre = place.clamp(max=height * width - 1)
        rows, row_weight = scan.span(centre // width, height)
        columns, column_weight = scan.span(centre % width, width)
        cell = rows.unsqueeze(2) * width + columns.unsqueeze(1)
        tokens = scan.tokens(scan.img_proj(image)).flatten(0, 2)[cell]
        radar_tokens = scan.tokens(radar.project(scan.rad_proj).dense()).flatten(0, 2)[cell]
        for layer in scan.mamba_layers:
            tokens = layer(tokens, radar_tokens)
        weight = row_weight.unsqueeze(1) * column_weight * is_window.view(-1, 1, 1)
        added = tokens * weight.unsqueeze(-1)
        total = added.new_zeros((height * width, added.shape[-1])).index_add(0, cell.flatten(), added.flatten(0, 2))
        weights = weight.new_zeros(height * width).index_add(0, cell.flatten(), weight.flatten())
        mean = total / weights.clamp(min=torch.finfo(weights.dtype).tiny).unsqueeze(1)
        change = scan.out_proj(mean.view(1, height, width, -1).permute(0, 3, 1, 2))
        out: Tensor = image + change * is_return.any()
        return out


def _covers(size: int, cells: int) -> Tensor:
    """Return which cells of an adaptive pooling a position lies in: (size, cells), 1 or 0."""
    covers = torch.zeros(size, cells)
    for cell in range(cells):
        covers[cell * size // cells : -(-(cell + 1) * size // cells), cell] = 1.0
    return covers


def traceable_depth(network: SemoDepth, size: tuple[int, int]) -> Traceable:
    """Return a depth network as it is traced, with frames that have no return, a few, and many."""
    generator = torch.Generator().manual_seed(0)
    examples = []
    for share in (0.002, 0.0, 0.02):
        image_u8 = torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8, generator=generator)
        draws, depths = torch.rand(2, 1, *size, generator=generator)
        radar_m = torch.where(draws < share, 1.0 + depths * (network.config.max_depth_m - 1.0), 0.0)
        mono_m = (1.0 + depths.flip(1) * 50.0,) if network.config.plug_in else ()
        examples.append((image_u8, radar_m, *mono_m))
    inputs = ("image_u8", "radar_m", "mono_m")[: len(examples[0])]
    facts = {"depth_m": "metres along the optical axis", "radar_m": "metres along the optical axis, 0 = no return"}
    return Traceable(TracedSemoDepth(network, size), inputs, ("depth_m",), examples, MOST_DIFFERENCE, facts)
