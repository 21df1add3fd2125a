from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from model.errors import InputError
from model.mim4d.temporal_config import TemporalConfig
from model.mim4d.temporal_decoder import TemporalDecoder, fold_height, unfold_height
from model.mim4d.voxel_grid import VoxelGrid

PUBLISHED_GRID = VoxelGrid((-51.2, -51.2, -5.0), (51.2, 51.2, 3.0), (5, 128, 128))
GRID = VoxelGrid((-4.0, -4.0, -1.0), (4.0, 4.0, 1.0), (2, 8, 8))
SMALL = {
    "embed_channels": 16,
    "short_heads": 4,
    "long_heads": 2,
    "num_points": 2,
    "short_hidden": 16,
    "long_hidden": 16,
    "num_time_periods": 4,
}
CHANNELS = 4
DEFAULT = TemporalConfig(**SMALL)
RELEASED = TemporalConfig.released().model_copy(update=SMALL)
KINDS = pytest.mark.parametrize("config", [DEFAULT, RELEASED], ids=["default", "released"])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def decoder_of(config: TemporalConfig, *, num_frames: int = 3, grid: VoxelGrid = GRID, perturbed: float = 0.2) -> TemporalDecoder:
    """A decoder off its start, where neither content nor time has an effect on where attention looks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = TemporalDecoder(config, channels=CHANNELS, num_frames=num_frames, grid=grid)
    with torch.no_grad():
        for index, parameter in enumerate(decoder.parameters()):
            parameter.add_(perturbed * torch.randn(parameter.shape, generator=generator(index)))
    return decoder


def clip_of(batch: int, *, num_frames: int = 3, grid: VoxelGrid = GRID, seed: int = 0) -> dict[str, Tensor]:
    """Random volumes of a vehicle that drives about half a voxel a frame and turns a little."""
    volumes = torch.randn(batch, num_frames, CHANNELS, *grid.shape_zyx, generator=generator(seed))
    world_from_rig = torch.eye(4).repeat(batch, num_frames, 1, 1)
    for frame in range(num_frames):
        yaw = 0.03 * frame
        world_from_rig[:, frame, :2, :2] = torch.tensor([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
        world_from_rig[:, frame, 0, 3] = 500.0 - 0.6 * frame
    time_s = -0.5 * torch.arange(num_frames).expand(batch, -1)
    return {"volumes": volumes, "world_from_rig": world_from_rig, "time_s": time_s}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_decoder_when_full_size_and_released_then_it_has_the_published_number_of_parameters() -> None:
    decoder = TemporalDecoder(TemporalConfig.released(), channels=32, num_frames=3, grid=PUBLISHED_GRID)
    assert count(decoder) == 3_752_896
    assert count(decoder.short.queries) + count(decoder.long.queries) == 3_145_728
    assert (count(decoder.short.layers), count(decoder.long.layers)) == (211_296, 89_568)


def test_decoder_when_full_size_and_default_then_only_what_knows_of_time_differs() -> None:
    decoder = TemporalDecoder(TemporalConfig(), channels=32, num_frames=3, grid=PUBLISHED_GRID)
    of_time = 128 * 16 + 2 * (2 * 128 * 16) + 2 * (2 * 64 * 16)
    of_three_frames = 3 * 128
    of_second_long_source = 2 * (64 + 1) * (16 + 8)
    assert count(decoder) == 3_752_896 + of_time - of_three_frames - of_second_long_source == 3_763_728


def test_decoder_when_tiny_then_it_has_the_size_that_the_specification_trained() -> None:
    tiny = TemporalConfig.released().model_copy(update={"embed_channels": 64, "short_hidden": 128, "long_hidden": 64})
    grid = VoxelGrid((-25.6, -25.6, -5.0), (25.6, 25.6, 3.0), (5, 32, 32))
    assert count(TemporalDecoder(tiny, channels=16, num_frames=3, grid=grid)) == 247_744


@KINDS
@pytest.mark.parametrize("is_training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("target", [0, 1, 2])
def test_decoder_when_a_frame_is_withheld_then_its_images_have_exactly_no_gradient(
    config: TemporalConfig, is_training: bool, target: int
) -> None:
    decoder = decoder_of(config).train(is_training)
    before = nn.Sequential(nn.Conv3d(3, CHANNELS, 3, padding=1), nn.GroupNorm(2, CHANNELS), nn.ReLU()).train(is_training)
    clip = clip_of(2)
    lifted = torch.randn(2, 3, 3, *GRID.shape_zyx, generator=generator(1), requires_grad=True)
    clip["volumes"] = before(lifted.flatten(0, 1)).unflatten(0, (2, 3))
    decoder(**clip, targets=[target, target]).square().sum().backward()
    assert lifted.grad is not None
    per_frame = lifted.grad.abs().amax(dim=(0, 2, 3, 4, 5))
    assert per_frame[target] == 0.0
    # released, the short branch reads one frame and the long one both
    assert (per_frame[[frame for frame in range(3) if frame != target]] > 1e-4).all()


def test_decoder_when_batch_norm_comes_before_it_then_in_training_the_withheld_frame_does_leak() -> None:
    decoder, norm = decoder_of(DEFAULT), nn.BatchNorm3d(CHANNELS)
    clip = clip_of(1)
    raw = clip["volumes"].clone().requires_grad_()
    clip["volumes"] = norm(raw.flatten(0, 1)).unflatten(0, (1, 3))
    decoder(**clip, targets=[1]).square().sum().backward()
    assert raw.grad is not None and raw.grad[:, 1].abs().max() > 1e-4


@KINDS
def test_decoder_when_the_withheld_volume_is_not_a_number_then_nothing_changes(config: TemporalConfig) -> None:
    decoder = decoder_of(config)
    for target in range(3):
        clip = clip_of(1)
        whole = decoder(**clip, targets=[target])
        clip["volumes"][:, target] = float("nan")
        assert torch.equal(decoder(**clip, targets=[target]), whole)


@KINDS
def test_decoder_when_clips_of_a_batch_withhold_different_frames_then_each_is_as_alone(config: TemporalConfig) -> None:
    decoder = decoder_of(config)
    clip, targets = clip_of(3), [2, 0, 1]
    clip["time_s"] = clip["time_s"] * torch.tensor([[1.0], [0.2], [2.0]])
    with torch.no_grad():
        together = decoder(**clip, targets=targets)
        for index in range(3):
            alone = decoder(
                **{name: value[index : index + 1] for name, value in clip.items()}, targets=targets[index : index + 1]
            )
            assert torch.allclose(alone[0], together[index], atol=1e-5)


@KINDS
def test_decoder_when_trained_then_gradient_reaches_every_parameter(config: TemporalConfig) -> None:
    decoder = decoder_of(config)
    rebuilt = decoder(**clip_of(2), targets=[0, 1])
    (rebuilt * torch.randn(rebuilt.shape, generator=generator(2))).sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        gradient = parameter.grad[:-1] if name == "frame_embedding" else parameter.grad
        assert gradient.abs().max() > 0, name
    if config is RELEASED:
        # a clip of 3 frames leaves 2 sources; the public code has the third row too
        assert decoder.frame_embedding.grad is not None and (decoder.frame_embedding.grad[-1] == 0).all()


def test_decoder_when_trained_on_one_clip_then_it_learns_the_withheld_volume() -> None:
    decoder = decoder_of(DEFAULT, perturbed=0.0)
    clip = clip_of(1)
    wanted = clip["volumes"][:, 1]
    losses = []
    for _ in range(40):
        loss = (decoder(**clip, targets=[1]) - wanted).square().mean()
        decoder.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in decoder.parameters():
                assert parameter.grad is not None
                parameter.sub_(parameter.grad)
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_decoder_when_built_twice_from_one_seed_then_it_says_the_same() -> None:
    clip = clip_of(1)
    first, second = (decoder_of(DEFAULT)(**clip, targets=[1]) for _ in range(2))
    assert torch.equal(first, second)


def test_decoder_when_it_starts_then_embeddings_have_unit_variance_and_attention_its_own_start() -> None:
    torch.manual_seed(0)
    timed = TemporalDecoder(DEFAULT.model_copy(update={"embed_channels": 512}), channels=CHANNELS, num_frames=3, grid=GRID)
    features = timed._time_features(torch.tensor([-0.5, 0.08, 1.0]))
    assert timed.time_embedding(features).std(dim=-1).tolist() == pytest.approx([1.0, 1.0, 1.0], rel=0.15)
    listed = TemporalDecoder(RELEASED.model_copy(update={"embed_channels": 512}), channels=CHANNELS, num_frames=3, grid=GRID)
    assert listed.frame_embedding.std().item() == pytest.approx(1.0, rel=0.1)
    for decoder in (timed, listed):
        for layer in (*decoder.short.layers, *decoder.long.layers):
            places = layer.attention.places
            assert places.offsets.weight.abs().max() == 0 and places.offsets.bias.abs().max() == 2
            assert places.weights.weight.abs().max() == 0 and layer.attention.value.weight.abs().max() > 0


def test_decoder_when_the_same_frames_are_other_times_then_only_the_timed_one_notices() -> None:
    clip = clip_of(1)
    late = clip | {"time_s": -clip["time_s"]}
    with torch.no_grad():
        timed, listed = decoder_of(DEFAULT), decoder_of(RELEASED)
        assert (timed(**clip, targets=[1]) - timed(**late, targets=[1])).abs().max() > 1e-2
        assert torch.equal(listed(**clip, targets=[1]), listed(**late, targets=[1]))


def test_decoder_when_all_times_shift_together_then_nothing_changes() -> None:
    clip = clip_of(1)
    shifted = clip | {"time_s": clip["time_s"] + 16.0}
    decoder = decoder_of(DEFAULT)
    with torch.no_grad():
        assert torch.equal(decoder(**clip, targets=[2]), decoder(**shifted, targets=[2]))


def test_decoder_when_short_is_adjacent_then_its_branch_reads_the_neighbours_alone() -> None:
    decoder = decoder_of(DEFAULT, num_frames=5)
    seen: list[dict[str, Tensor]] = []
    decoder.short.register_forward_hook(
        lambda module, args, kwargs, out: seen.append(kwargs | {"values": args[0]}), with_kwargs=True
    )
    clip = clip_of(1, num_frames=5)
    clip["volumes"].requires_grad_()
    for target, neighbours in ((0, [1]), (2, [1, 3]), (4, [3])):
        decoder(**clip, targets=[target])
        given = seen.pop()
        (gradient,) = torch.autograd.grad((given["values"] * given["share"][..., None, None]).square().sum(), clip["volumes"])
        read = gradient.abs().amax(dim=(0, 2, 3, 4, 5)).nonzero().flatten().tolist()
        assert read == neighbours
        difference_s = clip["time_s"][0, neighbours] - clip["time_s"][0, target]
        assert torch.equal(given["times"][given["share"] > 0], decoder._time_features(difference_s))


def test_decoder_when_timed_then_a_clip_of_another_length_works() -> None:
    decoder = decoder_of(DEFAULT, num_frames=3)
    for num_frames in (2, 5):
        assert decoder(**clip_of(1, num_frames=num_frames), targets=[1]).shape == (1, CHANNELS, 2, 8, 8)
    with pytest.raises(
        InputError, match="clip has 5 frames, a decoder with time_embed: list_position was made for 3; give clips of"
    ):
        decoder_of(RELEASED)(**clip_of(1, num_frames=5), targets=[1])


@pytest.mark.parametrize("config", [DEFAULT, RELEASED.model_copy(update={"warp": "metric"})], ids=["default", "listed"])
def test_decoder_when_the_world_is_still_then_where_the_vehicle_was_at_the_sources_makes_no_difference(
    config: TemporalConfig,
) -> None:
    grid = VoxelGrid((-12.0, -12.0, -1.0), (12.0, 12.0, 1.0), (2, 24, 24))
    decoder = decoder_of(config, grid=grid, perturbed=0.02)
    world = torch.randn(1, CHANNELS, 2, 28, 28, generator=generator(3))
    clip = clip_of(1, grid=grid)
    clip["world_from_rig"] = torch.eye(4).repeat(1, 3, 1, 1)
    clip["volumes"] = world[:, None, ..., 2:26, 2:26].repeat(1, 3, 1, 1, 1, 1)
    moved = {name: value.clone() for name, value in clip.items()}
    # frame 0 was one voxel farther along x, frame 2 two voxels back and one to the right; the target, frame 1, stands where it did
    for frame, (x, y) in ((0, (1, 0)), (2, (-2, -1))):
        moved["world_from_rig"][:, frame, 0, 3], moved["world_from_rig"][:, frame, 1, 3] = x, y
        moved["volumes"][:, frame] = world[..., 2 + y : 26 + y, 2 + x : 26 + x]
    with torch.no_grad():
        stood, drove = decoder(**clip, targets=[1]), decoder(**moved, targets=[1])
    # what is seen by one of them only lies at the edge; attention looks about 2 cells away, the last convolution 1
    inner = (..., slice(7, -7), slice(7, -7))
    assert (stood - drove)[inner].abs().max() < 1e-3
    assert (stood - drove).abs().max() > 0.1


def test_decoder_when_the_vehicle_drove_then_the_released_warp_says_something_else() -> None:
    clip = clip_of(1)
    metric, released = (
        decoder_of(DEFAULT.model_copy(update={"warp": warp}), perturbed=0.02) for warp in ("metric", "released_index_bug")
    )
    with torch.no_grad():
        assert (metric(**clip, targets=[1]) - released(**clip, targets=[1])).abs().max() > 0.1
        clip["world_from_rig"][:] = torch.eye(4)
        assert torch.allclose(metric(**clip, targets=[1]), released(**clip, targets=[1]), atol=1e-4)


def test_layer_when_called_then_position_is_seen_by_attention_alone_and_both_sums_are_normalised() -> None:
    layer = decoder_of(RELEASED).long.layers[0]
    random = generator(5)
    queries, values = torch.randn(2, 64, 8, generator=random), torch.randn(2, 2, 64, 8, generator=random)
    position, share = torch.randn(64, 8, generator=random), torch.full((2, 2), 0.5)
    with torch.no_grad():
        answer = layer(queries, position, values, size_yx=(8, 8), share=share, times=None)
        found = layer.attention(queries + position, values, size_yx=(8, 8), share=share)
        middle = layer.attention_norm(queries + found)
        expected = layer.output_norm(middle + layer.contract(layer.expand(middle).clamp(min=0)))
    assert torch.allclose(answer, expected, atol=1e-5)


def test_decoder_when_the_grid_has_more_cells_then_interpolated_queries_serve_it_and_others_refuse() -> None:
    finer = dataclasses.replace(GRID, shape_zyx=(2, 12, 10))
    assert decoder_of(DEFAULT)(**clip_of(1, grid=finer), targets=[1], grid=finer).shape == (1, CHANNELS, 2, 12, 10)
    with pytest.raises(InputError, match="learned queries are for 8 x 8 cells .y, x., the volume has 12 x 10"):
        decoder_of(RELEASED)(**clip_of(1, grid=finer), targets=[1], grid=finer)


def test_decoder_when_the_table_of_queries_is_coarser_then_it_has_its_own_size() -> None:
    decoder = decoder_of(DEFAULT.model_copy(update={"query_grid_yx": (4, 2)}))
    assert decoder.short.queries.table.shape == (8, 16)
    assert decoder(**clip_of(1), targets=[1]).shape == (1, CHANNELS, 2, 8, 8)


def test_decoder_when_under_autocast_then_it_is_near_full_precision() -> None:
    decoder, clip = decoder_of(DEFAULT, perturbed=0.0), clip_of(1)
    with torch.no_grad():
        exact = decoder(**clip, targets=[1])
        with torch.autocast("cpu", torch.bfloat16):
            rounded = decoder(**clip, targets=[1])
    assert (rounded.float() - exact).abs().mean() < 0.03 * exact.abs().mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"volumes": torch.zeros(1, 3, 5, 2, 8, 8)},
            r"volumes have shape \(1, 3, 5, 2, 8, 8\), expected \(B, T, 4, 2, 8, 8\); give them",
        ),
        ({"world_from_rig": torch.zeros(1, 2, 4, 4)}, r"world_from_rig has shape \(1, 2, 4, 4\), expected \(1, 3, 4, 4\)"),
        (
            {"time_s": torch.zeros(1, 3, dtype=torch.int64)},
            r"time_s is torch.int64 \(1, 3\), expected floating-point \(1, 3\); give seconds",
        ),
        ({"targets": [0, 1]}, "targets name 2 frames, expected 1: the withheld frame of each clip"),
        ({"targets": [3]}, "target frame is 3, expected 0 to 2"),
    ],
)
def test_decoder_when_an_input_does_not_fit_then_it_says_which(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        decoder_of(DEFAULT)(**({**clip_of(1), "targets": [1]} | change))  # type: ignore[arg-type]


def test_decoder_when_the_grid_has_other_heights_then_it_says_so() -> None:
    lower = dataclasses.replace(GRID, shape_zyx=(3, 8, 8))
    with pytest.raises(
        InputError, match="the voxel grid has 3 heights, the decoder was made for 2; only rows and columns can differ"
    ):
        decoder_of(DEFAULT)(**clip_of(1, grid=lower), targets=[1], grid=lower)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"embed_channels": 130, "long_reduction": 4},
            "embed_channels is 130, which long_reduction 4 does not divide; change one",
        ),
        ({"short_heads": 3}, "the short branch has 128 channels, which short_heads 3 does not divide; change one of them"),
        ({"long_heads": 3}, "the long branch has 64 channels, which long_heads 3 does not divide; change one of them"),
        (
            {"embed_channels": 12, "long_heads": 1},
            "the long branch has 6 channels, expected a multiple of 4: a sine and a cosine",
        ),
        ({"shortest_period_s": 9.0}, "shortest_period_s is 9, more than longest_period_s 8; swap them"),
        ({"query_grid_yx": (0, 4)}, r"query_grid_yx is \(0, 4\), expected one row and one column or more; or leave it out"),
        (
            {"query_grid_yx": (4, 4), "queries": "per_cell"},
            r"query_grid_yx is \(4, 4\), but queries is per_cell: one for each cell",
        ),
        ({"warp": "released"}, "Input should be 'metric' or 'released_index_bug'"),
    ],
)
def test_config_when_options_do_not_fit_together_then_it_says_which(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TemporalConfig(**options)  # type: ignore[arg-type]


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
