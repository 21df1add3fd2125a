from __future__ import annotations

import numpy as np
import pytest
import torch

from model.semodepth.depth_space import DepthSpace


@pytest.mark.real_data
def test_depth_space_agrees_with_the_reference_network(shared):
    golden = np.load(shared / "golden/semodepth/blocks.npz")
    space = DepthSpace(0.5, 120.0)
    normalized = space.normalize(torch.from_numpy(golden["norm.depth"]))
    np.testing.assert_allclose(normalized, golden["norm.y"], atol=1e-6)
    np.testing.assert_allclose(space.metres(normalized), golden["norm.back"], rtol=1e-6)


@pytest.mark.parametrize("max_depth_m", [80.0, 120.0])
def test_round_trip_when_inside_the_bounds_then_identity(max_depth_m):
    space = DepthSpace(0.5, max_depth_m)
    depth = torch.linspace(0.5, max_depth_m, 1000, dtype=torch.float64)
    torch.testing.assert_close(space.metres(space.normalize(depth)), depth)
    assert space.normalize(torch.tensor([0.0, 1e9])).tolist() == [-1.0, 1.0]


def test_bounds_when_reversed_then_says_so():
    with pytest.raises(ValueError, match="depth bounds must be 0 < min < max, got 9.0 and 3.0 m"):
        DepthSpace(9.0, 3.0)
