"""A detector as a graph that torch can trace for ONNX: from the pixels of a view to the raw maps of its heads.

Reads   image_u8 (1, h, w, 3) RGB, the view that the network sees; sides that are multiples of 32
Writes  a map (1, channels, h / 4, w / 4) per head; model/monoddle/heads.py says what they mean
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.monoddle.batch import normalized_images
from model.monoddle.heads import UNCERTAINTY_HEAD
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import COARSEST_STRIDE
from model.train.onnx_file import Traceable
from storage_schemas.errors import RecipeError

MOST_DIFFERENCE = 1e-4
"""Float32 sums in another order: 1e-6 of a map's largest value was seen."""


class TracedMonoDdle(nn.Module):
    """A network in evaluation mode, with its normalisation."""

    def __init__(self, network: MonoDdle) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, image_u8: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of all heads that a detection is read from."""
        return tuple(self.network(normalized_images(image_u8), with_uncertainty=False).values())


def traceable_detector(network: MonoDdle, size: tuple[int, int]) -> Traceable:
    """Return a detector as it is traced; RecipeError if no view has such a size."""
    if any(side % COARSEST_STRIDE for side in size):
        raise RecipeError(f"--size is {size[0]}x{size[1]}, expected multiples of {COARSEST_STRIDE}. Leave it out to take its own")
    generator = torch.Generator().manual_seed(0)
    examples = [(torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8, generator=generator),) for _ in range(2)]
    heads = tuple(name for name in network.heads if name != UNCERTAINTY_HEAD)
    facts = {"outputs": "raw maps at stride 4, before any activation; see model/monoddle/heads.py of depthmill"}
    return Traceable(TracedMonoDdle(network), ("image_u8",), heads, examples, MOST_DIFFERENCE, facts)
