"""The confidence of depth_accumulated on its way from the store into the loss."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from model.data.ordered_loader import Placement
from model.semodepth.config import AugmentConfig, DataConfig, SemoDepthTrainConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from model.train.known_families import parse_config
from storage_schemas.errors import ManifestError, RecipeError
from tests.model.data.made_up_store import write_store

FRAMES = (5, 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store whose pixels have random confidence."""
    return write_store(tmp_path_factory.mktemp("store"), frames=FRAMES, accumulated="with confidence")


def test_weight_when_nothing_is_drawn_then_what_the_store_holds(made):
    config = DataConfig(batch_size=2, order="manifest")
    for num_workers in (0, 2):
        with FrameLoader(made.manifest, config, placement=Placement(num_workers=num_workers), with_confidence=True) as loader:
            for batch in loader:
                weight = dense_batch(batch, max_depth_m=120.0).target_weight
                for k, key in enumerate(batch.frame_keys):
                    np.testing.assert_array_equal(weight[k], made.confidence[key] * np.float32(1.0 / 255.0))


def test_weight_when_not_asked_for_then_is_absent(made):
    batch = next(iter(FrameLoader(made.manifest, DataConfig(batch_size=2))))
    assert batch.confidence_u8 is None and dense_batch(batch, max_depth_m=120.0).target_weight is None


@pytest.mark.parametrize(
    "augment",
    [
        pytest.param({"flip_probability": 0.5}, id="flips"),
        pytest.param({"flip_probability": 0.5, "crop_px": (11, 13)}, id="flips and crops"),
        pytest.param(
            {"flip_probability": 0.5, "scale_probability": 1.0, "crop_px": (20, 30)}, id="flips, scales, crops and borders"
        ),
    ],
)
def test_weight_when_views_are_drawn_then_each_pixel_keeps_the_weight_of_its_own_target(made, augment):
    config = DataConfig(batch_size=3, augment=AugmentConfig(**augment), seed=3)
    num_checked = 0
    for batch in FrameLoader(made.manifest, config, with_confidence=True):
        dense = dense_batch(batch, max_depth_m=120.0)
        for k, key in enumerate(batch.frame_keys):
            scale = float(batch.views.scale[k])
            steps = np.rint(dense.target_m[k].numpy() / scale * 256).astype(int)
            target, confidence = made.depth[key, "depth_clean"], made.confidence[key]
            values, first, counts = np.unique(target, return_index=True, return_counts=True)
            of_value = {int(v): int(confidence.reshape(-1)[at]) for v, at, n in zip(values, first, counts, strict=True) if n == 1}
            for step, weight in zip(steps.reshape(-1).tolist(), dense.target_weight[k].reshape(-1).tolist(), strict=True):
                if step in of_value:
                    assert weight == np.float32(of_value[step]) * np.float32(1.0 / 255.0)
                    num_checked += 1
    assert num_checked > 200


def test_weight_when_a_band_of_rows_is_read_then_of_the_same_rows(made):
    config = DataConfig(batch_size=1, order="manifest", rows=(4, 11))
    batch = next(iter(FrameLoader(made.manifest, config, with_confidence=True)))
    np.testing.assert_array_equal(batch.confidence_u8[0], made.confidence[batch.frame_keys[0]][4:11])
    np.testing.assert_array_equal(batch.target_steps[0], made.depth[batch.frame_keys[0], "depth_clean"][4:11])


def test_units_when_without_confidence_then_an_error_says_how_to_make_it(tmp_path):
    made = write_store(tmp_path, frames=(2, 2), accumulated="plain")
    text = (
        r"unit 'depth_accumulated/.*' of frame 'scene-000\d/CAM_FRONT/\d+' has no confidence \(2 of 2 units of split 'train' in "
        rf"manifest {made.manifest.path.fingerprint} have none\), and train.loss.dense_weight is confidence. "
        "Set stages.accumulate_lidar.confidence to true in the recipe and run it, or set train.loss.dense_weight to uniform"
    )
    with pytest.raises(ManifestError, match=text):
        FrameLoader(made.manifest, DataConfig(batch_size=1), with_confidence=True)


def test_manifest_when_it_has_no_accumulated_depth_then_an_error_names_the_store(tmp_path):
    made = write_store(tmp_path, frames=(2,))
    with pytest.raises(ManifestError, match=re.escape("has no depth_accumulated in manifest")):
        FrameLoader(made.manifest, DataConfig(batch_size=1), with_confidence=True)


def test_config_when_the_target_is_not_the_accumulated_depth_then_an_error_says_which_it_must_be():
    group = {"loss": {"dense_weight": "confidence"}, "data": {"dense_target": "depth_interpolated"}}
    with pytest.raises(RecipeError, match=r"data.dense_target is depth_interpolated. Set data.dense_target to depth_clean or"):
        parse_config(SemoDepthTrainConfig, group, where="recipe.yaml")


def test_training_when_weights_are_uniform_then_is_named_as_before_the_key_existed():
    config = SemoDepthTrainConfig()
    assert "dense_weight" not in config.model_dump(mode="json")["loss"]
    weighted = parse_config(SemoDepthTrainConfig, {"loss": {"dense_weight": "confidence"}}, where="recipe.yaml")
    assert weighted.fingerprint("m") != config.fingerprint("m")
    assert weighted.model_dump(mode="json")["loss"]["dense_weight"] == "confidence"


def test_step_when_weights_are_asked_for_then_a_pixel_of_weight_0_teaches_nothing(made):
    """What stands at a pixel that nobody believes does not matter."""
    from model.semodepth.depth_space import DepthSpace
    from model.semodepth.loss import composite_loss

    batch = next(iter(FrameLoader(made.manifest, DataConfig(batch_size=2, order="manifest"), with_confidence=True)))
    dense = dense_batch(batch, max_depth_m=120.0)
    weight = torch.where(dense.target_weight < 0.5, 0.0, dense.target_weight)
    other_m = torch.where(weight == 0, 119.0 * torch.rand(weight.shape), dense.target_m)
    x = torch.rand(weight.shape) * 2 - 1
    losses = [
        composite_loss(x, target_m, dense.sparse_m, space=DepthSpace(), dense_weight=weight)
        for target_m in (dense.target_m, other_m)
    ]
    assert [float(value) for value in losses[0]] == [float(value) for value in losses[1]]
