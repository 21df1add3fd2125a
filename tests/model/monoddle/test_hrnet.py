from __future__ import annotations

import numpy as np
import pytest
import torch

from model.errors import WeightsFileError
from model.monoddle.hrnet import HrNet
from tests.model.blocks.made_up_image import level_figures, sine_image
from tests.model.golden_weights import fill_with_golden_weights

TIMM_1_0_31 = [  # mean, deviation and one value of each level of its hrnet_w32 (features_only) with the golden weights
    [255.57164001464844, 372.43658447265625, 325.11785888671875],
    [165.83460998535156, 266.2435302734375, 314.0537109375],
    [141.4232940673828, 218.9256591796875, 104.19843292236328],
    [102.6841812133789, 158.1775360107422, 521.9003295898438],
]
NARROW = (4, 4, 8, 8)


@torch.no_grad()
def test_levels_when_compared_with_timm_then_equal():
    levels = fill_with_golden_weights(HrNet())(sine_image())
    assert [tuple(level.shape[1:]) for level in levels] == [(128, 16, 24), (256, 8, 12), (512, 4, 6), (1024, 2, 3)]
    np.testing.assert_allclose(level_figures(levels), TIMM_1_0_31, rtol=1e-4)


def test_imagenet_file_when_of_the_classification_network_then_loads_and_a_wrong_one_is_named(tmp_path):
    target = HrNet(NARROW)
    state = {key: value + 1 for key, value in target.state_dict().items()}
    classifier = {
        "downsamp_modules.0.0.weight": torch.ones(2),
        "final_layer.0.bias": torch.ones(2),
        "classifier.weight": torch.ones(2),
    }
    torch.save(state | classifier, tmp_path / "hrnet.pth")
    target.load_imagenet_weights(tmp_path / "hrnet.pth")
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())
    torch.save({"conv1.weight": torch.ones(64, 3, 7, 7), "fc.bias": torch.ones(3)}, tmp_path / "resnet.pth")
    expected = (
        r"resnet.pth' is not an HRNet-W32: \d+ keys missing \['bn1.bias', .*, 1 unknown \['fc.bias'\], "
        r"1 of another shape \['conv1.weight'\]"
    )
    with pytest.raises(WeightsFileError, match=expected):
        target.load_imagenet_weights(tmp_path / "resnet.pth")
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())


@torch.no_grad()
def test_sample_when_its_neighbour_changes_then_stays_as_it_is():
    network = fill_with_golden_weights(HrNet(NARROW))
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    alone = network(images[:1])
    images[1] = 9.0
    for level, before in zip(network(images), alone, strict=True):
        torch.testing.assert_close(level[:1] / before.max(), before / before.max(), rtol=0, atol=1e-5)
        assert not torch.allclose(level[1:], before)
