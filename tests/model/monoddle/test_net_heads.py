from __future__ import annotations

import math

import pytest
import torch

from model.monoddle.heads import depth_logit_of, depth_m_of, head_channels
from model.monoddle.net import MonoDdle
from tests.model.monoddle.tiny_network import SHAPES, images, tiny_config


@pytest.mark.parametrize(("logit", "depth_m"), [(0.0, 1.0), (-2.30, 10.0), (-3.40, 30.0), (-4.17, 65.0)])
def test_depth_when_converted_then_the_specifications_values(logit, depth_m):
    assert float(depth_m_of(torch.tensor(logit))) == pytest.approx(depth_m, rel=0.01)
    assert float(depth_m_of(torch.tensor(depth_logit_of(depth_m)))) == pytest.approx(depth_m, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_depth_when_logits_are_extreme_then_finite_float32(dtype):
    logits = torch.linspace(-80.0, 80.0, 161).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        depth_m = depth_m_of(logits)
    assert depth_m.dtype == torch.float32
    assert depth_m.isfinite().all()
    assert float(depth_m[0].detach()) == pytest.approx(1e6, rel=1e-5)
    assert (depth_m.diff() <= 0).all()
    exact = 1.0 / (logits.detach().double().sigmoid() + 1e-6) - 1.0
    torch.testing.assert_close(depth_m.detach().double(), exact, rtol=1e-5, atol=1e-5)
    if dtype != torch.float16:  # which cannot hold the slope at the far end, 250,000
        depth_m.sum().backward()
        assert logits.grad.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize(("prior_depth_m", "start_m"), [(20.0, 20.0), (65.0, 65.0), (None, 1.0)])
def test_depth_when_the_network_is_fresh_then_the_prior_everywhere_and_its_scale_is_one(prior_depth_m, start_m):
    torch.manual_seed(0)
    depth = MonoDdle(tiny_config(prior_depth_m=prior_depth_m)).eval()(images())["depth"]
    assert depth_m_of(depth[:, 0]).sub(start_m).abs().max() < 0.01 * start_m
    assert depth[:, 1].abs().max() < 0.01


@torch.no_grad()
def test_heads_when_fresh_then_as_published():
    torch.manual_seed(0)
    heads = MonoDdle(tiny_config(head_width=256, prior_depth_m=None)).heads
    assert list(heads) == list(SHAPES)
    assert head_channels(tiny_config()) == SHAPES
    for name, head in heads.items():
        first, _, last = head
        if name == "heatmap":
            assert (last.bias == -2.19).all()
            for layer in (first, last):  # torch's own start: uniform, within 1 / sqrt(inputs)
                bound = 1.0 / math.sqrt(layer.weight[0].numel())
                assert 0.95 * bound < float(layer.weight.abs().max()) <= bound
            assert first.bias.any()
            continue
        assert not first.bias.any() and not last.bias.any()
        assert float(first.weight.std()) == pytest.approx(0.001, rel=0.05)
        assert float(last.weight.std()) == pytest.approx(0.001, rel=0.2)
