from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context

import pytest
import torch
from torch import Tensor

from model.blocks import scan_tiles
from model.blocks.scan_tiles import BY_CAPABILITY, DEFAULT, Tile, tile_of

# model.blocks.scan_triton is imported inside functions: triton must not be loaded before _interpret has run
pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")

CHUNK = DEFAULT.chunk


def _reference(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    h, ys = torch.zeros(u.shape[0], u.shape[2], a.shape[1], dtype=u.dtype), []
    for u_l, delta_l, b_l, c_l in zip(u.unbind(1), delta.unbind(1), b.unbind(1), c.unbind(1), strict=True):
        h = torch.exp(delta_l[:, :, None] * a) * h + (delta_l * u_l)[:, :, None] * b_l[:, None, :]
        ys.append((h * c_l[:, None, :]).sum(dim=-1))
    return torch.stack(ys, dim=1)


def _draw(
    batch: int, length: int, channels: int, states: int, *, largest_step: float = 1.0, decades: float = 4.0
) -> tuple[list[Tensor], Tensor]:
    """Inputs like the network's: steps spread over decades, a from -1 to -states."""
    generator = torch.Generator().manual_seed(length)
    normal = partial(torch.randn, generator=generator)
    delta = largest_step * 10.0 ** (-decades * torch.rand(batch, length, channels, generator=generator))
    a = -torch.arange(1.0, states + 1.0).repeat(channels, 1) * (1.0 + 0.1 * normal(channels, 1))
    inputs = [normal(batch, length, channels), delta, a, normal(batch, length, states), normal(batch, length, states)]
    return inputs, normal(batch, length, channels)


def _check(
    batch: int,
    length: int,
    channels: int,
    states: int,
    *,
    scratch_bytes: int | None = None,
    device: str = "cpu",
    tile: Tile | None = None,
    **steps: float,
) -> None:
    tolerance = 1e-5 if device == "cpu" else 1e-4  # a GPU's exp2 has a few units in the last place more
    inputs, grad_y = _draw(batch, length, channels, states, **steps)
    truth = [x.double().requires_grad_() for x in inputs]
    y = _reference(*truth)
    y.backward(grad_y.double())
    expected = [y.detach(), *(x.grad for x in truth)]
    found = _scan([x.to(device) for x in inputs], grad_y.to(device), scratch_bytes, tile)
    for name, x, wanted in zip(("y", "u", "delta", "a", "b", "c"), found, expected, strict=True):
        assert x.dtype == torch.float32 and x.is_contiguous(), name
        error = (x.cpu().double() - wanted).abs()
        is_near = error <= tolerance * (wanted.abs() + 0.2 * wanted.abs().max())  # false for NaN
        assert is_near.all(), f"{name}: off by up to {error.max()}, largest value {wanted.abs().max()}"


def _scan(inputs: list[Tensor], grad_y: Tensor, scratch_bytes: int | None = None, tile: Tile | None = None) -> list[Tensor]:
    """Output and gradients, of a backward that may have to use less scratch."""
    from model.blocks import scan_triton

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_triton, "SCRATCH_BYTES", scratch_bytes or scan_triton.SCRATCH_BYTES)
        y, kept = scan_triton.scan_forward(*inputs, keep_states=True, tile=tile)
        return [y, *scan_triton.scan_backward(grad_y, *inputs, kept, tile=tile)]


def _check_that_nothing_is_kept() -> None:
    from model.blocks.scan_triton import scan_forward

    inputs, _ = _draw(1, 2, 4, 4)
    (y, states), (same, kept) = scan_forward(*inputs, keep_states=False), scan_forward(*inputs, keep_states=True)
    assert states is None and kept.shape == (1, 1, 4, 4) and torch.equal(y, same)


def _interpret() -> None:
    assert "triton" not in sys.modules
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton and the kernels are imported


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Callable[..., None]]:
    """Call a function in a process where Triton interprets: the variable is global, so it must not reach this process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_interpret) as process:
        yield lambda function, *args, **kwargs: process.submit(function, *args, **kwargs).result()


@pytest.mark.parametrize("length", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_scan_when_length_meets_the_chunks_then_agrees_with_the_recurrence(interpreted, length):
    interpreted(_check, 1, length, 32, 16)


@pytest.mark.parametrize(("batch", "channels", "states"), [(3, 33, 16), (1, 1, 4), (1, 40, 3), (1, 5, 1)])
def test_scan_when_channels_and_states_do_not_fill_a_block_then_agrees_with_the_recurrence(interpreted, batch, channels, states):
    interpreted(_check, batch, CHUNK + 3, channels, states)


@pytest.mark.parametrize(("largest_step", "decades"), [(1e3, 4.0), (1e4, 0.0)])  # with the latter a's gradient is exactly 0
def test_scan_when_steps_are_large_then_forgets_and_has_no_nan(interpreted, largest_step, decades):
    interpreted(_check, 1, CHUNK + 8, 8, 16, largest_step=largest_step, decades=decades)


@pytest.mark.parametrize("tile", [Tile(16, 16, 1), Tile(64, 64, 4), *BY_CAPABILITY.values()])
def test_scan_when_cut_otherwise_then_agrees_with_the_recurrence(interpreted, tile):
    interpreted(_check, 1, tile.chunk + 3, 33, 3, tile=tile)


def test_tile_when_the_gpu_is_in_the_table_then_is_its_own_else_the_default(monkeypatch):
    assert tile_of(torch.device("cpu")) == DEFAULT == Tile(chunk=32, block_d=32, num_warps=1)
    capability_of = {0: (9, 0), 1: (8, 6)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability_of[device.index])
    monkeypatch.setattr(scan_tiles, "BY_CAPABILITY", {(9, 0): Tile(64, 32, 2)})
    scan_tiles._tile_of_gpu.cache_clear()
    try:
        assert [tile_of(torch.device("cuda", number)) for number in (0, 1)] == [Tile(64, 32, 2), DEFAULT]
    finally:
        scan_tiles._tile_of_gpu.cache_clear()


def test_backward_when_its_tile_is_another_than_the_forwards_then_says_so():
    from model.blocks.scan_triton import scan_backward

    inputs, grad_y = _draw(1, 40, 8, 4)
    with pytest.raises(ValueError, match=r"states must be scan_forward's, \(1, 3, 4, 8\), got \(1, 2, 4, 8\)"):
        scan_backward(grad_y, *inputs, torch.zeros(1, 2, 4, 8), tile=Tile(16, 32, 1))


def test_forward_when_no_gradient_is_asked_then_keeps_no_states(interpreted):
    interpreted(_check_that_nothing_is_kept)


@pytest.mark.parametrize("chunks_in_slab", [1, 2])
def test_backward_when_scratch_is_small_then_runs_in_slabs(interpreted, chunks_in_slab):
    interpreted(_check, 1, 2 * CHUNK + 3, 8, 4, scratch_bytes=chunks_in_slab * CHUNK * 4 * 32 * 4)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("delta", lambda x: x.double(), r"delta must be torch.float32 \(2, 5, 8\) on cpu, got torch.float64 \(2, 5, 8\) on cpu"),
        ("b", lambda x: x[:, :4], r"b must be torch.float32 \(2, 5, 4\) on cpu, got torch.float32 \(2, 4, 4\) on cpu"),
        (
            "c",
            lambda x: x.mT.contiguous().mT,
            r"c must be contiguous, got strides \(20, 1, 5\): call .contiguous\(\) before the scan",
        ),
        (
            "a",
            lambda x: x[:, :0],
            r"u must be \(batch, length, channels\), a \(channels, states\), not empty, got \(2, 5, 8\) and \(8, 0\)",
        ),
        ("states", lambda x: x[:, :0], r"states must be scan_forward's, \(2, 1, 4, 8\), got \(2, 0, 4, 8\)"),
    ],
)
def test_scan_when_a_tensor_does_not_fit_then_says_which(name, change, message):
    from model.blocks.scan_triton import scan_backward

    inputs, grad_y = _draw(2, 5, 8, 4)
    tensors = dict(zip(("u", "delta", "a", "b", "c"), inputs, strict=True), grad_y=grad_y, states=torch.zeros(2, 1, 4, 8))
    with pytest.raises(ValueError, match=message):
        scan_backward(**{**tensors, name: change(tensors[name])})


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("channels", "states"), [(512, 16), (40, 3), (1, 1)])
def test_kernels_when_compiled_for_a_gpu_then_keep_all_in_registers(monkeypatch, tmp_path, capability, channels, states):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launches = _launches(channels, states)
    assert len(launches) == 6
    for kernel, args, options in launches:
        signature, constants, attributes = {}, {}, {}
        for place, (parameter, value) in enumerate(zip(kernel.params, args, strict=True)):
            is_tensor, is_special = isinstance(value, Tensor), not parameter.do_not_specialize  # as a launch finds out by itself
            is_constant = parameter.is_constexpr or (is_special and not is_tensor and value == 1)
            signature[parameter.name] = "constexpr" if is_constant else "*fp32" if is_tensor else "i32"
            if is_constant:
                constants[parameter.name] = value
            elif is_tensor or (is_special and value % 16 == 0):
                attributes[(place,)] = [["tt.divisibility", 16]]
        source = ASTSource(kernel, signature, constants, attributes)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        (tmp_path / "cubin").write_bytes(compiled.asm["cubin"])
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", tmp_path / "cubin"]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "STACK:0 " in usage and "LOCAL:0 " in usage, usage  # else registers were spilled


def _launches(channels: int, states: int) -> list[tuple]:
    """What one scan and its backward launch: (kernel, arguments, options)."""
    import triton

    from model.blocks import scan_triton

    class Recorder:
        def __init__(self, kernel) -> None:
            self.kernel = kernel

        def __getitem__(self, grid):
            return lambda *args, **options: launches.append((self.kernel, args, options))

    launches: list[tuple] = []
    inputs, grad_y = _draw(2, 3 * CHUNK, channels, states)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in list(vars(scan_triton).items()):
            if isinstance(value, triton.JITFunction):
                patch.setattr(scan_triton, name, Recorder(value))
        _, kept = scan_triton.scan_forward(*inputs, keep_states=True)
        scan_triton.scan_backward(grad_y, *inputs, kept)
    return launches


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("batch", "length", "channels", "states"), [(2, 1450, 512, 16), (3, 101, 40, 3), (1, 1, 1, 1)])
@pytest.mark.parametrize(("largest_step", "scratch_bytes"), [(1.0, None), (1e3, 2**20)])
def test_scan_when_on_a_gpu_then_agrees_with_the_recurrence(batch, length, channels, states, largest_step, scratch_bytes):
    _check(batch, length, channels, states, largest_step=largest_step, scratch_bytes=scratch_bytes, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_scan_when_repeated_on_a_gpu_then_is_the_same_bit_for_bit():
    inputs, grad_y = _draw(2, 1450, 512, 16)
    inputs, grad_y = [x.cuda() for x in inputs], grad_y.cuda()
    assert all(map(torch.equal, _scan(inputs, grad_y), _scan(inputs, grad_y)))
