"""The ten numbers by which the network says a box, and the box that ten numbers say.

What    cx, cy, log w, log l, cz, log h, sin, cos, vx, vy: the gravity centre in metres, the velocity in m/s, both in the rig
        frame. ``psi`` encodes the heading of the length axis from x, counter-clockwise. ``theta`` encodes -psi - pi/2, as the
        public code does; it is for the parity of released weights only.
Source  docs/method/uvtr.md#box-code
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Code = Literal["psi", "theta"]

NUM_NUMBERS = 10
CENTRE_X, CENTRE_Y, CENTRE_Z = 0, 1, 4
VELOCITY = slice(8, 10)
"""Places of the velocity within a code; the matching of queries leaves them out."""

NUM_BOX = 9
"""Numbers of a box: x, y, z, width, length, height, yaw, vx, vy."""


def encode(boxes: Tensor, *, code: Code = "psi") -> Tensor:
    """Return the codes (..., 10) of boxes.

    Args:
        boxes: (..., 9) gravity centre x, y, z; width, length, height above 0; yaw, rad; velocity vx, vy. NaN stays NaN.
        code: how the heading is said.
    """
    x, y, z, width, length, height, yaw, vx, vy = boxes.unbind(-1)
    turned = yaw if code == "psi" else -yaw - math.pi / 2
    numbers = (x, y, width.log(), length.log(), z, height.log(), turned.sin(), turned.cos(), vx, vy)
    return torch.stack(numbers, dim=-1)


def decode(codes: Tensor, *, code: Code = "psi") -> Tensor:
    """Return the boxes (..., 9) that codes (..., 10) say; the inverse of ``encode``, with the yaw in -pi to pi."""
    x, y, log_width, log_length, z, log_height, sine, cosine, vx, vy = codes.unbind(-1)
    turned = torch.atan2(sine, cosine)
    yaw = turned if code == "psi" else wrapped(-turned - math.pi / 2)
    return torch.stack((x, y, z, log_width.exp(), log_length.exp(), log_height.exp(), yaw, vx, vy), dim=-1)


def wrapped(angle: Tensor) -> Tensor:
    """Return angles, rad, of the same direction in [-pi, pi)."""
    return (angle + math.pi).remainder(2 * math.pi) - math.pi
