"""Measured and predicted in float32 wherever it runs; a CPU under bfloat16 autocast stands in for a GPU."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model.blocks.full_precision import full_precision, last_in_float32
from model.families import FAMILIES
from model.monoddle.evaluation import Inference, detect_in
from model.monoddle.net import MonoDdle
from model.monoddle.predict import ImageFrame, detect_images
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig
from model.semodepth.predict import Frame, predict_frames
from model.train.config import Machine
from storage_schemas.evaluation import read_evaluation
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.conftest import REPOSITORY
from tests.model.golden_weights import fill_with_golden_weights
from tests.model.monoddle.tiny_network import tiny_config
from tests.model.train.made_up_training import small_config


def half():
    return torch.autocast("cpu", torch.bfloat16)


GAINS = 0.5 + torch.rand(32, generator=torch.Generator().manual_seed(0))
"""Sizes of the channels that carry a depth; learned ones differ as well, so that each is rounded elsewhere."""


@pytest.fixture(scope="module")
def head_of_known_depth():
    """A head that passes the normalised depth on."""
    network = SemoDepth()
    with torch.no_grad():
        for layer in (network.head[0], network.head[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        network.head[0].weight[torch.arange(32), torch.arange(32), 1, 1] = 1.0
        network.head[2].weight[0, :, 0, 0] = 1 / (32 * GAINS)
    return network


@torch.no_grad()
@pytest.mark.parametrize(("low_m", "high_m"), [(60.0, 80.0), (70.0, 80.0)])
def test_last_layer_when_under_autocast_then_rounds_nothing_itself(head_of_known_depth, low_m, high_m):
    network = head_of_known_depth
    truth_m = torch.linspace(low_m, high_m, 4000).view(1, 1, 40, 100)
    features = F.pad(network.depth_space.normalize(truth_m) * GAINS.view(1, 32, 1, 1), (0, 0, 0, 0, 0, 32))
    with half():
        rounded, kept = network.head(features).float(), last_in_float32(network.head, features)
    rounded_m, kept_m = (network.depth_space.metres(values) for values in (rounded, kept))
    of_output_mm = 1000 * float((network.depth_space.metres(network.head(features).bfloat16().float()) - truth_m).abs().mean())
    kept_mm = 1000 * float((kept_m - truth_m).abs().mean())
    if low_m == 60:
        assert len(rounded_m.unique()) <= 29  # 28 depths between 60 and 80 m
        assert len(kept_m.unique()) > 600
    else:
        assert of_output_mm == pytest.approx(198, abs=10)
        assert kept_mm < 60  # what the features' own rounding leaves; measuring has none of it
    assert kept.dtype == torch.float32
    with half(), full_precision("cpu"):
        assert torch.equal(last_in_float32(network.head, features), network.head(features))


@torch.no_grad()
def test_network_when_under_autocast_then_its_outputs_are_finer_than_bfloat16():
    network = fill_with_golden_weights(SemoDepth(SemoDepthConfig(base_channels=8, uncertainty=True))).eval()
    torch.nn.init.normal_(network.uncertainty_head[-1].weight, std=0.1)
    image = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with half():
        answer = network(image, torch.zeros(1, 64, 96), with_uncertainty=True)
    for values in answer:
        assert not torch.equal(values, values.bfloat16().float())


def test_gpu_flags_when_measuring_then_no_tf32_and_put_back():
    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), full_precision("cpu"):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        raise KeyError
    assert torch.backends.cudnn.allow_tf32 is before


def flags() -> list[str]:
    backends = torch.backends
    units = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul, backends.mkldnn.conv]
    return [unit.fp32_precision for unit in units]


ROUNDING = {
    "older": "torch.set_float32_matmul_precision('medium')",  # a CPU rounds as well
    "newer": "torch.backends.fp32_precision = 'tf32'",  # torch's older flags cannot be read beside it
    "of a unit": "torch.backends.mkldnn.conv.fp32_precision = 'bf16'",
}


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="this torch has no newer interface")
@pytest.mark.parametrize("code", [pytest.param(ROUNDING[way], marks=[pytest.mark.slow] * (way != "newer")) for way in ROUNDING])
def test_measuring_when_the_user_lets_torch_round_then_it_does_not_and_the_setting_is_as_it_was(code):
    """In a process of its own: torch cannot undo every setting."""
    check = (
        "import torch\n"
        "from model.blocks.full_precision import full_precision\n"
        f"{inspect.getsource(flags)}"  # to import this file takes longer than all the rest
        f"{code}\n"
        "before = flags()\n"
        "with full_precision('cpu'):\n"
        "    assert flags() == ['ieee'] * 5, flags()\n"
        "assert flags() == before\n"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def manifest(tiny_store):
    return open_manifest(Store(str(tiny_store)))


def test_depth_when_trained_under_bfloat16_then_measured_in_float32_and_said(manifest, tmp_path):
    config = small_config(network={"base_channels": 8})
    family = FAMILIES.of(config)
    network = fill_with_golden_weights(SemoDepth(config.network)).eval()
    seen = {}
    for precision in ("float32", "bfloat16"):
        rough = config.model_copy(update={"precision": precision})
        folder = tmp_path / precision
        family.evaluate(network, manifest, rough, Machine("cpu"), torch.device("cpu"), folder=folder)
        seen[precision] = read_evaluation(str(folder / "evaluation"))
        assert "computed in float32" in (folder / "evaluation" / "table.md").read_text()
        seen[precision, "text"] = family.measure(network, manifest, rough, Machine("cpu"), torch.device("cpu")).rows
    assert seen["bfloat16"] == seen["float32"]
    assert seen["bfloat16", "text"] == seen["float32", "text"]


def test_depth_when_evaluated_where_autocast_is_on_then_the_same_as_without_and_precision_in_json(manifest, tmp_path):
    config = small_config(network={"base_channels": 8})
    family = FAMILIES.of(config)
    network = fill_with_golden_weights(SemoDepth(config.network)).eval()
    from model.train.family_types import OpenedNetwork

    def measured(folder):
        return family.evaluate_checkpoint(
            OpenedNetwork(network, "n", config),
            manifest,
            Machine("cpu"),
            split="val",
            target="depth_clean",
            folder=folder,
            draw=None,
        )

    exact = measured(tmp_path / "exact")
    with half():
        rough = measured(tmp_path / "rough")
    assert rough.data["rows"] == exact.data["rows"]
    assert exact.data["precision"] == "float32"
    assert "computed in float32" in exact.text


def test_depth_when_predicted_where_autocast_is_on_then_the_same_as_without():
    network = fill_with_golden_weights(SemoDepth(SemoDepthConfig(base_channels=8))).eval()
    frames = [Frame("f", np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8), None)]
    (exact,) = predict_frames(network, frames)
    with half():
        (rough,) = predict_frames(network, frames)
    assert np.array_equal(exact.depth_m, rough.depth_m)


def test_objects_when_found_where_autocast_is_on_then_the_same_as_without():
    network = fill_with_golden_weights(MonoDdle(tiny_config())).eval()
    image = np.random.default_rng(0).integers(0, 256, (96, 320, 3), dtype=np.uint8)
    frame = ImageFrame("f", image, np.array([[200.0, 0, 160, 0], [0, 200, 48, 0], [0, 0, 1, 0]]))
    inference = Inference(torch.device("cpu"), score_threshold=0.0)
    (exact,) = detect_images(network, [frame], inference)
    with half():
        rough = detect_in(network, exact.batch, inference)
    for name, values in exact.maps.items():
        assert torch.equal(values, rough.maps[name])
    assert math.isfinite(float(exact.maps["depth"].sum()))
