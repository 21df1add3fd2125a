from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch

from model.errors import CheckpointError
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.net import MonoDdle
from model.monoddle.traced_net import traceable_detector
from model.semodepth.traced_net import traceable_depth
from model.train import onnx_file
from model.train.family_types import OpenedNetwork
from storage_schemas.errors import OutTakenError, RecipeError
from tests.model.semodepth.test_traced_net import network

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx is not installed: pip install 'depthmill[onnx]'",
)
TINY = {"backbone": "dla34", "dla_widths": [8, 8, 16, 16, 24, 32], "head_width": 16, "input_px": [64, 96], "uncertainty": True}


def detector():
    from depthmill.networks import Model
    from model.families import family_of

    torch.manual_seed(0)
    config = MonoDdleTrainConfig.model_validate({"network": TINY})
    return Model(family_of(config), OpenedNetwork(MonoDdle(config.network).eval(), "tiny", config))


@needs_onnx
def test_detector_when_written_as_onnx_then_its_maps_are_those_of_torch(tmp_path):
    import onnx
    import onnxruntime

    from flows.sharing.onnx import write_onnx
    from model.monoddle.batch import normalized_images

    model = detector()
    written = write_onnx(model, tmp_path / "a.onnx", size=None)
    assert written.shapes["image_u8"] == (1, 64, 96, 3)
    assert "dense_depth_uncertainty" not in written.shapes
    image_u8 = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        maps = model.opened.network(normalized_images(image_u8))
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for name, answer in zip(names, session.run(names, {"image_u8": image_u8.numpy()}), strict=True):
        np.testing.assert_allclose(answer, maps[name].numpy(), atol=1e-5)
    noted = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert (noted["family"], json.loads(noted["config"])["network"]["input_px"]) == ("monoddle", [64, 96])
    with pytest.raises(OutTakenError, match=r"a.onnx' is there already, and nothing is replaced. Choose another --out"):
        write_onnx(model, tmp_path / "a.onnx", size=None)


@needs_onnx
@pytest.mark.slow
def test_depth_network_when_written_as_onnx_then_its_depth_is_that_of_torch_whatever_the_returns():
    net = network()
    made = onnx_file.onnx_file(traceable_depth(net, (64, 96)), {})
    assert made.shapes == {"image_u8": (1, 64, 96, 3), "radar_m": (1, 64, 96), "depth_m": (1, 64, 96)}
    assert made.differences["depth_m"] < 1e-3


@needs_onnx
def test_network_when_onnx_runtime_answers_otherwise_then_refused(monkeypatch):
    class Session:
        def __init__(self, *_, **__):
            pass

        def run(self, names, given):
            return [np.zeros((1, 1, 16, 24), np.float32) for _ in names]

    import onnxruntime

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    traceable = traceable_detector(detector().opened.network, (64, 96))
    with pytest.raises(
        CheckpointError, match=r"ONNX Runtime answers otherwise than torch: output heatmap differs by .* Nothing was written"
    ):
        onnx_file._compared(traceable, b"")


def test_onnx_when_the_size_or_the_family_does_not_fit_or_a_package_is_missing_then_said(monkeypatch, tmp_path):
    from flows.sharing.onnx import check_before_onnx, parse_size
    from model.families import FAMILIES

    with pytest.raises(RecipeError, match=r"--size is '352', expected ROWSxCOLUMNS, e.g. 352x1216"):
        parse_size("352")
    assert parse_size("352x1216") == (352, 1216)
    with pytest.raises(RecipeError, match=r"--size is 50x96, expected multiples of 32"):
        traceable_detector(detector().opened.network, (50, 96))
    depth, pretraining = (FAMILIES.named(name, where="test") for name in ("semodepth", "mim4d"))
    with pytest.raises(RecipeError, match=r"an ONNX file has one. Say it with --size, e.g. 352x1216"):
        depth.traceable(OpenedNetwork(network(), "a", depth.config()), None)
    with pytest.raises(RecipeError, match=r"'a' is a pre-training, .* with train.backbone_from, and write that as ONNX"):
        pretraining.traceable(OpenedNetwork(network(), "a", pretraining.config()), None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"ONNX needs onnx, onnxscript, onnxruntime, .* pip install 'depthmill\[onnx\]'"):
        check_before_onnx(tmp_path / "a.onnx")
