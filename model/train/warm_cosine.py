"""A learning rate that falls as a cosine after a linear warm-up; read by configurations, so without torch.

Source docs/method/mim4d.md; docs/method/uvtr.md
"""

from __future__ import annotations

import math


def warm_cosine(epoch: float, *, epochs: float, final_rate: float, warm_up_epochs: float, warm_up_from: float) -> float:
    """Return the share of the learning rate at an epoch: a cosine over all epochs, times a linear warm-up.

    The published cosine falls once an epoch.
    """
    share = min(epoch / epochs, 1.0)
    factor = final_rate + (1.0 - final_rate) * (1.0 + math.cos(math.pi * share)) / 2.0
    if epoch < warm_up_epochs:
        factor *= warm_up_from + (1.0 - warm_up_from) * epoch / warm_up_epochs
    return factor
