"""The network against numbers that the public code produced; docs/method/semodepth.md#golden-weights."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import torch

from model.blocks.selective_scan import forced_engine
from model.semodepth.loss import composite_loss
from model.semodepth.mvsp import GlobalScan, RadarFilmBlock, WindowScan
from model.semodepth.net import SemoDepth
from model.semodepth.radar_graph import RadarGraph
from model.semodepth.radar_scale import DenseMap
from model.semodepth.reference import load_reference, reference_key, reference_state_dict
from model.semodepth.rms import RadarModulatedSelection
from tests.model.golden_weights import fill_with_golden_weights, golden_tensor

pytestmark = pytest.mark.real_data


@pytest.fixture(params=["twin", "numba"])
def engine(request):
    with forced_engine(request.param):
        yield request.param


@pytest.fixture(scope="module")
def blocks(shared):
    with np.load(shared / "golden/semodepth/blocks.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def reference_weights(shared, *, plug_in: bool) -> dict[str, torch.Tensor]:
    listed = json.loads((shared / "golden/semodepth/state_dict_keys.json").read_text())
    return {key: golden_tensor(key, shape) for key, shape, _ in listed if plug_in or not key.startswith("mono_embed.")}


@pytest.fixture(scope="module")
def golden_network(shared):
    """What returns a network of the public code with golden weights, each made once; tests must not change them."""

    @cache
    def made(max_depth_m: float, plug_in: bool) -> SemoDepth:
        return load_reference(reference_weights(shared, plug_in=plug_in), max_depth_m=max_depth_m, plug_in=plug_in)

    return made


@torch.no_grad()
def test_rms_block_when_compared_with_the_reference_then_equal(blocks, engine):
    block = fill_with_golden_weights(RadarModulatedSelection(32))
    torch.testing.assert_close(block(blocks["rms.x_img"], blocks["rms.x_rad"]), blocks["rms.y"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(block(blocks["rms.x_img"]), blocks["rms.y_no_radar"], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_film_block_when_compared_with_the_reference_then_equal(blocks):
    block = fill_with_golden_weights(RadarFilmBlock(12, 8, 16))
    got = block(blocks["rfm.img"], DenseMap(blocks["rfm.radar"]))
    torch.testing.assert_close(got, blocks["rfm.y"], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_global_scan_when_compared_with_the_reference_then_equal(blocks, engine):
    block = fill_with_golden_weights(GlobalScan(12, 8, width=16, layers=2))
    got = block(blocks["global_scan.img"], DenseMap(blocks["global_scan.radar"]))
    torch.testing.assert_close(got, blocks["global_scan.y"], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_window_scan_when_compared_with_the_reference_then_equal(blocks, engine):
    block = fill_with_golden_weights(
        WindowScan(12, 8, width=16, window=4, layers=1, layout="reference", batch_independent=False),
    )
    is_radar = blocks["window_scan.sparse_depth"] > 0
    got = block(blocks["window_scan.img"], DenseMap(blocks["window_scan.radar"]), is_radar)
    torch.testing.assert_close(got, blocks["window_scan.y"], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_radar_graph_when_compared_with_the_reference_then_equal(blocks):
    graph = fill_with_golden_weights(RadarGraph(features=3, width=16, out=16, layers=2))
    points = blocks["gse.points"].unsqueeze(0)
    got = graph(points, torch.ones(points.shape[:2], dtype=torch.bool))[0]
    torch.testing.assert_close(got, blocks["gse.y"], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "max_depth_m", "plug_in", "num_parameters"),
    [("net_nuscenes", 120.0, False, 38_104_600), ("net_plugin", 80.0, True, 38_123_416)],
)
def test_network_when_compared_with_the_reference_then_depth_and_losses_agree(
    shared, golden_network, engine, name, max_depth_m, plug_in, num_parameters
):
    with np.load(shared / f"golden/semodepth/{name}.npz") as file:
        golden = {key: file[key] for key in file.files}
    network = golden_network(max_depth_m, plug_in)
    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters
    inputs = [golden["image"], golden["radar"], *([golden["mono"]] if plug_in else [])]
    np.testing.assert_allclose(network.predict(*inputs), golden["depth"][:, 0], rtol=2e-4)
    normalized = network(*(torch.from_numpy(array) for array in inputs))
    dense, sparse = torch.from_numpy(golden["gt"]), torch.from_numpy(golden["sparse_gt"])
    for key, target in (("losses", sparse), ("losses_no_sparse", None)):
        losses = composite_loss(normalized, dense, target, space=network.depth_space)
        want = json.loads(str(golden[key]))
        got = {
            "loss": losses.loss,
            "mae_mm": losses.mae_mm,
            **{f"loss_{term}": getattr(losses, term) for term in ("log", "linear", "grad", "sparse")},
        }
        for term, value in want.items():
            assert float(got[term]) == pytest.approx(value, rel=1e-4), (key, term)


def test_state_dict_when_written_for_the_public_code_then_its_keys_shapes_and_dtypes(shared, golden_network):
    listed = json.loads((shared / "golden/semodepth/state_dict_keys.json").read_text())
    network = golden_network(80.0, True)
    written = {
        key: (list(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in reference_state_dict(network).items()
    }
    assert written == {key: (shape, dtype) for key, shape, dtype in listed}
    assert len({reference_key(key) for key in network.state_dict()}) == len(network.state_dict())
