"""The selective scan of Mamba-1 on a GPU through Triton, forward and backward.

What    h_l[d,n] = exp(delta_l[d] a[d,n]) h_{l-1}[d,n] + delta_l[d] u_l[d] b_l[n], h_0 = 0, and y_l[d] = sum_n c_l[n] h_l[d,n]
Why     batch x channels alone leaves most of a GPU idle, so the length is cut into chunks that run in parallel:
        1. every chunk alone, from a zero state; its whole decay is exp(a * sum of delta), so only that sum is kept
        2. one sequential pass over the chunks, which makes of those ends the state at every chunk's start
        3. every chunk again, from its start: the outputs, or in the backward the gradients
        The backward's adjoint q_l = exp(delta_l a) (c_l grad_y_l + q_{l+1}) is the same kind of recurrence, run from the end, so
        phases 1 and 2 serve both. Phase 3 of the backward first recomputes the chunk's states into a scratch buffer.
Source  arXiv 2312.00752 equations 2 and 3, b discretised as delta b; with TRITON_INTERPRET=1 at import it runs on CPU tensors
Reads   float32 contiguous tensors on one device; softplus, skip and gate are the caller's
Writes  nothing
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.blocks.scan_tiles import Tile, tile_of

# None of these is measured on a GPU yet; the reasons are counts of the compiled code and of the bytes moved.
CARRY_STAGES = tl.constexpr(6)  # chunks that phase 2 has in flight, because it does nothing but wait for memory
SCRATCH_BYTES = 256 * 2**20  # of the backward, 64 KiB a program at 16 states: 4096 programs, three rounds of a 132-core GPU
FP_FUSION = True  # multiply-add as one: Triton 3.10 turns the default off, which costs a quarter more instructions

LOG2_E = 1.4426950408889634
LN_2 = tl.constexpr(0.6931471805599453)  # a kernel sees only globals that are constexpr


@triton.jit
def _tile(channels: tl.tensor, num_states: tl.constexpr, block: tl.constexpr) -> tuple[tl.tensor, ...]:
    """Return this program's channels, which of them exist, the states, and the places of both in a (states, channels) array."""
    channel = tl.program_id(1) * block + tl.arange(0, block)
    state = tl.arange(0, num_states)[:, None]
    return channel, channel < channels, state, state * channels + channel[None, :]


@triton.jit(do_not_specialize=["length"])
def _summarize_chunks(
    x: tl.tensor,
    delta: tl.tensor,
    a2: tl.tensor,
    vector: tl.tensor,
    ends: tl.tensor,
    totals: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    reverse: tl.constexpr,
    num_states: tl.constexpr,
    block: tl.constexpr,
    chunk: tl.constexpr,
) -> None:
    """Phase 1, program (chunk, channel block, batch): its state at the end from zero, and its sum of delta.

    Forward takes x = u and vector = b; reverse takes x = grad_y and vector = c and walks from the last step to the first.
    """
    batch = tl.program_id(2).to(tl.int64)  # every row below is 64 bits wide: batch x length x channels can pass 2^31
    first = tl.program_id(0) * chunk
    steps = tl.minimum(chunk, length - first)
    channel, is_channel, state, tile = _tile(channels, num_states, block)
    rate = tl.load(a2 + tile, mask=is_channel[None, :], other=0.0)
    h = tl.zeros((num_states, block), tl.float32)
    total = tl.zeros((block,), tl.float32)
    for i in range(steps):
        row = batch * length + first + (steps - 1 - i if reverse else i)
        step = tl.load(delta + row * channels + channel, mask=is_channel, other=0.0)
        value = tl.load(x + row * channels + channel, mask=is_channel, other=0.0)
        weight = tl.load(vector + row * num_states + state)
        decay = tl.exp2(step[None, :] * rate)
        h = decay * (h + value[None, :] * weight) if reverse else decay * h + (step * value)[None, :] * weight
        total += step
    out = batch * tl.num_programs(0) + tl.program_id(0)
    tl.store(ends + out * num_states * channels + tile, h, mask=is_channel[None, :])
    tl.store(totals + out * channels + channel, total, mask=is_channel)


@triton.jit(do_not_specialize=["num_chunks"])
def _carry_states(
    states: tl.tensor,
    totals: tl.tensor,
    a2: tl.tensor,
    num_chunks: tl.tensor,
    channels: tl.tensor,
    reverse: tl.constexpr,
    num_states: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Phase 2, program (1, channel block, batch): replace every chunk's own end by the state that enters the chunk, in place."""
    batch = tl.program_id(2).to(tl.int64)
    channel, is_channel, _, tile = _tile(channels, num_states, block)
    rate = tl.load(a2 + tile, mask=is_channel[None, :], other=0.0)
    carried = tl.zeros((num_states, block), tl.float32)
    for i in tl.range(num_chunks, num_stages=CARRY_STAGES):  # loads run ahead of the stores, to other chunks
        row = batch * num_chunks + (num_chunks - 1 - i if reverse else i)
        place = states + row * num_states * channels + tile
        chunk_end = tl.load(place, mask=is_channel[None, :], other=0.0)
        total = tl.load(totals + row * channels + channel, mask=is_channel, other=0.0)
        tl.store(place, carried, mask=is_channel[None, :])
        carried = tl.exp2(total[None, :] * rate) * carried + chunk_end


@triton.jit(do_not_specialize=["length"])
def _emit_outputs(
    u: tl.tensor,
    delta: tl.tensor,
    a2: tl.tensor,
    b: tl.tensor,
    c: tl.tensor,
    starts: tl.tensor,
    y: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    num_states: tl.constexpr,
    block: tl.constexpr,
    chunk: tl.constexpr,
) -> None:
    """Phase 3 of the forward, program (chunk, channel block, batch): y of the chunk from its start state."""
    batch = tl.program_id(2).to(tl.int64)
    first = tl.program_id(0) * chunk
    channel, is_channel, state, tile = _tile(channels, num_states, block)
    rate = tl.load(a2 + tile, mask=is_channel[None, :], other=0.0)
    entry = (batch * tl.num_programs(0) + tl.program_id(0)) * num_states * channels
    h = tl.load(starts + entry + tile, mask=is_channel[None, :], other=0.0)
    for i in range(tl.minimum(chunk, length - first)):
        row = batch * length + first + i
        step = tl.load(delta + row * channels + channel, mask=is_channel, other=0.0)
        value = tl.load(u + row * channels + channel, mask=is_channel, other=0.0)
        h = tl.exp2(step[None, :] * rate) * h + (step * value)[None, :] * tl.load(b + row * num_states + state)
        out = tl.sum(h * tl.load(c + row * num_states + state), axis=0)
        tl.store(y + row * channels + channel, out, mask=is_channel)


@triton.jit(do_not_specialize=["length", "num_chunks", "first_chunk"])
def _emit_gradients(
    grad_y: tl.tensor,
    u: tl.tensor,
    delta: tl.tensor,
    a2: tl.tensor,
    b: tl.tensor,
    c: tl.tensor,
    starts: tl.tensor,
    adjoints: tl.tensor,
    scratch: tl.tensor,
    grad_u: tl.tensor,
    grad_delta: tl.tensor,
    grad_a: tl.tensor,
    grad_b: tl.tensor,
    grad_c: tl.tensor,
    length: tl.tensor,
    num_chunks: tl.tensor,
    first_chunk: tl.tensor,
    channels: tl.tensor,
    num_states: tl.constexpr,
    block: tl.constexpr,
    chunk: tl.constexpr,
) -> None:
    """Phase 3 of the backward, program (chunk of the slab, channel block, batch): all gradients of the chunk.

    grad_a is a partial sum per batch and chunk, grad_b and grad_c per channel block: no atomics, so the result is deterministic.
    """
    batch = tl.program_id(2).to(tl.int64)
    index = first_chunk + tl.program_id(0)
    first = index * chunk
    steps = tl.minimum(chunk, length - first)
    channel, is_channel, state, tile = _tile(channels, num_states, block)
    rate = tl.load(a2 + tile, mask=is_channel[None, :], other=0.0)
    entry = (batch * num_chunks + index) * num_states * channels
    h = tl.load(starts + entry + tile, mask=is_channel[None, :], other=0.0)
    program = (batch * tl.num_programs(0) + tl.program_id(0)) * tl.num_programs(1) + tl.program_id(1)
    local = state * block + tl.arange(0, block)[None, :]
    history = scratch + program * chunk * num_states * block + local
    for i in range(steps):
        row = batch * length + first + i
        tl.store(history + i * num_states * block, h)
        step = tl.load(delta + row * channels + channel, mask=is_channel, other=0.0)
        value = tl.load(u + row * channels + channel, mask=is_channel, other=0.0)
        h = tl.exp2(step[None, :] * rate) * h + (step * value)[None, :] * tl.load(b + row * num_states + state)
    tl.debug_barrier()  # the compiler may read a state in another thread than the one that wrote it

    q = tl.load(adjoints + entry + tile, mask=is_channel[None, :], other=0.0)
    sum_a = tl.zeros((num_states, block), tl.float32)
    for j in range(steps):
        i = steps - 1 - j
        row = batch * length + first + i
        step = tl.load(delta + row * channels + channel, mask=is_channel, other=0.0)
        value = tl.load(u + row * channels + channel, mask=is_channel, other=0.0)
        error = tl.load(grad_y + row * channels + channel, mask=is_channel, other=0.0)
        b_row = tl.load(b + row * num_states + state)
        c_row = tl.load(c + row * num_states + state)
        decay = tl.exp2(step[None, :] * rate)
        kept = decay * tl.load(history + i * num_states * block)  # not h_l - delta u b, which cancels where h is mostly delta u b
        gain = (step * value)[None, :]
        grad_h = q + error[None, :] * c_row
        flow = grad_h * kept  # gradient of the exponent delta a
        grad_bu = tl.sum(grad_h * b_row, axis=0)  # gradient of delta u
        sum_a += step[None, :] * flow
        q = decay * grad_h
        tl.store(grad_u + row * channels + channel, step * grad_bu, mask=is_channel)
        grad_step = value * grad_bu + LN_2 * tl.sum(flow * rate, axis=0)
        tl.store(grad_delta + row * channels + channel, grad_step, mask=is_channel)
        part = ((tl.program_id(1) * tl.num_programs(2) + batch) * length + first + i) * num_states + tl.arange(0, num_states)
        tl.store(grad_b + part, tl.sum(grad_h * gain, axis=1))
        tl.store(grad_c + part, tl.sum((kept + gain * b_row) * error[None, :], axis=1))
    tl.store(grad_a + entry + tile, sum_a, mask=is_channel[None, :])


def scan_forward(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, *, keep_states: bool, tile: Tile | None = None
) -> tuple[Tensor, Tensor | None]:
    """Scan the sequence.

    u, delta (batch, length, channels), a (channels, states), b, c (batch, length, states); float32, contiguous, on one device.
    tile: how the work is cut, for the search of the best; without it the one of this device.

    Returns:
        y (batch, length, channels) float32, and, if keep_states, what scan_backward needs: the state at every chunk's start,
        (batch, chunks, states padded to a power of two, channels).

    Raises:
        ValueError: a tensor has another shape or dtype, is not contiguous, is on another device, or has no element.
    """
    _check({"u": u, "delta": delta, "a": a, "b": b, "c": c})
    a2, b, c = _pad_states(a, b, c)
    y, tile = torch.empty_like(u), tile or tile_of(u.device)
    with torch.cuda.device(u.get_device()):  # Triton launches on the current device; -1 (a CPU, interpreted) changes nothing
        starts = _enter_chunks(u, delta, a2, b, tile, reverse=False)
        batch, chunks, num_states, channels = starts.shape
        grid = (chunks, triton.cdiv(channels, tile.block_d), batch)
        sizes = (u.shape[1], channels, num_states, tile.block_d, tile.chunk)
        _emit_outputs[grid](u, delta, a2, b, c, starts, y, *sizes, **_options(tile))
    return y, starts if keep_states else None


def scan_backward(
    grad_y: Tensor,
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    states: Tensor,
    *,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of u, delta, a, b and c, each shaped like its tensor, float32.

    grad_y is shaped like u; states comes from scan_forward with keep_states=True on the same tensors and with the same tile.

    Raises:
        ValueError: as scan_forward, for grad_y too, and when states is not shaped as this sequence asks.
    """
    _check({"u": u, "delta": delta, "a": a, "b": b, "c": c, "grad_y": grad_y})
    num_states, tile = a.shape[1], tile or tile_of(u.device)
    a2, b, c = _pad_states(a, b, c)
    (batch, length, channels), padded = u.shape, a2.shape[0]
    chunks, blocks = triton.cdiv(length, tile.chunk), triton.cdiv(channels, tile.block_d)
    if _shape(states) != (batch, chunks, padded, channels):
        raise ValueError(f"states must be scan_forward's, {(batch, chunks, padded, channels)}, got {_shape(states)}")
    grad_u, grad_delta, grad_a = torch.empty_like(u), torch.empty_like(u), torch.empty_like(states)
    grad_b, grad_c = u.new_empty((2, blocks, batch, length, padded))
    per_chunk = batch * blocks * tile.chunk * padded * tile.block_d
    slab = max(1, min(chunks, SCRATCH_BYTES // (4 * per_chunk)))
    scratch = u.new_empty(slab * per_chunk)
    with torch.cuda.device(u.get_device()):
        adjoints = _enter_chunks(grad_y, delta, a2, c, tile, reverse=True)
        for first in range(0, chunks, slab):
            _emit_gradients[(min(slab, chunks - first), blocks, batch)](
                *(grad_y, u, delta, a2, b, c, states, adjoints, scratch, grad_u, grad_delta, grad_a, grad_b, grad_c),
                *(length, chunks, first, channels, padded, tile.block_d, tile.chunk),
                **_options(tile),
            )
    sums = grad_a.sum(dim=(0, 1)).t(), grad_b.sum(dim=0), grad_c.sum(dim=0)
    sum_a, sum_b, sum_c = (total[..., :num_states].contiguous() for total in sums)
    return grad_u, grad_delta, sum_a, sum_b, sum_c


def _options(tile: Tile) -> dict[str, bool | int]:
    return {"num_warps": tile.num_warps, "enable_fp_fusion": FP_FUSION}


def _enter_chunks(x: Tensor, delta: Tensor, a2: Tensor, vector: Tensor, tile: Tile, *, reverse: bool) -> Tensor:
    """Phases 1 and 2: the state, or the adjoint if reverse, that enters every chunk: (batch, chunks, states, channels)."""
    batch, length, channels = x.shape
    num_states, chunks, blocks = a2.shape[0], triton.cdiv(length, tile.chunk), triton.cdiv(channels, tile.block_d)
    states, totals = x.new_empty((batch, chunks, num_states, channels)), x.new_empty((batch, chunks, channels))
    _summarize_chunks[(chunks, blocks, batch)](
        *(x, delta, a2, vector, states, totals, length, channels, reverse, num_states, tile.block_d, tile.chunk),
        **_options(tile),
    )
    sizes = (chunks, channels, reverse, num_states, tile.block_d)
    _carry_states[(1, blocks, batch)](states, totals, a2, *sizes, **_options(tile))
    return states


def _pad_states(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a log2(e) as (states, channels), b and c, with zero states up to a power of two, which a tile of Triton asks for."""
    missing = triton.next_power_of_2(a.shape[1]) - a.shape[1]
    a2 = (a * LOG2_E).t()
    if missing:
        a2, b, c = torch.nn.functional.pad(a2, (0, 0, 0, missing)), *(torch.nn.functional.pad(x, (0, missing)) for x in (b, c))
    return a2.contiguous(), b, c


def _check(tensors: dict[str, Tensor]) -> None:
    """Raise ValueError, naming the tensor, unless all are as scan_forward asks."""
    u, a = tensors["u"], tensors["a"]
    if u.dim() != 3 or a.dim() != 2 or not u.numel() or not a.numel():
        raise ValueError(f"u must be (batch, length, channels), a (channels, states), not empty, got {_shape(u)} and {_shape(a)}")
    (batch, length, channels), num_states = u.shape, a.shape[1]
    shapes = {"a": (channels, num_states), "b": (batch, length, num_states), "c": (batch, length, num_states)}
    for name, tensor in tensors.items():
        expected = shapes.get(name, (batch, length, channels))
        if _shape(tensor) != expected or tensor.dtype != torch.float32 or tensor.device != u.device:
            actual = f"{tensor.dtype} {_shape(tensor)} on {tensor.device}"
            raise ValueError(f"{name} must be torch.float32 {expected} on {u.device}, got {actual}")
        if not tensor.is_contiguous():
            raise ValueError(f"{name} must be contiguous, got strides {tensor.stride()}: call .contiguous() before the scan")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
