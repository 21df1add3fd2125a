from __future__ import annotations

import pytest
import torch

from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig
from model.semodepth.traced_net import TracedSemoDepth

SIZE = (50, 84)
"""No multiple of any stride: cells of the pooling overlap."""


def network(**options):
    torch.manual_seed(0)
    net = SemoDepth(SemoDepthConfig(base_channels=8, **options)).eval()
    for parameter in net.parameters():  # what begins at zero would hide what is wrong
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def frame(num_returns, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image_u8 = torch.randint(0, 256, (1, *SIZE, 3), dtype=torch.uint8, generator=generator)
    radar_m = torch.zeros(1, *SIZE)
    place = torch.randperm(radar_m.numel(), generator=generator)[:num_returns]
    radar_m.view(-1)[place] = 1.0 + 80.0 * torch.rand(len(place), generator=generator)
    return image_u8, radar_m, 60.0 * torch.rand(1, *SIZE, generator=generator)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"radar_to_scale": "scatter", "max_radar_nodes": 7},
        {"window_layout": "reference", "batch_independent": False, "input_downscale": 2},
        {"plug_in": True},
        {"plug_in": True, "absent_mono": "skip"},
    ],
)
def test_traced_network_when_a_frame_has_none_few_or_many_returns_then_the_depth_of_the_network(options):
    net = network(**options)
    traced = TracedSemoDepth(net, SIZE)
    for num_returns in (0, 1, 40):
        image_u8, radar_m, mono_m = frame(num_returns)
        for given in [(mono_m,), (torch.zeros_like(mono_m),)] if net.config.plug_in else [()]:
            with torch.no_grad():
                depth_m = traced(image_u8, radar_m, *given)
            torch.testing.assert_close(depth_m, net.predict(image_u8, radar_m, *given), rtol=2e-5, atol=2e-5)
            assert depth_m.std() > 0.01
