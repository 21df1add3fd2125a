"""The selective scan on CPUs: numba kernels, forward and backward, one task per batch entry and block of channels.

Why     The recurrence is sequential in length, so torch runs it as thousands of small operations. Here the state of a block of
        channels stays in the first-level cache, every operation is a vector over channels, and ``exp`` is a polynomial that LLVM
        vectorises (numba has no vector ``exp`` without Intel's SVML). Softplus, skip and gate are done on the way, so
        memory is touched once: 3 floats in and 1 out per element of y.
Source  arXiv 2312.00752 equation 2 with the zero-order hold of A and the Euler step of B that Mamba's code uses
Reads   u, delta, z (batch, length, channels); a (channels, states); b, c (batch, length, states); d, delta_bias (channels,);
        float32
Writes  y (batch, length, channels), and for the backward pass the state before every ``TILE``-th step
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 16
"""Steps between kept states: the backward pass recomputes those in between. 16 keeps a sixteenth of all states, and the
recomputed ones of a block (16 x 16 x 64 floats, twice) fit a second-level cache."""
FORWARD_BLOCK = 16
"""Channels a forward task holds: one AVX-512 register, two AVX2 registers; wider ones measured slower."""
BACKWARD_BLOCK = 64
"""Channels a backward task holds: the sums over channels for b and c are then paid once per 64 (16: 2.6 times slower)."""

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_LOG2_E = np.float32(1.4426950408889634)
_LOWEST, _HIGHEST = np.float32(-126.0), np.float32(126.0)
# Taylor coefficients ln(2)^k / k! of 2^f; for |f| <= 0.5 the first one left out is below 1e-7 of the result.
_P1, _P2, _P3 = np.float32(0.6931471805599453), np.float32(0.2402265069591007), np.float32(0.0555041086648216)
_P4, _P5, _P6 = np.float32(0.0096181291076285), np.float32(0.0013333558146428), np.float32(0.0001540353039338)
# Chebyshev fit of ln(1 + e) / e on [0, 1], 4e-8 relative.
_L0, _L1, _L2 = np.float32(0.999999966), np.float32(-0.49999445), np.float32(0.333181217)
_L3, _L4, _L5 = np.float32(-0.24835399), np.float32(0.190768807), np.float32(-0.136022476)
_L6, _L7, _L8 = np.float32(0.0775160868), np.float32(-0.0290740647), np.float32(0.00512610215)


@intrinsic
def _float_from_bits(typing_context, bits):  # type: ignore[no-untyped-def]  # numba's own signature
    """Read an int32 as the float32 with the same bits."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _exp2(exponent):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Return 2^exponent for a float32, to 2e-7 relative; exponents beyond +-126 count as +-126, NaN stays NaN."""
    exponent = _LOWEST if exponent < _LOWEST else exponent
    exponent = _HIGHEST if exponent > _HIGHEST else exponent
    whole = np.rint(exponent)
    f = exponent - whole
    mantissa = (((((_P6 * f + _P5) * f + _P4) * f + _P3) * f + _P2) * f + _P1) * f + _ONE
    return mantissa * _float_from_bits((np.int32(whole) + np.int32(127)) << np.int32(23))  # type: ignore[call-arg]


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _softplus(raw):  # type: ignore[no-untyped-def]
    """Return ln(1 + e^raw) and its derivative, the sigmoid, without overflow for any raw."""
    e = _exp2(-abs(raw) * _LOG2_E)
    log1p = e * ((((((((_L8 * e + _L7) * e + _L6) * e + _L5) * e + _L4) * e + _L3) * e + _L2) * e + _L1) * e + _L0)
    return max(raw, _ZERO) + log1p, (_ONE if raw >= _ZERO else e) / (_ONE + e)


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _block_rows(table, block, size):  # type: ignore[no-untyped-def]
    """Return one block of columns of a (rows, channels) table, the columns beyond the last channel as zeros."""
    rows, channels = table.shape
    out = np.zeros((rows, size), np.float32)
    for r in range(rows):
        for w in range(min(size, channels - block * size)):
            out[r, w] = table[r, block * size + w]
    return out


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _forward(first, last, u, delta, a2, b, c, ends, z, is_gated, keep, y, kept):  # type: ignore[no-untyped-def]
    """Run tasks ``first`` to ``last``; task = batch entry times number of blocks plus block.

    The blocks of one batch entry advance together, ``TILE`` steps each in turn, so that memory is read in long rows.
    ``a2`` is a times log2(e), (states, channels). ``ends`` are d and delta_bias, (2, channels). ``kept`` (batch, checkpoints,
    states, channels) is written if ``keep``.
    """
    length, channels, states = u.shape[1], u.shape[2], a2.shape[0]
    blocks = (channels + FORWARD_BLOCK - 1) // FORWARD_BLOCK
    x, raw, gate = np.zeros(FORWARD_BLOCK, np.float32), np.zeros(FORWARD_BLOCK, np.float32), np.ones(FORWARD_BLOCK, np.float32)
    step, drive, out = (
        np.empty(FORWARD_BLOCK, np.float32),
        np.empty(FORWARD_BLOCK, np.float32),
        np.empty(FORWARD_BLOCK, np.float32),
    )
    task = first
    while task < last:
        i, low = task // blocks, task % blocks
        high = min(blocks, low + last - task)
        task += high - low
        all_h = np.zeros((high - low, states, FORWARD_BLOCK), np.float32)
        for t0 in range(0, length, TILE):
            for block in range(low, high):
                start, width = block * FORWARD_BLOCK, min(FORWARD_BLOCK, channels - block * FORWARD_BLOCK)
                h = all_h[block - low]
                rate, end = _block_rows(a2, block, FORWARD_BLOCK), _block_rows(ends, block, FORWARD_BLOCK)
                if width < FORWARD_BLOCK:  # lanes beyond the last channel carry zeros
                    x[:] = _ZERO
                    raw[:] = _ZERO
                    gate[:] = _ZERO
                if keep:
                    for n in range(states):
                        for w in range(width):
                            kept[i, t0 // TILE, n, start + w] = h[n, w]
                for t in range(t0, min(t0 + TILE, length)):
                    for w in range(width):
                        raw[w] = delta[i, t, start + w] + end[1, w]
                        x[w] = u[i, t, start + w]
                    if is_gated:
                        for w in range(width):
                            gate[w] = z[i, t, start + w]
                    for w in range(FORWARD_BLOCK):
                        step[w] = _softplus(raw[w])[0]
                        drive[w] = step[w] * x[w]
                        out[w] = end[0, w] * x[w]
                    for n in range(states):
                        b_n, c_n = b[i, t, n], c[i, t, n]
                        for w in range(FORWARD_BLOCK):
                            value = _exp2(step[w] * rate[n, w]) * h[n, w] + drive[w] * b_n
                            h[n, w] = value
                            out[w] += value * c_n
                    if is_gated:
                        for w in range(FORWARD_BLOCK):
                            out[w] *= gate[w] * _softplus(gate[w])[1]
                    for w in range(width):
                        y[i, t, start + w] = out[w]


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _backward(  # type: ignore[no-untyped-def]
    first, last, grad_y, u, delta, a, b, c, ends, z, is_gated, kept, grad_u, grad_delta, grad_z, grad_a, grad_ends, grad_b, grad_c
):
    """Run tasks ``first`` to ``last`` of the adjoint recurrence, tile by tile from the end.

    ``a`` is (states, channels). ``grad_a`` (batch, states, channels), ``grad_ends`` (batch, 2, channels) and ``grad_b``,
    ``grad_c`` (batch, blocks, length, states) are partial sums: each task writes its own, so that the result does not depend
    on the number of threads. ``reassoc`` lets LLVM vectorise the sums over channels.
    """
    length, channels, states = u.shape[1], u.shape[2], a.shape[0]
    blocks = (channels + BACKWARD_BLOCK - 1) // BACKWARD_BLOCK
    h, decay = np.empty((TILE + 1, states, BACKWARD_BLOCK), np.float32), np.empty((TILE, states, BACKWARD_BLOCK), np.float32)
    raw, slope = np.empty((TILE, BACKWARD_BLOCK), np.float32), np.empty((TILE, BACKWARD_BLOCK), np.float32)
    step, x = np.empty((TILE, BACKWARD_BLOCK), np.float32), np.empty((TILE, BACKWARD_BLOCK), np.float32)
    g_y, g_out, out = (
        np.empty(BACKWARD_BLOCK, np.float32),
        np.empty(BACKWARD_BLOCK, np.float32),
        np.empty(BACKWARD_BLOCK, np.float32),
    )
    gate, drive = np.empty(BACKWARD_BLOCK, np.float32), np.empty(BACKWARD_BLOCK, np.float32)
    g_drive, g_step = np.empty(BACKWARD_BLOCK, np.float32), np.empty(BACKWARD_BLOCK, np.float32)
    task = first
    while task < last:
        i, low = task // blocks, task % blocks
        high = min(blocks, low + last - task)
        task += high - low
        all_g = np.zeros((high - low, states, BACKWARD_BLOCK), np.float32)
        all_g_rate = np.zeros((high - low, states, BACKWARD_BLOCK), np.float32)
        all_g_end = np.zeros((high - low, 2, BACKWARD_BLOCK), np.float32)
        for tile in range((length - 1) // TILE, -1, -1):
            t0 = tile * TILE
            steps = min(TILE, length - t0)
            for block in range(low, high):
                start, width = block * BACKWARD_BLOCK, min(BACKWARD_BLOCK, channels - block * BACKWARD_BLOCK)
                g, g_rate, g_end = all_g[block - low], all_g_rate[block - low], all_g_end[block - low]
                rate, end = _block_rows(a, block, BACKWARD_BLOCK), _block_rows(ends, block, BACKWARD_BLOCK)
                if width < BACKWARD_BLOCK or not is_gated:  # lanes beyond the last channel add nothing to sums over channels
                    g_y[:] = _ZERO
                    gate[:] = _ZERO
                    raw[:] = _ZERO
                    x[:] = _ZERO
                    h[0] = _ZERO
                for n in range(states):
                    for w in range(width):
                        h[0, n, w] = kept[i, tile, n, start + w]
                for s in range(steps):
                    for w in range(width):
                        raw[s, w] = delta[i, t0 + s, start + w] + end[1, w]
                        x[s, w] = u[i, t0 + s, start + w]
                    for w in range(BACKWARD_BLOCK):
                        step[s, w], slope[s, w] = _softplus(raw[s, w])
                        drive[w] = step[s, w] * x[s, w]
                    for n in range(states):
                        b_n = b[i, t0 + s, n]
                        for w in range(BACKWARD_BLOCK):
                            e = _exp2(step[s, w] * rate[n, w] * _LOG2_E)
                            decay[s, n, w] = e
                            h[s + 1, n, w] = e * h[s, n, w] + drive[w] * b_n
                for s in range(steps - 1, -1, -1):
                    t = t0 + s
                    for w in range(width):
                        g_y[w] = grad_y[i, t, start + w]
                    if is_gated:
                        for w in range(width):
                            gate[w] = z[i, t, start + w]
                    for w in range(BACKWARD_BLOCK):
                        g_out[w] = g_y[w] * gate[w] * _softplus(gate[w])[1] if is_gated else g_y[w]
                        out[w] = end[0, w] * x[s, w]
                        drive[w] = step[s, w] * x[s, w]
                        g_drive[w] = _ZERO
                        g_step[w] = _ZERO
                    for n in range(states):
                        b_n, c_n = b[i, t, n], c[i, t, n]
                        sum_b, sum_c = _ZERO, _ZERO
                        for w in range(BACKWARD_BLOCK):
                            g_h = g[n, w] + g_out[w] * c_n
                            sum_c += g_out[w] * h[s + 1, n, w]
                            sum_b += g_h * drive[w]
                            out[w] += h[s + 1, n, w] * c_n
                            g_drive[w] += g_h * b_n
                            g_previous = g_h * decay[s, n, w]
                            g_exponent = g_previous * h[s, n, w]
                            g_step[w] += g_exponent * rate[n, w]
                            g_rate[n, w] += g_exponent * step[s, w]
                            g[n, w] = g_previous
                        grad_b[i, block, t, n] = sum_b
                        grad_c[i, block, t, n] = sum_c
                    for w in range(BACKWARD_BLOCK):
                        g_step[w] = (g_step[w] + g_drive[w] * x[s, w]) * slope[s, w]
                        g_end[0, w] += g_out[w] * x[s, w]
                        g_end[1, w] += g_step[w]
                    for w in range(width):
                        grad_u[i, t, start + w] = g_drive[w] * step[s, w] + g_out[w] * end[0, w]
                        grad_delta[i, t, start + w] = g_step[w]
                    if is_gated:
                        for w in range(width):
                            sigmoid = _softplus(gate[w])[1]
                            grad_z[i, t, start + w] = g_y[w] * out[w] * sigmoid * (_ONE + gate[w] * (_ONE - sigmoid))
        for block in range(low, high):
            start = block * BACKWARD_BLOCK
            for w in range(min(BACKWARD_BLOCK, channels - start)):
                for n in range(states):
                    grad_a[i, n, start + w] = all_g_rate[block - low, n, w]
                grad_ends[i, 0, start + w] = all_g_end[block - low, 0, w]
                grad_ends[i, 1, start + w] = all_g_end[block - low, 1, w]


@cache
def _threads(process: int, count: int) -> ThreadPoolExecutor:
    """Return this process's pool: a forked child must not use its parent's threads."""
    return ThreadPoolExecutor(count, thread_name_prefix="selective-scan")


def _run(kernel: Callable[..., Any], tasks: int, *arrays: Any) -> None:
    """Run a kernel over all its tasks on as many threads as torch may use."""
    count = min(torch.get_num_threads(), tasks)
    if count <= 1:
        kernel(0, tasks, *arrays)
        return
    bounds = [tasks * k // count for k in range(count + 1)]
    pool = _threads(os.getpid(), torch.get_num_threads())
    for done in [pool.submit(kernel, first, last, *arrays) for first, last in pairwise(bounds)]:
        done.result()


class _NumbaScan(torch.autograd.Function):
    """The two kernels as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, is_training: bool, is_gated: bool, *tensors: Tensor) -> Tensor:
        """Run the scan; keep the inputs and the states at tile starts if a gradient may be asked for."""
        u, delta, a, b, c, ends, z = tensors
        batch, length, channels = u.shape
        kept = torch.empty((batch, -(-length // TILE) if is_training else 0, a.shape[1], channels))
        y = torch.empty_like(u)
        arrays = [x.numpy() for x in (u, delta, (a * float(_LOG2_E)).t().contiguous(), b, c, ends, z)]
        _run(_forward, batch * -(-channels // FORWARD_BLOCK), *arrays, is_gated, is_training, y.numpy(), kept.numpy())
        if is_training:
            ctx.is_gated = is_gated
            ctx.save_for_backward(*tensors, kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the seven tensors."""
        u, delta, a, b, c, ends, z, kept = ctx.saved_tensors
        batch, length, channels = u.shape
        states, blocks = a.shape[1], -(-channels // BACKWARD_BLOCK)
        grad_u, grad_delta, grad_z = torch.empty_like(u), torch.empty_like(u), torch.empty_like(z)
        grad_a, grad_ends = torch.empty((batch, states, channels)), torch.empty((batch, 2, channels))
        grad_b, grad_c = torch.empty((batch, blocks, length, states)), torch.empty((batch, blocks, length, states))
        inputs = [x.numpy() for x in (grad_y.contiguous(), u, delta, a.t().contiguous(), b, c, ends, z)]
        made = [x.numpy() for x in (grad_u, grad_delta, grad_z, grad_a, grad_ends, grad_b, grad_c)]
        _run(_backward, batch * blocks, *inputs, ctx.is_gated, kept.numpy(), *made)
        sums = (grad_a.sum(0).t(), grad_b.sum(1), grad_c.sum(1), grad_ends.sum(0))
        return None, None, grad_u, grad_delta, *sums, grad_z


def scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor | None, z: Tensor | None, delta_bias: Tensor | None
) -> Tensor:
    """Run the whole selective scan on float32 CPU tensors; shapes as in ``selective_scan.selective_scan``."""
    none = u.new_zeros(u.shape[2])
    ends = torch.stack([none if d is None else d, none if delta_bias is None else delta_bias])
    tensors = [x.contiguous() for x in (u, delta, a, b, c, ends, u[:0] if z is None else z)]
    is_training = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    return cast(Tensor, _NumbaScan.apply(is_training, z is not None, *tensors))
