from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.mim4d.clip_draws import clip_generator, draw_rays
from model.mim4d.clip_errors import read_clip_rows
from model.mim4d.composite import Rendered
from model.mim4d.evaluation import (
    EVALUATION_EPOCH,
    RENDERING_FILE,
    RenderEvaluation,
    evaluate_renderings,
    read_rendering,
    render_table,
    write_render_folder,
)
from model.mim4d.net import Mim4d
from model.mim4d.ray_errors import VOLUMES
from storage_schemas.errors import ManifestError, StoreError
from tests.model.mim4d.made_up_clips import pose, small_clip, small_network

CPU = torch.device("cpu")


def evaluated(network, clips, **options) -> RenderEvaluation:
    return evaluate_renderings(network, lambda: iter(clips), rays_per_camera=16, seed=0, device=CPU, **options)


@pytest.fixture(scope="module")
def network() -> Mim4d:
    torch.manual_seed(0)
    return Mim4d(small_network()).eval()


@pytest.fixture(scope="module")
def found(network) -> RenderEvaluation:
    return evaluated(network, [small_clip(seed) for seed in (0, 1)])


class Labelled:
    """A network whose volumes say whose they are, and that shows what it is told; keeps what it was asked to show."""

    def __init__(self) -> None:
        self.config = small_network()
        self.temporal = object()
        self.shown: list[float] = []

    def volumes(self, views, is_seen):
        grid = self.config.lift.grid.shape_zyx
        labels = [100.0 * views.time_s[0, 0] + frame for frame in range(views.image.shape[1])]
        return torch.stack([torch.full((8, *grid), float(label)) for label in labels])[None]

    def reconstruct(self, volumes, views, targets):
        return -volumes[:, 0]

    def show(self, volume, origin_m, direction) -> Rendered:
        self.shown.append(round(float(volume.max()), 3))
        shape = origin_m.shape[:2]
        return Rendered(
            rgb=torch.full((*shape, 3), 0.5),
            depth_m=torch.full(shape, 10.0),
            opacity=torch.ones(shape),
            normal=torch.zeros(*shape, 3),
            eikonal=torch.zeros(shape),
            is_hit=torch.ones(shape, dtype=torch.bool),
        )


def labelled_clips(*scenes: str):
    """Clips whose first time is their number, from 1, so that a ``Labelled`` network can tell them apart."""
    clips = [small_clip(number, scene=scene) for number, scene in enumerate(scenes, start=1)]
    return [replace(clip, time_s=clip.time_s + number) for number, clip in enumerate(clips, start=1)]


def swapped_clips(*scenes: str) -> list[int]:
    """Return, for every clip, the number of the clip whose volume it is swapped with."""
    network = Labelled()
    evaluated(network, labelled_clips(*scenes))
    # of the newest frame are shown: direct, swapped, reconstruct, the same swapped, copied, warped; three frames of each clip
    return [int(network.shown[18 * clip + 1] // 100) for clip in range(len(scenes))]


@pytest.mark.parametrize(
    ("scenes", "expected"),
    [
        (("a", "a", "b"), [3, 3, 2]),
        (("a", "a", "b", "b", "c"), [3, 3, 2, 2, 4]),
        (("a", "a", "a"), [3, 3, 1]),
        (("a", "b"), [2, 1]),
    ],
)
def test_swapped_volume_when_there_are_scenes_then_it_is_of_another_one(scenes, expected):
    assert swapped_clips(*scenes) == expected


def test_volumes_when_shown_then_own_swapped_rebuilt_and_the_nearest_frames():
    network = Labelled()
    evaluated(network, labelled_clips("a", "b"))
    own, other = [100.0, 101.0, 102.0], [200.0, 201.0, 202.0]
    nearest = [101.0, 100.0, 101.0]
    for frame in range(3):
        shown = network.shown[6 * frame : 6 * frame + 6]
        assert shown[:5] == [own[frame], other[frame], -own[0], -other[0], nearest[frame]]
        assert shown[5] == pytest.approx(nearest[frame], rel=1e-4)  # warped, a constant stays what it is inside


def test_swapped_volume_when_there_is_a_single_clip_then_there_is_none(network):
    found = evaluated(network, [small_clip(0)])
    assert {row.volume for row in found.rows} == set(VOLUMES) - {"swapped", "reconstruct_swapped"} and found.num_clips == 1


def test_errors_when_depth_and_colour_are_known_then_those_of_the_formulas():
    network, clips = Labelled(), [small_clip(seed) for seed in (0, 1)]
    found = evaluated(network, clips)
    row = found.row("direct")
    assert row is not None and row.num_rays > 100
    # the same rays, once more
    config = network.config
    rays_config = config.render.rays.model_copy(update={"rays_per_camera": 16})
    config = config.model_copy(update={"render": config.render.model_copy(update={"rays": rays_config})})
    rays = []
    for clip in clips:
        generators = [clip_generator(clip.window_keys[0], seed=0, epoch=EVALUATION_EPOCH)]
        rays += draw_rays(
            clip, config, targets=[(frame,) for frame in range(3)], generators=generators, of_points=clip.is_held_out
        ).rays
    true_m = torch.cat([one.depth_m[one.is_measured] for one in rays]).double().numpy()
    colour = torch.cat([one.rgb[one.is_ray] for one in rays]).double().numpy()
    assert row.num_rays == len(true_m) and row.num_colours == len(colour)
    assert row.abs_rel == pytest.approx(np.mean(np.abs(10.0 - true_m) / true_m), rel=1e-5)
    assert row.rmse_m == pytest.approx(np.sqrt(np.mean((10.0 - true_m) ** 2)), rel=1e-5)
    assert row.delta1 == pytest.approx(np.mean(np.maximum(10.0 / true_m, true_m / 10.0) < 1.25))
    assert row.rgb_l1 == pytest.approx(np.abs(0.5 - colour).mean(), rel=1e-5)
    constant = found.row("constant")
    assert constant is not None
    assert constant.abs_rel == pytest.approx(np.mean(np.abs(np.median(true_m) - true_m) / true_m), rel=1e-5)
    assert constant.rgb_l1 == pytest.approx(np.abs(colour.mean(axis=0) - colour).mean(), rel=1e-5)
    is_masked = torch.cat([one.is_masked[one.is_measured] for one in rays]).numpy()
    masked = found.row("direct", pixels="masked")
    assert masked is not None and masked.num_rays == is_masked.sum() > 0
    assert masked.abs_rel == pytest.approx(np.mean(np.abs(10.0 - true_m[is_masked]) / true_m[is_masked]), rel=1e-5)
    key_m = torch.cat([one.depth_m[one.is_measured] for one in (rays[0], rays[3])]).double().numpy()
    key = found.row("direct", frames="key")
    assert key is not None and key.abs_rel == pytest.approx(np.mean(np.abs(10.0 - key_m) / key_m), rel=1e-5)
    (near,) = [one for one in found.rows if one.volume == "direct" and one.range_m == "0-10"]
    is_near = true_m <= 10
    assert near.num_rays == is_near.sum() and near.num_colours == 0
    assert near.abs_rel == pytest.approx(np.mean(np.abs(10.0 - true_m[is_near]) / true_m[is_near]), rel=1e-5)


def test_rows_when_split_then_the_parts_are_the_whole(found):
    for volume in VOLUMES:
        rows = {row[1:4]: row for row in found.rows if row.volume == volume}
        whole = rows["all", "all", "all"].num_rays
        assert rows["key", "all", "all"].num_rays + rows["history", "all", "all"].num_rays == whole
        assert rows["all", "masked", "all"].num_rays + rows["all", "visible", "all"].num_rays == whole
        assert sum(row.num_rays for key, row in rows.items() if key[2] != "all") == whole


def test_clips_when_measured_one_by_one_then_their_rays_make_up_the_whole(found):
    for volume in VOLUMES:
        whole = found.row(volume)
        own = [row for row in found.clips if (row.volume, row.frames) == (volume, "all")]
        assert [row.window_key for row in own] == ["world-0/0", "world-1/1"]
        assert sum(row.num_rays for row in own) == whole.num_rays
        assert sum(row.abs_rel * row.num_rays for row in own) == pytest.approx(whole.abs_rel * whole.num_rays)
        hidden = found.row(volume, pixels="masked")
        assert sum(row.hidden_rgb_l1 * row.num_hidden for row in own) == pytest.approx(hidden.rgb_l1 * hidden.num_colours)


def test_evaluation_when_repeated_then_the_same_and_the_network_is_unchanged(network, found):
    again = evaluated(network, [small_clip(seed) for seed in (0, 1)])
    assert repr(again) == repr(found)  # a NaN is not equal to itself
    assert not network.training and all(one.grad is None for one in network.parameters())


def test_copied_volume_when_the_rig_stands_still_then_warping_changes_nothing(network):
    clip = small_clip(0)
    still = replace(clip, world_from_rig=pose(0.0, 0.0).expand(1, 3, 4, 4).clone())
    found = evaluated(network, [still])
    copied, warped = found.row("copied"), found.row("copied_warped")
    assert copied is not None and warped is not None
    assert warped[4:] == pytest.approx(copied[4:], rel=1e-3)
    moved = evaluated(network, [clip])
    assert moved.row("copied_warped")[5] != pytest.approx(moved.row("copied")[5], rel=1e-3)


def test_network_when_of_single_frames_then_direct_swapped_and_constant():
    torch.manual_seed(0)
    network = Mim4d(small_network(num_frames=1)).eval()
    found = evaluated(network, [small_clip(seed, num_frames=1) for seed in (0, 1)])
    assert {row.volume for row in found.rows} == {"direct", "swapped", "constant"}
    assert {row.frames for row in found.rows} == {"all", "key"}


def test_evaluation_when_nothing_is_held_out_or_there_is_no_clip_then_said(network):
    clip = small_clip(0)
    with pytest.raises(ManifestError, match=r"1 clips have no LiDAR point that is held out, .* Choose another split in train"):
        evaluated(network, [replace(clip, is_held_out=torch.zeros_like(clip.is_held_out))])
    with pytest.raises(ManifestError, match=r"there is no clip to measure on. Choose another split"):
        evaluated(network, [])


def test_folder_when_written_then_read_back_and_a_table_to_look_at(found, tmp_path):
    write_render_folder(tmp_path, found, title="mini on val")
    back = read_rendering(tmp_path)
    assert read_clip_rows(tmp_path) == found.clips
    assert [tuple(map(str, row)) for row in back] == [tuple(map(str, row)) for row in found.rows]
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("mini on val\n\n| volume |") and "| copied_warped | all | all |" in text
    assert text == f"mini on val\n\n{render_table(found.rows)}\n"
    assert len({line.count("|") for line in text.split("\n\n")[1].splitlines()}) == 1


def test_folder_when_missing_or_damaged_then_named(tmp_path):
    with pytest.raises(StoreError, match=r"holds no evaluation of MIM4D \(rendering.csv is missing\). Run depthmill evaluate"):
        read_rendering(tmp_path)
    (tmp_path / RENDERING_FILE).write_text("volume,frames\n")
    with pytest.raises(StoreError, match=r"cannot be read: its columns are volume, frames, expected volume, frames, pixels"):
        read_rendering(tmp_path)
