"""Radar-Modulated Selection: a Mamba-1 block whose step size and read-out are changed by radar.

Source  arXiv 2605.11840; docs/method/semodepth.md#radar-modulated-scan:
        dt = W_dt dt_img + sigmoid(g(x_rad)) P(x_rad)      C = C_img + Q(x_rad)      B and A from the image alone
        P and Q start at zero, so that a fresh block is the image-only Mamba exactly.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.causal_conv1d import causal_conv1d_silu
from model.blocks.selective_scan import selective_scan

STATES = 16
TAPS = 4
EXPAND = 2
_SMALLEST_STEP, _LARGEST_STEP = 1e-3, 0.1


class Mamba(nn.Module):
    """The parameters of a Mamba-1 block, named and initialised as in arXiv 2312.00752's public code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner, self.step_rank = EXPAND * width, math.ceil(width / 16)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, TAPS, groups=inner)
        self.x_proj = nn.Linear(inner, self.step_rank + 2 * STATES, bias=False)
        self.dt_proj = nn.Linear(self.step_rank, inner)
        self.A_log = nn.Parameter(torch.arange(1, STATES + 1, dtype=torch.float32).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(self.step_rank**-0.5), self.step_rank**-0.5)
        log_step = torch.empty(inner).uniform_(math.log(_SMALLEST_STEP), math.log(_LARGEST_STEP))
        with torch.no_grad():  # softplus(bias) is the step, log-uniform between the two
            self.dt_proj.bias.copy_(log_step.exp() + torch.log(-torch.expm1(-log_step.exp())))


class RadarModulatedSelection(nn.Module):
    """A Mamba block over image tokens whose selection also depends on radar tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mamba = Mamba(width)
        self.radar_dt_proj = nn.Linear(width, EXPAND * width, bias=False)
        self.radar_gate = nn.Linear(width, 1)
        self.radar_c_proj = nn.Linear(width, STATES, bias=False)
        for zeroed in (self.radar_dt_proj, self.radar_gate, self.radar_c_proj):
            nn.init.zeros_(zeroed.weight)
        nn.init.constant_(self.radar_gate.bias, -2.0)

    def forward(self, image: Tensor, radar: Tensor | None = None) -> Tensor:
        """Scan image tokens (batch, length, width); radar tokens have the same shape or are absent. Same shape out."""
        mamba = self.mamba
        x, z = mamba.in_proj(image).chunk(2, dim=-1)
        x = causal_conv1d_silu(x, mamba.conv1d.weight, mamba.conv1d.bias)  # type: ignore[arg-type]  # it has a bias
        step_low, b, c = mamba.x_proj(x).split((mamba.step_rank, STATES, STATES), dim=-1)
        step = F.linear(step_low, mamba.dt_proj.weight)
        if radar is not None:
            step = step + torch.sigmoid(self.radar_gate(radar)) * self.radar_dt_proj(radar)
            c = c + self.radar_c_proj(radar)
        a = -torch.exp(mamba.A_log.float())
        y = selective_scan(x, step, a, b, c, d=mamba.D, z=z, delta_bias=mamba.dt_proj.bias)
        return F.linear(y, mamba.out_proj.weight)
