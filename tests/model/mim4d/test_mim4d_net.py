from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.errors import InputError
from model.mim4d.batch import views_of
from model.mim4d.clip_draws import ClipDraws, draw_clips
from model.mim4d.composite import Rendered
from model.mim4d.loss import mim4d_losses
from model.mim4d.mask import hide
from model.mim4d.net import Mim4d, volumes_at
from model.mim4d.network_config import Mim4dConfig
from model.mim4d.temporal_config import TemporalConfig
from tests.model.mim4d.made_up_clips import joined, small_clip, small_network


def make(config: Mim4dConfig | None = None, *, seed: int = 0) -> Mim4d:
    torch.manual_seed(seed)
    return Mim4d(config or small_network()).eval()


def rendered(network: Mim4d, views, draws: ClipDraws, *, moves: bool = False) -> dict[str, list[Rendered]]:
    return network(
        views,
        is_seen=draws.is_seen,
        targets=draws.targets,
        origin_m=[rays.origin_m for rays in draws.rays],
        direction=[rays.direction for rays in draws.rays],
        generators=draws.generators if moves else None,
    )


def loss_of(network: Mim4d, clip, *, seed: int = 0, epoch: int = 0) -> Tensor:
    draws = draw_clips(clip, network.config, seed=seed, epoch=epoch)
    found = rendered(network, views_of(clip), draws, moves=True)
    return mim4d_losses(found, draws.rays, sigma=network.config.lift.grid.sigma, config=network.config.loss)["loss"]


def num_parameters(config: Mim4dConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Mim4d(config).parameters())


def test_parameters_when_the_tiny_network_is_arranged_as_released_then_the_specifications_number():
    tiny = Mim4dConfig.tiny()
    released = TemporalConfig.released().model_dump(include={"warp", "time_embed", "short", "queries"})
    arranged = tiny.model_copy(update={"temporal": tiny.temporal.model_copy(update=released)})
    assert num_parameters(arranged) == 714_669  # 0.715 M
    # a table of 3 x 64 becomes a matrix of 16 x 64, and each attention gets offsets and weights that depend on the time
    assert num_parameters(tiny) == 720_061


def test_parameters_when_the_full_network_is_released_then_the_sum_of_the_specifications_parts():
    parts = (49_456_032, 762_752, 16_512, 8_256, 110_656, 3_752_896, 4_881, 4_451)
    assert num_parameters(Mim4dConfig.released()) == sum(parts) + 1  # the sharpness


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("backbone", [{}, {"name": "resnet34", "base_channels": 8}])
def test_rebuilt_volume_when_its_own_images_change_then_exactly_the_same(backbone, is_training):
    network = make(small_network(backbone=backbone)).train(is_training)
    clip = small_clip(0)
    draws = draw_clips(clip, network.config, seed=0, epoch=0)
    for target in range(3):
        views = views_of(clip)
        image = views.image.clone().requires_grad_()
        volumes = network.volumes(views._replace(image=image), draws.is_seen)
        rebuilt = network.reconstruct(volumes, views, [target])
        (slope,) = torch.autograd.grad(rebuilt.square().sum(), image)
        by_frame = slope[0].abs().flatten(1).amax(dim=1)
        assert by_frame[target] == 0.0
        assert all(by_frame[frame] > 0 for frame in range(3) if frame != target)


def test_rebuilt_volume_when_batch_norm_is_released_then_it_leaks_in_training_only():
    network = make(small_network(lift={"norm3d": "bn"}))
    views = views_of(small_clip(0))
    leaks = []
    for is_training in (False, True):
        network.train(is_training)
        image = views.image.clone().requires_grad_()
        rebuilt = network.reconstruct(network.volumes(views._replace(image=image)), views, [1])
        (slope,) = torch.autograd.grad(rebuilt.square().sum(), image)
        leaks.append(float(slope[0, 1].abs().max()))
    assert leaks[0] == 0.0 and leaks[1] > 0.0


def test_renderings_when_a_volume_is_withheld_then_direct_reads_it_and_reconstruct_does_not():
    network = make()
    clip = small_clip(0)
    draws = draw_clips(clip, network.config, seed=0, epoch=0)
    image = views_of(clip).image.requires_grad_()
    found = rendered(network, views_of(clip)._replace(image=image), draws)
    for number, (target,) in enumerate(draws.targets):
        for mode in ("direct", "reconstruct"):
            (slope,) = torch.autograd.grad(found[mode][number].rgb.sum(), image, retain_graph=True)
            by_frame = slope[0].abs().flatten(1).amax(dim=1)
            assert [float(one) > 0 for one in by_frame] == [(frame == target) == (mode == "direct") for frame in range(3)]


def test_renderings_when_hidden_pixels_change_then_not_a_bit():
    network = make()
    clip = small_clip(0)
    views, draws = views_of(clip), draw_clips(clip, network.config, seed=0, epoch=0)
    assert draws.is_seen is not None and 0.2 < (~draws.is_seen).float().mean() < 0.6
    hidden = hide(torch.ones(9, 1, 32, 64), ~draws.is_seen.flatten(0, 2)[:, None]).view(1, 3, 3, 1, 32, 64)
    changed = views._replace(image=views.image + 5.0 * hidden)
    before, after = rendered(network, views, draws), rendered(network, changed, draws)
    for mode in before:
        for one, other in zip(before[mode], after[mode], strict=True):
            assert torch.equal(one.rgb, other.rgb) and torch.equal(one.depth_m, other.depth_m)
    seen_too = rendered(network, views._replace(image=views.image + 5.0), draws)
    assert not torch.equal(seen_too["direct"][0].rgb, before["direct"][0].rgb)


def test_renderings_when_chunks_are_small_then_the_same():
    whole, chunked = make(), make(small_network(render={"chunk_rays": 7}))
    clip = small_clip(0)
    views, draws = views_of(clip), draw_clips(clip, whole.config, seed=0, epoch=0)
    for mode, found in rendered(whole, views, draws).items():
        again = rendered(chunked, views, draws)[mode]
        for one, other in zip(found, again, strict=True):
            torch.testing.assert_close(other.rgb, one.rgb, atol=1e-6, rtol=0)
            torch.testing.assert_close(other.depth_m, one.depth_m, atol=1e-4, rtol=0)


@pytest.mark.parametrize("backbone", [{}, {"name": "resnet34", "base_channels": 8}])
def test_loss_when_two_clips_are_one_batch_then_the_mean_of_both_with_the_same_draws(backbone):
    network = make(small_network(backbone=backbone)).train()
    clips = [small_clip(0), small_clip(1)]
    alone = [loss_of(network, clip).detach() for clip in clips]
    together = loss_of(network, joined(clips)).detach()
    torch.testing.assert_close(together, torch.stack(alone).mean(), atol=2e-5, rtol=1e-6)
    assert abs(float(alone[0] - alone[1])) > 1e-3


def test_loss_when_computed_again_then_the_same_bits_and_other_ones_in_another_epoch_or_seed():
    network = make().train()
    clip = small_clip(0)
    first = loss_of(network, clip)
    torch.manual_seed(99)  # nothing is drawn from torch's own generator
    assert torch.equal(loss_of(network, clip), first)
    assert not torch.equal(loss_of(network, clip, epoch=1), first)
    assert not torch.equal(loss_of(network, clip, seed=1), first)


def test_gradient_when_a_step_was_made_then_it_reaches_every_parameter_but_the_norm_of_the_level_that_is_not_lifted():
    network = make().train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    loss_of(network, small_clip(0)).backward()
    optimizer.step()  # the attention's offsets start without weights, so what comes before them gets no gradient at first
    optimizer.zero_grad()
    for epoch in (0, 1):
        loss_of(network, small_clip(0), epoch=epoch).backward()
    missing = [name for name, one in network.named_parameters() if one.grad is None or not one.grad.abs().max() > 0]
    assert missing == ["backbone.norms.0.weight", "backbone.norms.0.bias"]


def test_draws_when_many_epochs_then_the_key_frame_and_every_other_one():
    config = small_network()
    clip = small_clip(0)
    drawn = [draw_clips(clip, config, seed=0, epoch=epoch).targets for epoch in range(12)]
    assert {targets[0] for targets in drawn} == {(0,)}
    assert {targets[1] for targets in drawn} == {(1,), (2,)}
    random = small_network(targets="random")
    pairs = [draw_clips(clip, random, seed=0, epoch=epoch).targets for epoch in range(12)]
    assert all(first != second for first, second in pairs) and {first for first, _ in pairs} == {(0,), (1,), (2,)}


def test_draws_when_clips_are_batched_then_those_of_each_alone():
    config = small_network()
    clips = [small_clip(seed) for seed in (0, 1, 2)]
    together = draw_clips(joined(clips), config, seed=3, epoch=5)
    for number, clip in enumerate(clips):
        alone = draw_clips(clip, config, seed=3, epoch=5)
        assert torch.equal(together.is_seen[number], alone.is_seen[0])
        assert [target[number] for target in together.targets] == [target[0] for target in alone.targets]
        for one, other in zip(together.rays, alone.rays, strict=True):
            assert torch.equal(one.uv_px[number], other.uv_px[0]) and torch.equal(one.rgb[number], other.rgb[0])


def test_draws_when_points_are_held_out_then_no_ray_goes_to_them():
    config = small_network()
    clip = small_clip(0)
    clip = replace(clip, is_held_out=clip.points[:, 1] > 0)
    draws = draw_clips(clip, config, seed=0, epoch=0)
    for rays in draws.rays:
        ends_m = rays.origin_m + rays.depth_m[..., None] * rays.direction
        assert rays.is_measured.any() and (ends_m[rays.is_measured][:, 1] <= 1e-3).all()
    free = draw_clips(replace(clip, is_held_out=torch.zeros_like(clip.is_held_out)), config, seed=0, epoch=0)
    assert any((rays.direction[rays.is_measured][:, 1] > 0.3).any() for rays in free.rays)


def test_draws_when_a_frame_has_no_points_then_its_rays_have_no_depth():
    config = small_network()
    clip = small_clip(0)
    draws = draw_clips(replace(clip, is_held_out=torch.ones_like(clip.is_held_out)), config, seed=0, epoch=0)
    assert all(rays.is_ray.all() and not rays.is_measured.any() for rays in draws.rays)
    assert torch.isfinite(loss_of(make().train(), replace(clip, is_held_out=torch.ones_like(clip.is_held_out))))


def test_draws_when_nothing_is_to_be_hidden_then_there_is_no_mask():
    config = small_network(mask={"hidden_ratio": 0.0})
    draws = draw_clips(small_clip(0), config, seed=0, epoch=0)
    assert draws.is_seen is None and not any(rays.is_masked.any() for rays in draws.rays)


def test_network_when_of_single_frames_then_direct_renderings_only():
    network = make(small_network(num_frames=1)).train()
    clip = small_clip(0, num_frames=1)
    draws = draw_clips(clip, network.config, seed=0, epoch=0)
    assert draws.targets == [(0,)]
    found = rendered(network, views_of(clip), draws)
    assert list(found) == ["direct"] and len(found["direct"]) == 1
    assert torch.isfinite(loss_of(network, clip))
    volumes = network.volumes(views_of(clip))
    with pytest.raises(InputError, match=r"of single frames \(num_frames 1\), so it cannot rebuild one from others; train one"):
        network.reconstruct(volumes, views_of(clip), [0])


def test_network_when_it_splats_then_volumes_of_the_same_shape():
    lift = {"kind": "splat", "first_level": 3, "num_extra_levels": 0}
    splatting, views = make(small_network(lift=lift)), views_of(small_clip(0))
    volumes = splatting.volumes(views)
    assert volumes.shape == (1, 3, 8, 5, 8, 8) and volumes.abs().amax(dim=(2, 3, 4, 5)).min() > 0
    assert not torch.equal(volumes, make().volumes(views))


def test_volumes_when_frames_differ_by_clip_then_each_clips_own():
    volumes = torch.arange(6.0).view(2, 3, 1, 1, 1, 1)
    assert volumes_at(volumes, (2, 0)).flatten().tolist() == [2.0, 3.0]


def test_images_when_of_another_size_then_named():
    network = make()
    clip = small_clip(0, image_px=(64, 64))
    with pytest.raises(
        InputError, match=r"clip 'world-0/0' has images of 64 x 64 pixels .* the network takes 32 x 64; read them"
    ):
        draw_clips(clip, network.config, seed=0, epoch=0)
    with pytest.raises(
        InputError, match=r"images of clips are torch.float32 \(1, 3, 3, 3, 64, 64\), expected floating-point .* 3, 32, 64\)"
    ):
        network.volumes(views_of(clip))
    views = views_of(small_clip(0))
    with pytest.raises(InputError, match=r"the patch mask of clips is \(1, 3, 1, 2\), expected \(1, 3, 3\) and the patches"):
        network.volumes(views, torch.ones(1, 3, 1, 2, dtype=torch.bool))
