"""Which parts of a pre-training this network begins with: backbone, feature pyramid and depth head, each whole or not at all.

Source  docs/method/uvtr.md#transfer
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from model.uvtr.config import Part
from model.uvtr.net import Uvtr


class TakenParts(nn.Module):
    """The parts of a network that are filled, under their own names; they are the network's own, not copies."""

    def __init__(self, network: Uvtr, parts: Sequence[Part]) -> None:
        """Collect parts of a network."""
        super().__init__()
        for part in parts:
            self.add_module(part, getattr(network, part))
