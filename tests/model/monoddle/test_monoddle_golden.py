"""The network against numbers that the public code produced; ../shared/golden/monoddle."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from model.monoddle.net import MonoDdle
from model.monoddle.network_config import MonoDdleConfig
from model.monoddle.reference import load_reference, reference_key
from tests.model.golden_weights import golden_tensor

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def listed(shared) -> list[tuple[str, list[int], str]]:
    return json.loads((shared / "golden/monoddle/state_dict_keys.json").read_text())


@pytest.fixture(scope="module")
def checkpoint(listed) -> dict[str, torch.Tensor]:
    return {key: golden_tensor(key, shape) for key, shape, _ in listed}


@torch.no_grad()
def test_network_when_compared_with_the_reference_then_every_map_agrees(shared, checkpoint):
    with np.load(shared / "golden/monoddle/net_dla34.npz") as file:
        golden = {name: file[name] for name in file.files}
    network = load_reference(checkpoint)
    maps = network(torch.from_numpy(golden.pop("image")))
    assert set(maps) == set(golden)
    for name, want in golden.items():
        np.testing.assert_allclose(maps[name].numpy(), want, rtol=0, atol=2e-4 * np.abs(want).max(), err_msg=name)


def test_state_dict_when_named_as_the_public_code_does_then_its_keys_shapes_and_dtypes(listed):
    with torch.device("meta"):
        network = MonoDdle(MonoDdleConfig.reference())
    own = {reference_key(key): (list(value.shape), str(value.dtype)) for key, value in network.state_dict().items()}
    classifier = {key for key, _, _ in listed if key.startswith("backbone.fc.")}
    assert own == {key: (shape, f"torch.{dtype}") for key, shape, dtype in listed if key not in classifier}
    assert classifier == {"backbone.fc.weight", "backbone.fc.bias"}
    assert len(own) == len(network.state_dict())
