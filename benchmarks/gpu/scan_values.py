"""Claim: the Triton scan gives the values and gradients of the readable recurrence, on a real GPU as in the interpreter.

Truth   the twin in float64 on the same device, softplus, skip and gate included
Error   the largest difference over the largest value, of the output and of each of the eight gradients
"""

from __future__ import annotations

from collections.abc import Iterator

import selective_scan
import torch
from torch import Tensor

from gpu.bench import Bench
from gpu.figure import Figure
from model.blocks.selective_scan import engine_choices

NAMES = ("u", "delta", "a", "b", "c", "d", "z", "delta_bias")
SHAPES = ((2, 1450, 512, 16), (3, 101, 40, 3), (1, 33, 33, 16), (1, 1, 1, 1))
SMALL_SHAPES = ((1, 33, 5, 3),)
FLOAT32, BFLOAT16 = 1e-4, 1e-2
"""Tolerances: a GPU's exp2 has a few units in the last place more than a CPU's; bfloat16 rounds to 4e-3."""


def figures(bench: Bench) -> Iterator[Figure]:
    """Compare every engine that can be used with the truth."""
    for choice in engine_choices(bench.device):
        if choice.engine == "numba":
            continue
        if not choice.is_usable:
            yield Figure(f"{choice.engine} is not compared: {choice.reason}")
            continue
        for shape in SMALL_SHAPES if bench.is_small else SHAPES:
            what = f"{choice.engine}, batch, length, channels, states {shape}"
            yield from bench.attempt(
                what, lambda engine=choice.engine, shape=shape, what=what: _compared(bench, engine, shape, what)
            )
    yield from bench.attempt("triton, run twice", lambda: _repeated(bench))


def _compared(bench: Bench, engine: str, shape: tuple[int, ...], what: str) -> Iterator[Figure]:
    batch, length, channels, states = shape
    drawn = selective_scan.tensors(length, batch=batch, channels=channels, states=states)
    exact = [x.to(bench.device) for x in drawn]
    truth = _with_gradients([x.double() for x in exact], "twin")
    yield from _errors(f"{what}, float32", _with_gradients(exact, engine), truth, FLOAT32)
    if engine == "triton":
        half = [x.bfloat16() for x in exact]  # as under autocast; the truth is of the rounded inputs
        truth = _with_gradients([x.double() for x in half], "twin")
        yield from _errors(f"{what}, bfloat16 in and out", _with_gradients(half, engine), truth, BFLOAT16)


def _with_gradients(tensors: list[Tensor], engine: str) -> list[Tensor]:
    leaves = [x.detach().requires_grad_() for x in tensors]
    y = selective_scan.run(leaves, engine)
    weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64, device=y.device).view(y.shape)
    (y * weight.to(y.dtype)).sum().backward()
    return [y.detach(), *(leaf.grad for leaf in leaves)]  # type: ignore[list-item]


def _errors(what: str, found: list[Tensor], truth: list[Tensor], limit: float) -> Iterator[Figure]:
    errors = [
        float((x.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-30))
        for x, exact in zip(found, truth, strict=True)
    ]
    yield Figure(f"{what}: output", errors[0], "of the largest", limit=limit)
    worst = max(range(1, len(errors)), key=lambda k: errors[k] if errors[k] == errors[k] else float("inf"))
    yield Figure(f"{what}: worst gradient ({NAMES[worst - 1]})", errors[worst], "of the largest", limit=limit)


def _repeated(bench: Bench) -> Iterator[Figure]:
    drawn = [
        x.to(bench.device) for x in selective_scan.tensors(5 if bench.is_small else 1450, channels=8 if bench.is_small else 512)
    ]
    first, second = _with_gradients(drawn, "triton"), _with_gradients(drawn, "triton")
    different = sum(int((x != y).sum()) for x, y in zip(first, second, strict=True))
    yield Figure("triton, run twice: values that differ", different, limit=0)
