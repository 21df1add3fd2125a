from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from model.errors import InputError
from model.mim4d.composite import Rendered
from model.mim4d.loss import DIRECT, LOSS_VALUES, RECONSTRUCT, mim4d_losses
from model.mim4d.rays import Rays
from model.mim4d.render_config import LossConfig

SIGMA = 1 / 51.2


def made_up_rays(clips: int = 2, rays: int = 6, seed: int = 0) -> Rays:
    generator = torch.Generator().manual_seed(seed)
    depth_m = 2 + 20 * torch.rand(clips, rays, generator=generator)
    depth_m[:, -2:] = -1.0
    is_ray = torch.ones(clips, rays, dtype=torch.bool)
    is_ray[0, -1] = False
    return Rays(
        origin_m=torch.zeros(clips, rays, 3),
        direction=torch.zeros(clips, rays, 3),
        rgb=torch.rand(clips, rays, 3, generator=generator),
        depth_m=depth_m,
        uv_px=torch.zeros(clips, rays, 2),
        camera=torch.zeros(clips, rays, dtype=torch.long),
        is_masked=torch.rand(clips, rays, generator=generator) < 0.5,
        is_ray=is_ray,
    )


def made_up_pictures(rays: Rays, seed: int = 1) -> Rendered:
    generator = torch.Generator().manual_seed(seed)
    is_hit = torch.ones_like(rays.is_ray)
    is_hit[-1, 0] = False
    return Rendered(
        rgb=torch.rand(rays.rgb.shape, generator=generator).requires_grad_(),
        depth_m=(20 * torch.rand(rays.depth_m.shape, generator=generator)).requires_grad_(),
        opacity=torch.rand(rays.depth_m.shape, generator=generator),
        normal=torch.zeros_like(rays.rgb),
        eikonal=torch.rand(rays.depth_m.shape, generator=generator).requires_grad_(),
        is_hit=is_hit,
    )


def part(values: Rendered | Rays, clip: int) -> Rendered | Rays:
    if isinstance(values, Rendered):
        return Rendered(*(one[clip : clip + 1] for one in values))
    return Rays(*(one[clip : clip + 1] for one in vars(values).values()))


def by_hand(seen: Rendered, rays: Rays, *, masked_only: bool = False) -> tuple[float, float, float]:
    """Terms of one target frame, ray by ray."""
    terms = torch.zeros(3, dtype=torch.double)
    for clip in range(len(rays.rgb)):
        colours, depths, lengths = [], [], []
        for ray in range(rays.rgb.shape[1]):
            if not (rays.is_ray[clip, ray] and seen.is_hit[clip, ray]) or (masked_only and not rays.is_masked[clip, ray]):
                continue
            colours.append((seen.rgb[clip, ray] - rays.rgb[clip, ray]).abs().mean().item())
            lengths.append(seen.eikonal[clip, ray].item())
            if rays.depth_m[clip, ray] > 0:
                depths.append(abs(seen.depth_m[clip, ray] - rays.depth_m[clip, ray]).item() * SIGMA)
        for number, found in enumerate((colours, depths, lengths)):
            terms[number] += sum(found) / max(len(found), 1) / len(rays.rgb)
    return tuple(terms.tolist())


def test_loss_when_two_frames_are_rendered_in_two_modes_then_is_the_weighted_mean_over_frames_of_the_sum_over_modes() -> None:
    rays = [made_up_rays(seed=0), made_up_rays(seed=5)]
    pictures = {mode: [made_up_pictures(one, 10 * k + len(mode)) for k, one in enumerate(rays)] for mode in (DIRECT, RECONSTRUCT)}
    found = mim4d_losses(pictures, rays, sigma=SIGMA, config=LossConfig(rgb=10, depth=7, eikonal=0.5))
    expected = 0.0
    for mode in pictures:
        terms = [by_hand(seen, one) for seen, one in zip(pictures[mode], rays, strict=True)]
        for k, name in enumerate(("rgb", "depth", "eikonal")):
            assert found[f"{mode}_{name}"].item() == pytest.approx((terms[0][k] + terms[1][k]) / 2, rel=1e-5)
        expected += sum(10 * rgb + 7 * depth + 0.5 * eikonal for rgb, depth, eikonal in terms) / 2
    assert found["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert tuple(found) == LOSS_VALUES
    assert [name for name, value in found.items() if value.requires_grad] == ["loss"]


def test_loss_when_a_metre_off_then_is_ten_times_sigma() -> None:
    rays = made_up_rays()
    seen = made_up_pictures(rays)._replace(rgb=rays.rgb, depth_m=rays.depth_m + 1.0, is_hit=torch.ones_like(rays.is_ray))
    found = mim4d_losses({RECONSTRUCT: [seen]}, [rays], sigma=SIGMA, config=LossConfig())
    assert found["loss"].item() == pytest.approx(0.1953125, rel=1e-4)  # docs/method/mim4d.md#rendering-loss
    assert found["reconstruct_depth"].item() == pytest.approx(0.01953125, rel=1e-4)


def test_loss_when_there_is_no_reconstruction_then_the_direct_one_counts_twice() -> None:
    rays = made_up_rays()
    seen = made_up_pictures(rays)
    alone = mim4d_losses({DIRECT: [seen]}, [rays], sigma=SIGMA, config=LossConfig())
    both = mim4d_losses({DIRECT: [seen], RECONSTRUCT: [seen]}, [rays], sigma=SIGMA, config=LossConfig())
    torch.testing.assert_close(alone["loss"], both["loss"])
    assert alone["reconstruct_rgb"].isnan() and alone["reconstruct_opacity"].isnan() and alone["direct_rgb"] > 0


def test_loss_when_hidden_pixels_only_count_then_others_get_no_gradient() -> None:
    rays = made_up_rays()
    seen = made_up_pictures(rays)
    found = mim4d_losses({DIRECT: [seen]}, [rays], sigma=SIGMA, config=LossConfig(loss_pixels="masked"))
    rgb, depth, _ = by_hand(seen, rays, masked_only=True)
    assert found["loss"].item() == pytest.approx(2 * (10 * rgb + 10 * depth), rel=1e-5)
    found["loss"].backward()
    assert seen.rgb.grad is not None and seen.rgb.grad[rays.is_masked].any() and not seen.rgb.grad[~rays.is_masked].any()
    everywhere = mim4d_losses({DIRECT: [seen]}, [rays], sigma=SIGMA, config=LossConfig())
    assert torch.equal(found["direct_rgb_visible"], everywhere["direct_rgb_visible"])  # told whatever counts


def test_loss_when_no_ray_is_valid_then_is_zero_with_a_gradient_of_zero() -> None:
    rays = made_up_rays()
    for is_ray, is_hit in ((False, True), (True, False)):
        nothing = Rays(**{**vars(rays), "is_ray": torch.full_like(rays.is_ray, is_ray)})
        seen = made_up_pictures(rays)._replace(is_hit=torch.full_like(rays.is_ray, is_hit))
        found = mim4d_losses({DIRECT: [seen], RECONSTRUCT: [seen]}, [nothing], sigma=SIGMA, config=LossConfig(eikonal=1.0))
        assert found["loss"] == 0
        found["loss"].backward()
        for values in (seen.rgb, seen.depth_m, seen.eikonal):
            assert values.grad is not None and not values.grad.any()
        assert all(found[f"direct_{name}"].isnan() for name in ("rgb_masked", "rgb_visible", "depth_visible_m", "opacity"))


def test_loss_when_no_ray_is_measured_then_colour_alone_counts() -> None:
    rays = made_up_rays()
    unmeasured = Rays(**{**vars(rays), "depth_m": torch.full_like(rays.depth_m, -1.0)})
    seen = made_up_pictures(rays)
    found = mim4d_losses({DIRECT: [seen]}, [unmeasured], sigma=SIGMA, config=LossConfig())
    assert found["loss"].item() == pytest.approx(20 * by_hand(seen, rays)[0], rel=1e-5)
    assert found["direct_depth"] == 0 and found["direct_depth_masked_m"].isnan()


def test_loss_when_two_clips_are_a_batch_then_is_the_mean_of_each_alone() -> None:  # G14
    rays = made_up_rays()
    rays.depth_m[1, 1:] = -1.0  # far fewer measured rays in one of them
    seen = made_up_pictures(rays)
    config = LossConfig(eikonal=1.0)
    together = mim4d_losses({DIRECT: [seen]}, [rays], sigma=SIGMA, config=config)["loss"]
    alone = [mim4d_losses({DIRECT: [part(seen, k)]}, [part(rays, k)], sigma=SIGMA, config=config)["loss"] for k in range(2)]
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2)


def test_values_when_told_by_kind_of_pixel_then_are_means_over_those_rays() -> None:
    rays = made_up_rays()
    seen = made_up_pictures(rays)
    found = mim4d_losses({DIRECT: [seen]}, [rays], sigma=SIGMA, config=LossConfig())
    counts = rays.is_ray & seen.is_hit
    for name, kind in (("masked", rays.is_masked), ("visible", ~rays.is_masked)):
        wrong_rgb = (seen.rgb - rays.rgb).abs()[counts & kind].mean()
        wrong_m = (seen.depth_m - rays.depth_m).abs()[counts & kind & (rays.depth_m > 0)].mean()
        torch.testing.assert_close(found[f"direct_rgb_{name}"], wrong_rgb.detach())
        torch.testing.assert_close(found[f"direct_depth_{name}_m"], wrong_m.detach())
    torch.testing.assert_close(found["direct_opacity"], seen.opacity[counts].mean())


@pytest.mark.parametrize(
    ("modes", "num_frames", "message"),
    [
        ((DIRECT,), 0, "there is no target frame"),
        ((), 1, r"rendered modes are \[\]; expected one or both of direct, reconstruct"),
        ((DIRECT, "copied"), 1, r"rendered modes are \['copied', 'direct'\]"),
        ((DIRECT,), 2, "mode direct has 1 renderings for 2 target frames"),
    ],
)
def test_loss_when_renderings_and_frames_do_not_fit_then_error_says_what_is_missing(modes, num_frames, message) -> None:
    rays = made_up_rays()
    with pytest.raises(InputError, match=message):
        mim4d_losses({mode: [made_up_pictures(rays)] for mode in modes}, [rays] * num_frames, sigma=SIGMA, config=LossConfig())


def test_config_when_all_weights_are_zero_then_error_says_so() -> None:
    with pytest.raises(ValidationError, match="nothing to learn from"):
        LossConfig(rgb=0, depth=0)


def test_losses_when_processes_share_a_batch_then_the_mean_of_theirs_is_that_of_the_joined_batch():
    rays = made_up_rays(clips=4)
    seen = made_up_pictures(rays)
    config = LossConfig()
    joined = mim4d_losses({DIRECT: [seen]}, [rays], sigma=SIGMA, config=config)["loss"]
    alone = [
        mim4d_losses({DIRECT: [part(seen, clip)]}, [part(rays, clip)], sigma=SIGMA, config=config)["loss"] for clip in range(4)
    ]
    assert float(torch.stack(alone).mean().detach()) == pytest.approx(float(joined.detach()), rel=1e-6)
