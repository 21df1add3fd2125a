from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.errors import InputError
from model.semodepth.loss import composite_loss
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig
from model.semodepth.radar_graph import radar_nodes
from model.semodepth.rms import RadarModulatedSelection
from tests.model.golden_weights import fill_with_golden_weights

CHANNELS = {"base_channels": 16}
"""A sixteenth of the published weights, of which test_golden.py has those."""
NARROW = SemoDepthConfig(**CHANNELS)
OPTIONS = [NARROW, SemoDepthConfig.reference(max_depth_m=120.0, plug_in=False).model_copy(update=CHANNELS)]


def scene(batch: int = 2, height: int = 96, width: int = 160, *, returns: int = 20, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (batch, height, width, 3), generator=generator, dtype=torch.uint8)
    radar = torch.zeros(batch, height, width)
    for sample in range(batch):
        rows = torch.randint(0, height, (returns,), generator=generator)
        columns = torch.randint(0, width, (returns,), generator=generator)
        radar[sample, rows, columns] = torch.rand(returns, generator=generator) * 100 + 1
    return image, radar


@pytest.fixture(scope="module", params=OPTIONS, ids=["defaults", "reference"])
def network(request) -> SemoDepth:
    return fill_with_golden_weights(SemoDepth(request.param))


def test_fresh_block_when_radar_is_there_then_equals_the_image_only_scan_exactly():
    block = RadarModulatedSelection(32)
    image, radar = torch.randn(2, 21, 32), torch.randn(2, 21, 32)
    assert torch.equal(block(image, radar), block(image))


@pytest.mark.parametrize("config", OPTIONS, ids=["defaults", "reference"])
def test_fresh_network_when_radar_is_there_then_equals_itself_without(config):
    torch.manual_seed(0)
    network = SemoDepth(config).eval()
    image, radar = scene()
    assert torch.equal(network.predict(image, radar), network.predict(image, torch.zeros_like(radar)))


def test_fresh_network_when_trained_one_step_then_radar_side_receives_gradients():
    torch.manual_seed(0)
    network = SemoDepth(NARROW)
    image, radar = scene()
    network(image, radar).square().mean().backward()
    for name, parameter in network.named_parameters():
        if name.endswith(
            ("radar_dt_proj.weight", "radar_c_proj.weight", "mod1.2.weight", "mod2.2.weight", "scan2.out_proj.weight")
        ):
            # what comes after a window's zero-initialised output cannot hear of the window yet
            is_behind_zero = name.startswith("scan2.mamba")
            assert (parameter.grad.abs().max() > 0) != is_behind_zero, name


@pytest.mark.parametrize("plug_in", [False, True])
def test_every_parameter_when_weights_are_not_zero_then_receives_a_gradient(plug_in):
    network = fill_with_golden_weights(SemoDepth(SemoDepthConfig(plug_in=plug_in, **CHANNELS)))
    image, radar = scene()
    mono = torch.rand_like(radar) * 80 if plug_in else None
    network(image, radar, mono).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # adding the same number to all scores of a softmax changes nothing
    assert [name for name in silent if not name.endswith("attn_score.bias")] == []
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters())


def test_sample_when_its_neighbour_changes_then_stays_as_it_is():
    network = fill_with_golden_weights(SemoDepth(NARROW))
    image, radar = scene(3)
    radar[2] = 0.0
    alone = [network.predict(image[i : i + 1], radar[i : i + 1])[0] for i in range(3)]
    together = network.predict(image, radar)
    for i in range(3):
        torch.testing.assert_close(together[i], alone[i], rtol=1e-5, atol=1e-4)
    image[0], radar[0] = scene(1, seed=5, returns=60)[0][0], scene(1, seed=5, returns=60)[1][0]
    torch.testing.assert_close(network.predict(image, radar)[1:], together[1:], rtol=1e-5, atol=1e-4)


def test_radar_when_absent_everywhere_then_finite_depth(network):
    image, radar = scene(returns=0)
    depth = network.predict(image, radar)
    assert depth.shape == (2, 96, 160)
    assert depth.isfinite().all()


def test_radar_when_it_changes_then_depth_changes(network):
    image, radar = scene()
    assert (network.predict(image, radar) - network.predict(image, radar * 0.5)).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 64), (70, 130), (65, 300)])
def test_size_when_odd_or_tiny_then_depth_of_that_size(network, size):
    image, radar = scene(1, *size, returns=5)
    depth = network.predict(image, radar)
    assert depth.shape == (1, *size)
    assert ((depth >= 0.5 - 1e-6) & (depth <= 120.001)).all()


def test_predict_when_given_numpy_then_the_same_and_training_mode_is_kept():
    network = fill_with_golden_weights(SemoDepth(NARROW)).train()
    image, radar = scene(1)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    assert torch.equal(network.predict(image.numpy(), radar.numpy()), network.predict(image, radar))
    assert network.training
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_plug_in_when_monocular_depth_is_dropped_then_zeros_pass_through_the_branch():
    network = fill_with_golden_weights(SemoDepth(SemoDepthConfig(plug_in=True, **CHANNELS)))
    image, radar = scene(1)
    skipped, dropped = network.predict(image, radar), network.predict(image, radar, torch.zeros_like(radar))
    given = network.predict(image, radar, torch.full_like(radar, 40.0))
    assert not torch.allclose(skipped, dropped)  # the branch has biases
    assert not torch.allclose(dropped, given)


def test_one_frame_when_trained_on_then_learned():
    torch.manual_seed(0)
    network = SemoDepth(NARROW).train()
    image, radar = scene(1, 32, 64)
    rows = torch.linspace(0.0, 1.0, 32).view(1, 32, 1)
    target = (60.0 - 50.0 * rows).expand(1, 32, 64).contiguous()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    errors = []
    for _ in range(18):
        losses = composite_loss(network(image, radar), target, target, space=network.depth_space)
        optimizer.zero_grad()
        losses.loss.backward()
        optimizer.step()
        errors.append(float(losses.mae_mm))
    assert min(errors[-5:]) < 0.15 * errors[0], errors


def test_nodes_when_more_than_the_limit_then_an_even_subset_the_same_every_time():
    radar = torch.zeros(2, 40, 50)
    radar[0] = torch.arange(1.0, 2001.0).view(40, 50)
    radar[1, 3, 4] = 7.0
    nodes = radar_nodes(radar, max_nodes=512)
    assert torch.bincount(nodes.sample).tolist() == [512, 1]
    gaps = (nodes.row[:512] * 50 + nodes.column[:512]).diff()
    assert set(gaps.tolist()) <= {3, 4}
    assert torch.equal(nodes.depth_m, radar_nodes(radar, max_nodes=512).depth_m)
    assert float(nodes.depth_m[512]) == 7.0


def test_network_when_narrower_then_a_sixteenth_of_the_weights():
    narrow = SemoDepth(NARROW)
    num_parameters = sum(parameter.numel() for parameter in narrow.parameters())
    assert 38_104_600 / 17 < num_parameters < 38_104_600 / 15
    assert narrow.predict(*scene(1)).shape == (1, 96, 160)


@pytest.mark.parametrize("size", [(96, 160), (95, 157), (5, 3)])
def test_network_when_it_sees_a_smaller_image_then_depth_of_the_full_size_and_exact_radar(size):
    network = fill_with_golden_weights(SemoDepth(SemoDepthConfig(input_downscale=2, **CHANNELS)))
    image, radar = scene(1, *size)
    depth = network.predict(image, radar)
    assert depth.shape == (1, *size)
    assert not torch.equal(depth, network.predict(image, torch.zeros_like(radar)))
    assert torch.equal(depth, network.predict(image, radar))


def test_inputs_when_they_do_not_fit_then_said(network):
    image, radar = scene(1)
    with pytest.raises(InputError, match=r"image must be uint8 \(b, h, w, 3\), got torch.float32 \(1, 96, 160, 3\)"):
        network(image.float(), radar)
    with pytest.raises(
        InputError,
        match=r"radar must be floating-point metres of the image's size \(1, 96, 160\), got torch.float32 \(1, 96, 159\)",
    ):
        network(image, radar[..., 1:])
    with pytest.raises(InputError, match="without the plug-in branch; build it with plug_in=True"):
        network(image, radar, radar)


def test_bfloat16_when_autocast_then_close_to_float32():
    network = fill_with_golden_weights(SemoDepth(NARROW))
    image, radar = scene(1)
    exact = network.predict(image, radar)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network.predict(image, radar)
    assert rough.dtype == torch.float32
    assert float((np.log(rough) - np.log(exact)).abs().mean()) < 0.05
