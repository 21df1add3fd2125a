from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.blocks.causal_conv1d import causal_conv1d_silu


@pytest.mark.parametrize("length", [1, 2, 3, 4, 17])
def test_convolution_when_compared_with_torch_then_equal(length):
    x, weight, bias = torch.randn(2, length, 6), torch.randn(6, 1, 4), torch.randn(6)
    want = F.silu(F.conv1d(F.pad(x.transpose(1, 2), (3, 0)), weight, bias, groups=6)).transpose(1, 2)
    torch.testing.assert_close(causal_conv1d_silu(x, weight, bias), want)


def test_convolution_when_a_later_token_changes_then_earlier_ones_do_not():
    x, weight, bias = torch.randn(1, 9, 3), torch.randn(3, 1, 4), torch.randn(3)
    before = causal_conv1d_silu(x, weight, bias)
    x[:, 5] += 1.0
    after = causal_conv1d_silu(x, weight, bias)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5:], after[:, 5:])
