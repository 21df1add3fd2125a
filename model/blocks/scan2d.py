"""A map read as a sequence in four directions, and put back.

Source  docs/method/semodepth.md#scan-directions: ``lr`` row by row; ``rl`` row by row of the map flipped along its columns;
        ``tb`` and ``bt`` the same two of the transposed map. ``rl`` keeps the rows in order: it is not the reversed sequence.
"""

from __future__ import annotations

from torch import Tensor

DIRECTIONS = ("lr", "rl", "tb", "bt")


def sequence_of_map(tokens: Tensor, direction: str) -> Tensor:
    """Return a map of tokens (batch, h, w, channels) as a sequence (batch, h * w, channels)."""
    turned = tokens.transpose(1, 2) if direction in ("tb", "bt") else tokens
    turned = turned.flip(2) if direction in ("rl", "bt") else turned
    return turned.flatten(1, 2)


def map_of_sequence(sequence: Tensor, direction: str, *, size: tuple[int, int]) -> Tensor:
    """Return the map (batch, h, w, channels) of which ``sequence_of_map`` made this sequence."""
    height, width = size
    is_turned = direction in ("tb", "bt")
    turned: Tensor = sequence.unflatten(1, (width, height) if is_turned else (height, width))
    turned = turned.flip(2) if direction in ("rl", "bt") else turned
    return turned.transpose(1, 2) if is_turned else turned
