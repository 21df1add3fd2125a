"""The query head: each query stands at a point of the volume, looks there, moves, and says a class and a box.

What    a layer is attention among the queries, one trilinear look at the volume where the query stands, and a perceptron; after
        each layer a branch says ten numbers, of which three move the point. The next layer starts there, and no gradient goes
        through that start.
Reads   volumes (b, C, Z, Y, X)
Writes  per layer class logits (b, q, classes) and codes (b, q, 10)
Source  docs/method/uvtr.md#query-head; UVTR, arXiv 2206.00630
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.full_precision import full_precision
from model.mim4d.voxel_grid import VoxelGrid
from model.uvtr.box_code import CENTRE_X, CENTRE_Y, CENTRE_Z, NUM_NUMBERS
from model.uvtr.centre_head import HEAT_BIAS
from model.uvtr.network_config import QueryHeadConfig

_CENTRE = [CENTRE_X, CENTRE_Y, CENTRE_Z]


class QueryLayers(NamedTuple):
    """What every layer says of b key frames.

    Attributes:
        logits: (layers, b, q, classes) float32.
        codes: (layers, b, q, 10) float32, centres in metres within the voxels.
    """

    logits: Tensor
    codes: Tensor


class PointLook(nn.Module):
    """Read the volume at each query's point; the public code's ``UniCrossAtten``."""

    def __init__(self, channels: int, *, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Linear(channels, 1)
        self.output = nn.Linear(channels, channels)
        self.position = nn.Sequential(
            nn.Linear(3, channels),
            nn.LayerNorm(channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.LayerNorm(channels),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, position: Tensor, place: Tensor, volume: Tensor) -> Tensor:
        """Return what queries become (b, q, C).

        Args:
            query: (b, q, C).
            position: (b, q, C) embedding of each query.
            place: (b, q, 3) logits of where each stands in the box: x, y, z.
            volume: (b, C, Z, Y, X).
        """
        gate = self.gate(query + position).sigmoid()
        seen = looked_up(volume, place.sigmoid() * 2 - 1)
        looked: Tensor = self.dropout(self.output(gate * seen)) + query + self.position(place)
        return looked

    @torch.no_grad()
    def initialise(self) -> None:
        """Open every gate halfway, whatever the query."""
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)


class QueryLayer(nn.Module):
    """Attention among the queries, the look at the volume, and a perceptron; each is normalised after it is added."""

    def __init__(self, channels: int, config: QueryHeadConfig) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, config.num_heads, dropout=config.dropout, batch_first=True)
        self.look = PointLook(channels, dropout=config.dropout)
        self.expand = nn.Linear(channels, config.hidden)
        self.contract = nn.Linear(config.hidden, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, query: Tensor, position: Tensor, place: Tensor, volume: Tensor) -> Tensor:
        """Map queries (b, q, C) to the same shape; for the rest see ``PointLook``."""
        key = query + position
        attended, _ = self.attention(key, key, query, need_weights=False)
        query = self.norms[0](query + self.dropout(attended))
        query = self.norms[1](self.look(query, position, place, volume))
        hidden = self.dropout(F.relu(self.expand(query)))
        answered: Tensor = self.norms[2](query + self.dropout(self.contract(hidden)))
        return answered


class QueryHead(nn.Module):
    """A table of queries, their layers, and two branches after each layer."""

    def __init__(self, channels: int, num_classes: int, config: QueryHeadConfig, *, grid: VoxelGrid) -> None:
        """Make the head with fresh weights for volumes of so many channels on a grid."""
        super().__init__()
        self.config, self.grid = config, grid
        self.table = nn.Embedding(config.num_queries, 2 * channels)
        self.place = nn.Linear(channels, 3)
        self.layers = nn.ModuleList(QueryLayer(channels, config) for _ in range(config.num_layers))
        self.classes = nn.ModuleList(_class_branch(channels, num_classes) for _ in range(config.num_layers))
        self.boxes = nn.ModuleList(_box_branch(channels) for _ in range(config.num_layers))
        self._initialise()

    def forward(self, volume: Tensor) -> QueryLayers:
        """Map volumes (b, C, Z, Y, X) to what every layer says."""
        with full_precision(volume.device.type):  # logits of places need more digits than bfloat16 has
            return self._answers(volume.float())

    def _answers(self, volume: Tensor) -> QueryLayers:
        position, query = self.table.weight.expand(len(volume), -1, -1).chunk(2, dim=-1)
        place = self.place(position)
        logits, codes = [], []
        for layer, of_class, of_box in zip(self.layers, self.classes, self.boxes, strict=True):
            query = layer(query, position, place, volume)
            logits.append(of_class(query))
            numbers = of_box(query)
            moved = place + numbers[..., _CENTRE]
            codes.append(self._with_centre(numbers, moved))
            place = moved.detach()
        return QueryLayers(torch.stack(logits), torch.stack(codes))

    def _with_centre(self, numbers: Tensor, moved: Tensor) -> Tensor:
        """Return codes (b, q, 10) whose centre is where the query stands now, metres."""
        low, high = (numbers.new_tensor(corner) for corner in (self.grid.low_m, self.grid.high_m))
        x, y, z = (low + moved.sigmoid() * (high - low)).unbind(-1)
        rest = numbers.unbind(-1)
        return torch.stack((x, y, rest[2], rest[3], z, *rest[5:]), dim=-1)

    def found(self, layers: QueryLayers, most: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return of each key frame scores (k,), classes (k,) and codes (k, 10) of the last layer, the highest first."""
        results = []
        for logits, codes in zip(layers.logits[-1], layers.codes[-1], strict=True):
            num_classes = logits.shape[1]
            scores, places = logits.sigmoid().flatten().topk(min(most, logits.numel()))
            results.append((scores, places % num_classes, codes[places // num_classes]))
        return results

    @torch.no_grad()
    def _initialise(self) -> None:
        """Start as published: Xavier for the layers' matrices and for the place, a heat of 0.01 for every class."""
        for layer in self.layers:
            for parameter in layer.parameters():
                if parameter.ndim > 1:
                    nn.init.xavier_uniform_(parameter)
            look = layer.look
            assert isinstance(look, PointLook)
            look.initialise()
        nn.init.xavier_uniform_(self.place.weight)
        nn.init.zeros_(self.place.bias)
        for branch in self.classes:
            assert isinstance(branch, nn.Sequential)
            last = branch[-1]
            assert isinstance(last, nn.Linear)
            nn.init.constant_(last.bias, HEAT_BIAS)


def looked_up(volume: Tensor, unit: Tensor) -> Tensor:
    """Return what volumes (b, C, Z, Y, X) hold at points (b, q, 3), trilinearly; 0 outside: (b, q, C).

    Args:
        volume: values in the middles of the voxels.
        unit: x, y, z, -1 and 1 at the faces of the box.
    """
    found = F.grid_sample(volume, unit[:, :, None, None], mode="bilinear", padding_mode="zeros", align_corners=False)
    return found[..., 0, 0].mT


def _class_branch(channels: int, num_classes: int) -> nn.Sequential:
    hidden = [(nn.Linear(channels, channels), nn.LayerNorm(channels), nn.ReLU()) for _ in range(2)]
    return nn.Sequential(*(step for steps in hidden for step in steps), nn.Linear(channels, num_classes))


def _box_branch(channels: int) -> nn.Sequential:
    hidden = [(nn.Linear(channels, channels), nn.ReLU()) for _ in range(2)]
    return nn.Sequential(*(step for steps in hidden for step in steps), nn.Linear(channels, NUM_NUMBERS))
