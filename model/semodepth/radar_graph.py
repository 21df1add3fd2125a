"""Radar graph structure extraction (GSE): every radar return of a frame is a node, all nodes are joined by edges.

Why     Radar returns exchange messages before they are joined with the image. All samples of a batch run at once, padded to the
        largest, with a mask; the reference loops over the batch.
Source  arXiv 2605.11840; docs/method/semodepth.md#radar-graph
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class RadarNodes:
    """The returns of a batch, one after the other.

    Attributes:
        sample: (n,) which sample a return belongs to, ascending.
        row: (n,) pixel row.
        column: (n,) pixel column.
        depth_m: (n,) depth in metres.
        batch: number of samples.
        size: height and width of the image in pixels.
    """

    sample: Tensor
    row: Tensor
    column: Tensor
    depth_m: Tensor
    batch: int
    size: tuple[int, int]


def radar_nodes(radar_m: Tensor, *, max_nodes: int) -> RadarNodes:
    """Take the non-zero pixels of sparse radar images (batch, h, w) in metres as nodes.

    Where a sample has more than ``max_nodes``, every (count / max_nodes)-th in row-major order is taken: the same in training and
    evaluation, while the reference draws at random in both.
    """
    batch, height, width = radar_m.shape
    sample, row, column = radar_m.nonzero(as_tuple=True)
    counts = torch.bincount(sample, minlength=batch)
    place = torch.arange(len(sample), device=radar_m.device) - (counts.cumsum(0) - counts)[sample]
    total = counts[sample]
    is_kept = (place + 1) * max_nodes // total > place * max_nodes // total
    is_kept |= total <= max_nodes
    sample, row, column = sample[is_kept], row[is_kept], column[is_kept]
    return RadarNodes(sample, row, column, radar_m[sample, row, column], batch, (height, width))


class GraphLayer(nn.Module):
    """One exchange of messages; the sum over the messages of the edges is weighted by attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.edge_update = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, width))
        self.edge_norm = nn.LayerNorm(width)
        self.attn_score = nn.Linear(width, 1)
        self.node_update = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, nodes: Tensor, edges: Tensor, is_node: Tensor) -> tuple[Tensor, Tensor]:
        """Return the change of the nodes (b, n, width) and the new edges (b, n, n, width); ``is_node`` (b, n) is the mask."""
        mixed = _pairwise(self.edge_update[0], nodes, edges)
        edges = self.edge_norm(self.edge_update[2](F.relu(mixed, inplace=True)) + edges)
        score = self.attn_score(edges).squeeze(-1).masked_fill(~is_node.unsqueeze(1), float("-inf"))
        message = torch.einsum("bij,bijc->bic", score.softmax(-1).to(edges.dtype), edges)
        change: Tensor = self.node_update(torch.cat([nodes, message], -1))
        return change, edges


def _pairwise(linear: nn.Module, nodes: Tensor, edges: Tensor | None = None) -> Tensor:
    """Apply a linear layer to [x_i, x_j - x_i, e_ij] without building it: (W1 - W2) x_i + W2 x_j + W3 e_ij + bias."""
    assert isinstance(linear, nn.Linear)
    of_self, of_other, *of_edge = linear.weight.split(nodes.shape[-1], dim=1)
    of_nodes = F.linear(nodes, of_self - of_other, linear.bias).unsqueeze(2)
    pairs = of_nodes + F.linear(nodes, of_other).unsqueeze(1)
    return pairs if edges is None else pairs + F.linear(edges, of_edge[0])


class RadarGraph(nn.Module):
    """The whole graph network: features of returns in, features of the same returns out."""

    def __init__(self, *, features: int = 3, width: int = 64, out: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.input_proj = nn.Sequential(nn.Linear(features, width), nn.ReLU())
        self.edge_init = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU())
        self.layers = nn.ModuleList(GraphLayer(width) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.output_proj = nn.Sequential(nn.Linear(width, out), nn.ReLU())

    def forward(self, features: Tensor, is_node: Tensor) -> Tensor:
        """Map node features (b, n, features) to (b, n, out); rows where ``is_node`` (b, n) is False mean nothing."""
        nodes = self.input_proj(features)
        edges = F.relu(_pairwise(self.edge_init[0], nodes))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            change, edges = layer(nodes, edges, is_node)
            nodes = norm(change + nodes)
        out: Tensor = self.output_proj(nodes)
        return out

    def of_returns(self, nodes: RadarNodes, *, max_depth_m: float) -> Tensor:
        """Return the features (n, out) of the returns of a batch; each sample is a graph of its own."""
        height, width = nodes.size
        features = torch.stack([nodes.row / height, nodes.column / width, nodes.depth_m / max_depth_m], dim=-1)
        counts = torch.bincount(nodes.sample, minlength=nodes.batch)
        place = torch.arange(len(nodes.sample), device=counts.device) - (counts.cumsum(0) - counts)[nodes.sample]
        longest = int(counts.max())
        padded = features.new_zeros((nodes.batch, longest, features.shape[-1]))
        padded[nodes.sample, place] = features
        # a sample without returns attends to its padding, so that no row of scores is all -inf
        is_node = torch.arange(longest, device=counts.device) < counts.clamp(min=1).unsqueeze(1)
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 would round a row to some 3 pixels
            return cast(Tensor, self(padded, is_node)[nodes.sample, place])
