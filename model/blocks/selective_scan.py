"""The selective scan of Mamba: one function, several engines with one meaning.

Per channel d and state n, from h = 0:   h_t = exp(delta_t A[d, n]) h_(t-1) + delta_t u_t B_t[n]      y_t = sum_n C_t[n] h_t
with delta = softplus(delta + delta_bias), then y + D u, then times SiLU(z).

Why     ``pip install mamba-ssm`` does not build Mamba-1's CUDA scan unless asked to, and never runs on a CPU. One of these
        engines runs on any machine: ``twin`` (readable torch, any dtype and device), ``numba`` (CPU), ``triton`` (GPU, nothing to
        build) and ``mamba_ssm`` (the CUDA op, when it is installed with its kernel). ``choose_engine`` says which is taken and
        why.
Source  arXiv 2312.00752 section 3; docs/method/semodepth.md#selective-scan
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from storage_schemas.errors import DepthmillError
from storage_schemas.install_command import install_command

ENGINES = ("twin", "numba", "triton", "mamba_ssm")
ENGINE_VARIABLE = "DEPTHMILL_SCAN_ENGINE"

_forced: ContextVar[str | None] = ContextVar("forced scan engine", default=None)
_is_traced: ContextVar[bool] = ContextVar("the scan is part of a traced graph", default=False)


class ScanEngineError(DepthmillError):
    """The engine asked for does not exist, is not installed, or cannot take these tensors."""


class ScanKernels(Protocol):
    """What a module of kernels offers; float32 contiguous tensors, shapes as in ``selective_scan``."""

    def scan_forward(
        self, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, *, keep_states: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return y and, if ``keep_states``, what the backward pass needs."""
        ...

    def scan_backward(
        self, grad_y: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of u, delta, a, b and c."""
        ...


@dataclass(frozen=True)
class Choice:
    """One engine, whether it can be used, and why (not)."""

    engine: str
    is_usable: bool
    reason: str


def scan_twin(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Run the recurrence step by step, in the inputs' dtype; shapes as in ``selective_scan``.

    ``unbind`` rather than indexing: the backward pass of ``x[:, t]`` writes a zero tensor of x's size at every step.
    """
    decay = torch.exp(delta.unsqueeze(-1) * a)
    drive = (delta * u).unsqueeze(-1) * b.unsqueeze(2)
    state = torch.zeros_like(drive[:, 0])
    outputs = []
    for decay_t, drive_t, c_t in zip(decay.unbind(1), drive.unbind(1), c.unbind(1), strict=True):
        state = decay_t * state + drive_t
        outputs.append((state * c_t.unsqueeze(1)).sum(-1))
    return torch.stack(outputs, dim=1)


def _core_traced(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Run the recurrence of ``scan_twin`` as one operation with a body, whatever the length: a traced graph unrolls no loop."""
    from torch._higher_order_ops.scan import scan

    def step(state: Tensor, now: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        u_t, delta_t, b_t, c_t = now
        state = torch.exp(delta_t.unsqueeze(-1) * a) * state + (delta_t * u_t).unsqueeze(-1) * b_t.unsqueeze(1)
        return state, (state * c_t.unsqueeze(1)).sum(-1)

    begin = u.new_zeros((u.shape[0], *a.shape))
    _, outputs = scan(step, begin, tuple(x.transpose(0, 1) for x in (u, delta, b, c)), dim=0)
    return cast(Tensor, outputs).transpose(0, 1)


class _KernelScan(torch.autograd.Function):
    """Forward and backward of a module of kernels as one differentiable operation."""

    @staticmethod
    def forward(
        ctx: Any, kernels: ScanKernels, is_training: bool, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor
    ) -> Tensor:
        """Run the kernels; keep the inputs and the states at checkpoints if a gradient may be asked for."""
        y, states = kernels.scan_forward(u, delta, a, b, c, keep_states=is_training)
        if states is not None:
            ctx.kernels = kernels
            ctx.save_for_backward(u, delta, a, b, c, states)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the five tensors."""
        kernels = cast(ScanKernels, ctx.kernels)
        return None, None, *kernels.scan_backward(grad_y.contiguous(), *ctx.saved_tensors)


Ends = tuple[Tensor | None, Tensor | None, Tensor | None]
"""d, z and delta_bias, each of them optional."""
Core = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Ends], Tensor]


def _with_ends(core: Core) -> Scan:
    """Put softplus before, skip and gate after an engine that runs the recurrence alone."""

    def scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, ends: Ends) -> Tensor:
        d, z, delta_bias = ends
        y = core(u, F.softplus(delta if delta_bias is None else delta + delta_bias), a, b, c)
        y = y if d is None else y + u * d
        return y if z is None else y * F.silu(z)

    return scan


def _core_triton(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    kernels = cast(ScanKernels, import_module("model.blocks.scan_triton"))
    tensors = [x.contiguous() for x in (u, delta, a, b, c)]
    is_training = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    return cast(Tensor, _KernelScan.apply(kernels, is_training, *tensors))


def _scan_numba(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, ends: Ends) -> Tensor:
    from model.blocks import scan_numba  # numba takes a second to import

    return scan_numba.scan(u, delta, a, b, c, *ends)


def _scan_mamba_ssm(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, ends: Ends) -> Tensor:
    """Call Mamba's CUDA op, which wants length last."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    d, z, delta_bias = ends
    u, delta, b, c = (x.transpose(1, 2).contiguous() for x in (u, delta, b, c))
    z = None if z is None else z.transpose(1, 2).contiguous()
    y = selective_scan_fn(u, delta, a, b, c, D=d, z=z, delta_bias=delta_bias, delta_softplus=True)
    return cast(Tensor, y.transpose(1, 2))


_SCANS: dict[str, Scan] = {
    "twin": _with_ends(scan_twin),
    "numba": _scan_numba,
    "triton": _with_ends(_core_triton),
    "mamba_ssm": _scan_mamba_ssm,
}


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def engine_choices(device: torch.device, dtype: torch.dtype = torch.float32) -> list[Choice]:
    """Say of every engine, best first, whether it can take tensors of a device and dtype, and why (not)."""
    kind, is_double = device.type, dtype == torch.float64
    is_interpreting = os.environ.get("TRITON_INTERPRET") == "1"

    def judge(engine: str) -> str | None:
        """Return why an engine cannot be used, None if it can."""
        if engine == "twin":
            return None
        if is_double:
            return "computes in float32 only"
        if engine == "numba":
            return None if kind == "cpu" else f"runs on a CPU, not on {kind}"
        if kind != "cuda" and not (engine == "triton" and is_interpreting):
            return f"runs on a GPU, not on {kind}"
        if engine == "triton":
            return None if _is_installed("triton") else "triton is not installed (it comes with torch's CUDA builds)"
        if not _is_installed("mamba_ssm"):
            return f"mamba_ssm is not installed ({install_command('cuda')} --no-build-isolation)"
        if not _is_installed("selective_scan_cuda"):
            return "mamba_ssm was built without its Mamba-1 kernel (set MAMBA_KEEP_CUDA_BUILD=TRUE when building it)"
        return None

    good = {
        "mamba_ssm": "Mamba's own CUDA op",
        "triton": "GPU kernels, nothing to build",
        "numba": "compiled CPU kernels",
        "twin": "readable torch, any device and dtype, slow",
    }
    order = ("mamba_ssm", "triton", "numba", "twin") if kind == "cuda" else ("numba", "twin", "triton", "mamba_ssm")
    choices = []
    for engine in order:
        in_the_way = judge(engine)
        choices.append(Choice(engine, in_the_way is None, in_the_way or good[engine]))
    return choices


def choose_engine(device: torch.device, dtype: torch.dtype = torch.float32, *, engine: str | None = None) -> Choice:
    """Return the engine that is used for tensors of a device and dtype.

    Args:
        device: where the tensors are.
        dtype: their dtype; float64 always means the twin.
        engine: an engine to force; without it the one of ``forced_engine``, then the environment's
            ``DEPTHMILL_SCAN_ENGINE``, then the best usable one.

    Raises:
        ScanEngineError: the forced engine is unknown or cannot be used here.
    """
    wanted = engine or _forced.get() or os.environ.get(ENGINE_VARIABLE) or "auto"
    choices = engine_choices(device, dtype)
    if wanted == "auto":
        return next(choice for choice in choices if choice.is_usable)
    if wanted not in ENGINES:
        raise ScanEngineError(f"scan engine '{wanted}' does not exist; expected auto or one of {', '.join(ENGINES)}")
    choice = next(choice for choice in choices if choice.engine == wanted)
    if not choice.is_usable:
        usable = ", ".join(choice.engine for choice in choices if choice.is_usable)
        raise ScanEngineError(
            f"scan engine '{wanted}' cannot take {dtype} tensors on {device}: {choice.reason}. "
            f"Usable here: {usable}; or leave the choice to depthmill (unset {ENGINE_VARIABLE})"
        )
    return Choice(wanted, True, f"forced; {choice.reason}")


@contextmanager
def traced_scan() -> Iterator[None]:
    """Let every scan within the ``with`` block be an operation that torch.export can trace; float32, without gradients."""
    token = _is_traced.set(True)
    try:
        yield
    finally:
        _is_traced.reset(token)


@contextmanager
def forced_engine(engine: str) -> Iterator[None]:
    """Use one engine for every scan within the ``with`` block."""
    token = _forced.set(engine)
    try:
        yield
    finally:
        _forced.reset(token)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    d: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    engine: str | None = None,
) -> Tensor:
    """Run the selective scan; computed in float32 (float64 if u is), returned in u's dtype.

    Args:
        u: input (batch, length, channels).
        delta: step sizes before bias and softplus, (batch, length, channels).
        a: decay rates (channels, states), negative.
        b: input weights (batch, length, states).
        c: output weights (batch, length, states).
        d: skip weights (channels,).
        z: gate (batch, length, channels).
        delta_bias: (channels,), added before the softplus.
        engine: the engine to force; see ``choose_engine``.

    Raises:
        ValueError: shapes do not fit.
        ScanEngineError: the forced engine cannot be used.
    """
    if _is_traced.get():  # first: a comparison of shapes that depend on values cannot be traced
        return _with_ends(_core_traced)(u, delta, a, b, c, (d, z, delta_bias))
    batch, length, channels = u.shape
    states = a.shape[-1]
    wanted = {
        "delta": (batch, length, channels),
        "a": (channels, states),
        "b": (batch, length, states),
        "c": (batch, length, states),
    }
    for (name, shape), tensor in zip(wanted.items(), (delta, a, b, c), strict=True):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"selective_scan: {name} has shape {tuple(tensor.shape)}, expected {shape} for u {tuple(u.shape)}")
    if u.numel() == 0:
        raise ValueError(f"selective_scan: u has shape {tuple(u.shape)}; batch, length and channels must be at least 1")
    scan = _SCANS[choose_engine(u.device, u.dtype, engine=engine).engine]
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32

    def wide(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(dtype)

    with torch.autocast(u.device.type, enabled=False):
        ends = wide(d), wide(z), wide(delta_bias)
        y = scan(u.to(dtype), delta.to(dtype), a.to(dtype), b.to(dtype), c.to(dtype), ends)
    return y.to(u.dtype)
