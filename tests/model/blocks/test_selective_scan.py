from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from torch import Tensor

from model.blocks import selective_scan as scan_module
from model.blocks.selective_scan import (
    ENGINES,
    ScanEngineError,
    choose_engine,
    engine_choices,
    forced_engine,
    scan_twin,
    selective_scan,
)

CPU = torch.device("cpu")
NAMES = ("u", "delta", "a", "b", "c", "d", "z", "delta_bias")


def made(
    batch: int, length: int, channels: int, states: int, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = {
        "u": draw(batch, length, channels),
        "delta": draw(batch, length, channels) - 1.0,
        "a": -torch.exp(draw(channels, states)),
        "b": draw(batch, length, states),
        "c": draw(batch, length, states),
        "d": draw(channels),
        "z": draw(batch, length, channels),
        "delta_bias": draw(channels),
    }
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def run(tensors: dict[str, Tensor], **options: object) -> Tensor:
    named = {name: tensors.get(name) for name in ("d", "z", "delta_bias")}
    return selective_scan(tensors["u"], tensors["delta"], tensors["a"], tensors["b"], tensors["c"], **named, **options)


def output_and_gradients(tensors: dict[str, Tensor], **options: object) -> dict[str, Tensor]:
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    y = run(leaves, **options)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    (y.double() * weight).sum().backward()
    return {"y": y.detach(), **{name: leaf.grad for name, leaf in leaves.items()}}


def test_twin_when_written_out_by_hand_then_the_recurrence():
    x = {name: value.numpy() for name, value in made(2, 5, 3, 4, dtype=torch.float64).items()}
    step = np.log1p(np.exp(x["delta"] + x["delta_bias"]))
    want = np.zeros_like(x["u"])
    for i in range(2):
        for d in range(3):
            for n in range(4):
                h = 0.0
                for t in range(5):
                    h = np.exp(step[i, t, d] * x["a"][d, n]) * h + step[i, t, d] * x["u"][i, t, d] * x["b"][i, t, n]
                    want[i, t, d] += h * x["c"][i, t, n]
    want = (want + x["d"] * x["u"]) * x["z"] / (1 + np.exp(-x["z"]))
    got = run({name: torch.from_numpy(value) for name, value in x.items()})
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_twin_gradients_when_compared_with_differences_then_equal():
    tensors = [value.requires_grad_() for value in made(2, 6, 3, 2, dtype=torch.float64).values()]

    def function(*values: Tensor) -> Tensor:
        return run(dict(zip(NAMES, values, strict=True)))

    assert torch.autograd.gradcheck(function, tensors)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (1, 1, 16, 16), (2, 15, 64, 16), (3, 16, 70, 16), (2, 17, 40, 5), (1, 131, 130, 16)]
)
@pytest.mark.parametrize("threads", [1, 3])
def test_numba_when_compared_with_the_twin_in_float64_then_output_and_gradients_agree(shape, threads):
    want = output_and_gradients(made(*shape, dtype=torch.float64), engine="twin")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got = output_and_gradients(made(*shape), engine="numba")
    finally:
        torch.set_num_threads(before)
    for name, tensor in want.items():
        scale = float(tensor.abs().max())
        np.testing.assert_allclose(got[name], tensor, rtol=2e-5, atol=3e-6 * scale, err_msg=name)


@pytest.mark.parametrize("absent", [("d",), ("z",), ("delta_bias",), ("d", "z", "delta_bias")])
def test_numba_when_ends_are_absent_then_as_the_twin(absent):
    tensors = {name: value for name, value in made(2, 20, 24, 16).items() if name not in absent}
    want, got = output_and_gradients(tensors, engine="twin"), output_and_gradients(tensors, engine="numba")
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-4, atol=2e-5 * float(want[name].abs().max()), err_msg=name)


def test_numba_when_the_number_of_threads_changes_then_the_same_bits():
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(output_and_gradients(made(3, 37, 200, 16), engine="numba"))
    torch.set_num_threads(before)
    for other in results[1:]:
        for name, tensor in results[0].items():
            assert torch.equal(tensor, other[name]), name


def test_engines_when_inputs_are_bfloat16_then_bfloat16_out_and_close():
    tensors = {name: value.bfloat16() for name, value in made(2, 33, 32, 16).items()}
    want, got = output_and_gradients(tensors, engine="twin"), output_and_gradients(tensors, engine="numba")
    for name in want:
        assert got[name].dtype == torch.bfloat16
        scale = float(want[name].abs().max())
        np.testing.assert_allclose(got[name].float(), want[name].float(), rtol=2e-2, atol=1e-2 * scale, err_msg=name)


def test_engines_when_inputs_are_not_contiguous_then_as_contiguous():
    tensors = made(2, 19, 48, 16)
    wide = torch.randn(2, 19, 96)
    wide[..., ::2] = tensors["u"]
    strange = {**tensors, "u": wide[..., ::2], "b": tensors["b"].transpose(1, 2).contiguous().transpose(1, 2)}
    for engine in ("twin", "numba"):
        want, got = output_and_gradients(tensors, engine=engine), output_and_gradients(strange, engine=engine)
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("engine", ["twin", "numba"])
def test_engines_when_steps_are_huge_or_tiny_then_finite(engine):
    tensors = made(1, 40, 16, 16)
    tensors["delta"] = torch.linspace(-200.0, 2000.0, 40 * 16).reshape(1, 40, 16)
    tensors["z"] = torch.linspace(-300.0, 300.0, 40 * 16).reshape(1, 40, 16)
    for name, tensor in output_and_gradients(tensors, engine=engine).items():
        assert torch.isfinite(tensor).all(), name


@pytest.mark.parametrize("name", NAMES)
def test_numba_when_an_input_is_not_a_number_then_the_output_says_so(name):
    tensors = made(1, 20, 16, 16)
    tensors[name].view(-1)[0] = float("nan")
    assert run(tensors, engine="numba").isnan().any()


def test_numba_when_no_gradient_is_wanted_then_keeps_no_states():
    leaves = {name: value.requires_grad_() for name, value in made(1, 20, 16, 16).items()}
    with torch.no_grad():
        assert not run(leaves, engine="numba").requires_grad
    assert run(leaves, engine="numba").requires_grad


def test_mamba_ssm_when_installed_then_called_with_length_last(monkeypatch):
    """The CUDA op is not here; a stand-in with its documented signature shows that arguments and result are turned right."""

    def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):  # noqa: N803
        assert delta_softplus
        turn = [x.transpose(1, 2) for x in (u, delta, B, C)]
        step = torch.nn.functional.softplus(turn[1] + delta_bias)
        y = scan_twin(turn[0], step, A, turn[2], turn[3]) + D * turn[0]
        return (y * torch.nn.functional.silu(z.transpose(1, 2))).transpose(1, 2)

    interface = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = selective_scan_fn
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.selective_scan_interface", interface)
    tensors = made(2, 9, 8, 4)
    ends = tensors["d"], tensors["z"], tensors["delta_bias"]
    got = scan_module._SCANS["mamba_ssm"](*(tensors[name] for name in NAMES[:5]), ends)
    torch.testing.assert_close(got, run(tensors, engine="twin"))


def test_choice_when_nothing_is_forced_then_numba_on_a_cpu_and_twin_in_float64(monkeypatch):
    monkeypatch.delenv("DEPTHMILL_SCAN_ENGINE", raising=False)
    assert choose_engine(CPU).engine == "numba"
    assert choose_engine(CPU, torch.float64).engine == "twin"


def test_choice_when_on_a_gpu_then_best_first_with_reasons(monkeypatch):
    installed = {"triton"}
    monkeypatch.setattr(scan_module, "_is_installed", lambda module: module in installed)
    cuda = torch.device("cuda")
    assert [choice.engine for choice in engine_choices(cuda)] == ["mamba_ssm", "triton", "numba", "twin"]
    assert choose_engine(cuda).engine == "triton"
    installed.add("mamba_ssm")
    reason = engine_choices(cuda)[0].reason
    assert reason == "mamba_ssm was built without its Mamba-1 kernel (set MAMBA_KEEP_CUDA_BUILD=TRUE when building it)"
    installed.add("selective_scan_cuda")
    assert choose_engine(cuda).engine == "mamba_ssm"
    installed.clear()
    assert choose_engine(cuda).engine == "twin"


def test_choice_when_forced_then_used_and_said(monkeypatch):
    monkeypatch.setenv("DEPTHMILL_SCAN_ENGINE", "twin")
    assert choose_engine(CPU) == scan_module.Choice("twin", True, "forced; readable torch, any device and dtype, slow")
    with forced_engine("numba"):
        assert choose_engine(CPU).engine == "numba"
    assert choose_engine(CPU).engine == "twin"
    assert choose_engine(CPU, engine="auto").engine == "numba"


def test_choice_when_impossible_then_says_what_is_usable(monkeypatch):
    with pytest.raises(ScanEngineError, match=f"scan engine 'cuda' does not exist; expected auto or one of {', '.join(ENGINES)}"):
        choose_engine(CPU, engine="cuda")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    expected = (
        r"scan engine 'mamba_ssm' cannot take torch.float32 tensors on cpu: runs on a GPU, not on cpu. Usable here: numba, twin"
    )
    with pytest.raises(ScanEngineError, match=expected):
        choose_engine(CPU, engine="mamba_ssm")
    with pytest.raises(ScanEngineError, match="computes in float32 only"):
        choose_engine(CPU, torch.float64, engine="numba")


def test_shapes_when_they_do_not_fit_then_named():
    tensors = made(2, 9, 8, 4)
    with pytest.raises(ValueError, match=r"b has shape \(2, 8, 4\), expected \(2, 9, 4\) for u \(2, 9, 8\)"):
        run({**tensors, "b": tensors["b"][:, 1:]})
    with pytest.raises(ValueError, match="must be at least 1"):
        run({**tensors, **{name: tensors[name][:, :0] for name in ("u", "delta", "b", "c", "z")}})
