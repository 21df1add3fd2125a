from __future__ import annotations

import pytest
import torch

from model.errors import InputError
from model.mim4d.mask import check_mask, draw_patch_mask, hide, mask_at, patch_cells


def drawn(seed: int, num: int = 18, cells: tuple[int, int] = (15, 25), ratio: float = 0.3) -> torch.Tensor:
    return draw_patch_mask(num, cells, hidden_ratio=ratio, generator=torch.Generator().manual_seed(seed))


def test_mask_when_drawn_for_the_full_image_then_113_of_375_patches_are_hidden():
    mask = drawn(0, cells=patch_cells((480, 800), patch_px=32))
    assert mask.shape == (18, 1, 15, 25) and mask.dtype == torch.bool
    assert mask.flatten(1).sum(1).tolist() == [262] * 18
    assert not torch.equal(mask[0], mask[1])


def test_mask_when_drawn_twice_from_one_seed_then_equal_and_the_global_state_stays():
    before = torch.get_rng_state()
    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_mask_when_drawn_often_then_every_patch_is_hidden_as_often_as_another():
    share = 1.0 - drawn(0, num=4000, cells=(3, 5), ratio=1 / 3).float().mean(dim=0)
    assert torch.all((share - 1 / 3).abs() < 0.03)  # four deviations


@pytest.mark.parametrize(("ratio", "num_seen"), [(0.0, 6), (0.5, 3), (0.99, 1)])
def test_mask_when_the_ratio_is_extreme_then_something_is_seen(ratio, num_seen):
    assert drawn(0, num=2, cells=(2, 3), ratio=ratio).flatten(1).sum(1).tolist() == [num_seen] * 2


def test_hidden_cells_when_they_hold_nan_then_zero_and_others_as_they_were():
    mask = torch.tensor([[True, False]]).view(1, 1, 1, 2)
    x = torch.arange(1.0, 17.0).view(1, 2, 2, 4)
    dirty = x.clone()
    dirty[..., 2:] = torch.nan
    assert torch.equal(hide(dirty, mask)[..., :2], x[..., :2])
    assert torch.equal(hide(dirty, mask)[..., 2:], torch.zeros(1, 2, 2, 2))


def test_mask_when_a_map_is_no_whole_number_of_cells_to_a_patch_then_named():
    with pytest.raises(
        InputError, match=r"a mask of \(6, 10\) patches does not fit a map of \(3, 5\) cells .*whole cells to a patch"
    ):
        mask_at(torch.ones(1, 1, 6, 10, dtype=torch.bool), (3, 5))


def test_patches_when_their_size_does_not_suit_then_named():
    with pytest.raises(InputError, match="a mask patch has 16 pixels, expected a multiple of 32, the stride .*; choose 32"):
        patch_cells((96, 160), patch_px=16)
    with pytest.raises(
        InputError, match=r"the image is 450 x 800 \(height x width\), expected multiples of .* 32 pixels; pad the image"
    ):
        patch_cells((450, 800), patch_px=32)
    with pytest.raises(InputError, match="a mask of 3 x 5 patches with a hidden ratio of 1.0 cannot be drawn; .*below 1"):
        drawn(0, cells=(3, 5), ratio=1.0)


def test_mask_when_it_is_of_other_images_then_named():
    images = torch.zeros(2, 3, 64, 96)
    with pytest.raises(InputError, match=r"is torch.float32 \(2, 1, 2, 3\), expected bool \(2, 1, .* for 2 images"):
        check_mask(images, torch.ones(2, 1, 2, 3))
    with pytest.raises(InputError, match=r"is torch.bool \(3, 1, 2, 3\), expected bool \(2, 1"):
        check_mask(images, torch.ones(3, 1, 2, 3, dtype=torch.bool))
    with pytest.raises(InputError, match="a mask of 2 x 2 patches does not cut an image of 64 x 96 pixels into whole squares"):
        check_mask(images, torch.ones(2, 1, 2, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="a mask patch has 16 pixels"):
        check_mask(images, torch.ones(2, 1, 4, 6, dtype=torch.bool))
