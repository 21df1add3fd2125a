"""Hide square patches of images from a backbone, and say on every map which cells are hidden.

Why     the mask is a value that is drawn with a generator and handed on, never a state of a module
        (docs/method/mim4d.md#pitfalls, 20), so that two backbones, recomputation and evaluation each see the mask they are given.
Source  docs/method/mim4d.md#masking; arXiv 2301.03580 for convolutions that see only what is not hidden
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.errors import InputError

COARSEST_STRIDE = 32
"""Input pixels per cell of a backbone's last level. A patch must be whole cells of it, or cells would be hidden in part."""


def draw_patch_mask(num_images: int, cells_yx: tuple[int, int], *, hidden_ratio: float, generator: torch.Generator) -> Tensor:
    """Draw for each image, independently, which patches are hidden.

    Args:
        num_images: images of all cameras, frames and clips.
        cells_yx: patches of an image along y and x.
        hidden_ratio: share of the patches that is hidden; what stays is rounded to whole patches, at least one.
        generator: of the random numbers; the mask is made on its device.

    Returns:
        (num_images, 1, *cells_yx) bool, True where the image is seen.

    Raises:
        InputError: the ratio is not below 1, or there are no cells.
    """
    height, width = cells_yx
    num_cells = height * width
    if num_cells < 1 or not 0.0 <= hidden_ratio < 1.0:
        raise InputError(
            f"a mask of {height} x {width} patches with a hidden ratio of {hidden_ratio} cannot be drawn; expected at least one "
            "patch and a ratio from 0 to below 1"
        )
    num_seen = max(1, round(num_cells * (1.0 - hidden_ratio)))
    noise = torch.rand(num_images, num_cells, generator=generator, device=generator.device)
    seen = noise.argsort(dim=1)[:, :num_seen]
    mask = torch.zeros(num_images, num_cells, dtype=torch.bool, device=generator.device).scatter_(1, seen, True)
    return mask.view(num_images, 1, height, width)


def patch_cells(image_px: tuple[int, int], *, patch_px: int) -> tuple[int, int]:
    """Return how many patches an image has along y and x.

    Args:
        image_px: height and width as the backbone gets it, pixels.
        patch_px: side of a patch, pixels.

    Raises:
        InputError: the patch is not whole cells of a backbone's coarsest level, or does not divide the image.
    """
    if patch_px < 1 or patch_px % COARSEST_STRIDE:
        raise InputError(
            f"a mask patch has {patch_px} pixels, expected a multiple of {COARSEST_STRIDE}, the stride of the backbone's "
            f"coarsest level, whose cells would otherwise be hidden in part; choose {COARSEST_STRIDE}"
        )
    height, width = image_px
    if height % patch_px or width % patch_px or min(image_px) < patch_px:
        raise InputError(
            f"the image is {height} x {width} (height x width), expected multiples of the mask patch of {patch_px} pixels; pad "
            "the image, or choose another patch"
        )
    return height // patch_px, width // patch_px


def mask_at(is_seen: Tensor, size_yx: tuple[int, int]) -> Tensor:
    """Enlarge a patch mask (n, 1, y, x) to a map of more cells, whole cells to a patch.

    Raises:
        InputError: a patch is not a whole number of the map's cells.
    """
    down, right = (side // cells for side, cells in zip(size_yx, is_seen.shape[-2:], strict=True))
    if (down * is_seen.shape[-2], right * is_seen.shape[-1]) != tuple(size_yx):
        raise InputError(
            f"a mask of {tuple(is_seen.shape[-2:])} patches does not fit a map of {tuple(size_yx)} cells (down, across), "
            "expected whole cells to a patch; choose the patch size with patch_cells"
        )
    return is_seen.repeat_interleave(down, dim=-2).repeat_interleave(right, dim=-1)


def hide(x: Tensor, is_seen: Tensor) -> Tensor:
    """Set the hidden cells of a map (n, c, h, w) to exactly 0, whatever they held, NaN too.

    In a normalised image 0 is the mean colour of the data set.
    """
    height, width = x.shape[-2:]
    return x.masked_fill(~mask_at(is_seen, (height, width)), 0.0)


def check_mask(image: Tensor, is_seen: Tensor) -> None:
    """Check that a patch mask belongs to a batch of images (n, 3, h, w).

    Raises:
        InputError: it is no bool mask of these images, or its patches do not suit the backbone's levels.
    """
    num, _, height, width = image.shape
    if is_seen.dtype != torch.bool or is_seen.ndim != 4 or is_seen.shape[:2] != (num, 1):
        raise InputError(
            f"the patch mask is {is_seen.dtype} {tuple(is_seen.shape)}, expected bool ({num}, 1, cells down, cells across) for "
            f"{num} images; make it with draw_patch_mask"
        )
    down, right = height // max(1, is_seen.shape[2]), width // max(1, is_seen.shape[3])
    if down != right or (down * is_seen.shape[2], right * is_seen.shape[3]) != (height, width):
        raise InputError(
            f"a mask of {is_seen.shape[2]} x {is_seen.shape[3]} patches does not cut an image of {height} x {width} pixels into "
            "whole squares; make it with draw_patch_mask and patch_cells"
        )
    patch_cells((height, width), patch_px=down)
