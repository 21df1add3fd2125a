"""Where a teacher's depth matters most to a detector.

Source  specs/monoddle.md section 3, item 7
"""

from __future__ import annotations

from torch import Tensor


def foreground_weight(heatmap: Tensor, is_valid: Tensor, *, foreground: float = 5.0) -> Tensor:
    """Return how much each cell counts in distillation: 0 without a teacher's value, 1 far from objects, more near them.

    Foreground is what the targets' Gaussians cover, so it fades out; it is not the inside of the boxes.

    Args:
        heatmap: targets (b, classes, h, w), 0 to 1.
        is_valid: (b, h, w) bool, the teacher has a value.
        foreground: weight at the centre of an object.

    Returns:
        (b, h, w) float32.
    """
    return is_valid * (1.0 + (foreground - 1.0) * heatmap.float().amax(dim=1))
