from __future__ import annotations

import pytest
import torch

from model.errors import InputError
from model.mim4d.height_fold import fold_height, unfold_height


def test_fold_height_when_folded_then_channel_is_c_times_heights_plus_z() -> None:
    volume = torch.randn(2, 3, 4, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    folded = fold_height(volume)
    assert folded.shape == (2, 3, 20, 6, 7)
    for channel in range(4):
        for z in range(5):
            assert torch.equal(folded[:, :, channel * 5 + z], volume[:, :, channel, z])


def test_unfold_height_when_it_follows_fold_then_the_volume_is_the_same_bit_for_bit() -> None:
    volume = torch.randn(2, 32, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    assert torch.equal(unfold_height(fold_height(volume), num_heights=5), volume)
    assert torch.equal(fold_height(unfold_height(volume.flatten(1, 2), num_heights=5)), volume.flatten(1, 2))


def test_unfold_height_when_channels_are_not_whole_slabs_then_it_says_so() -> None:
    with pytest.raises(InputError, match="map of 32 channels cannot be cut into 5 height slabs; expected a multiple of 5"):
        unfold_height(torch.zeros(1, 32, 2, 2), num_heights=5)
