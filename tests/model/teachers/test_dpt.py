"""The real loading code on tiny networks with random weights, saved by transformers itself; no published weights were at hand."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from model.teachers.dpt import DptTeacher, shown_size
from model.teachers.learned_map import TeacherLoadError

transformers = pytest.importorskip("transformers", reason="the extra 'mono' is not installed")

COLOURS = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def save_dpt(folder):
    torch.manual_seed(0)
    config = transformers.DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=64, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
        reassemble_factors=[4, 2, 1, 0.5],
    )  # fmt: skip
    network = transformers.DPTForDepthEstimation(config)
    with torch.no_grad():
        for parameter in network.parameters():  # its own start is so small that the image is lost in rounding
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
        for layer in network.head.head:
            if hasattr(layer, "bias"):
                layer.bias.fill_(0.5)  # and may end below the last ReLU everywhere
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(COLOURS))
    return network.eval()


def save_depth_anything(folder, **changes):
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14, out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False, mlp_ratio=1,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, patch_size=14, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        head_hidden_size=8, **changes,
    )  # fmt: skip
    network = transformers.DepthAnythingForDepthEstimation(config)
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(COLOURS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("dpt")
    save_dpt(made)
    return made


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def teacher_at(folder, *, short_side_px=64, multiple_px=32):
    return DptTeacher(str(folder), short_side_px=short_side_px, multiple_px=multiple_px, accelerator="cpu")


def test_size_when_the_image_is_of_nuscenes_then_384_by_a_multiple_of_32():
    assert shown_size(900, 1600, short_side_px=384, multiple_px=32) == (384, 672)
    assert shown_size(1600, 900, short_side_px=384, multiple_px=32) == (672, 384)
    assert shown_size(900, 1600, short_side_px=518, multiple_px=14) == (518, 924)


def test_dpt_when_asked_then_a_map_of_the_size_it_was_shown(folder):
    found = teacher_at(folder).predict(image(45, 80))
    assert found.value.shape == (64, 128)
    assert found.value.dtype == np.float32
    assert (found.kind, found.confidence, found.is_sky) == ("inverse_relative", None, None)
    assert np.isfinite(found.value).all() and found.value.std() > 0
    assert set(teacher_at(folder).provenance()) == {"torch", "transformers", "teacher_device"}


def test_dpt_when_the_image_is_square_then_equals_transformers_own_way(folder, tmp_path):
    network = save_dpt(tmp_path)
    pixels = image(64, 64)
    given = torch.from_numpy((pixels / 255.0 - 0.5) / 0.5).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = network(pixel_values=given).predicted_depth[0].numpy()
    assert np.allclose(teacher_at(folder).predict(pixels).value, expected, atol=1e-5)


def test_dpt_when_the_image_is_wide_then_rows_and_columns_are_not_confused(folder):
    """A patch that differs must change the map around its own place, in a wide image as in a tall one."""
    teacher = teacher_at(folder)
    for height, width, row, column in ((64, 256, 32, 240), (256, 64, 240, 32)):
        plain = np.full((height, width, 3), 90, np.uint8)
        marked = plain.copy()
        marked[row - 8 : row + 8, column - 8 : column + 8] = 255
        change = np.abs(teacher.predict(marked).value - teacher.predict(plain).value)
        assert change.shape == (height, width)
        where = np.unravel_index(change.argmax(), change.shape)
        assert abs(where[0] - row) < 48 and abs(where[1] - column) < 48


@pytest.mark.parametrize(
    ("changes", "kind"), [({}, "inverse_relative"), ({"depth_estimation_type": "metric", "max_depth": 80}, "metric")]
)
def test_depth_anything_when_its_config_says_metric_then_metres(tmp_path, changes, kind):
    save_depth_anything(tmp_path, **changes)
    found = teacher_at(tmp_path, short_side_px=56, multiple_px=14).predict(image(45, 80))
    assert found.value.shape == (56, 98)
    assert found.kind == kind


def test_depth_anything_when_the_multiple_does_not_fit_its_patches_then_says_which_does(tmp_path):
    save_depth_anything(tmp_path)
    with pytest.raises(
        TeacherLoadError,
        match=r"look at patches of 14 pixels, .*multiple_px is 32. Set it to a multiple of 14, and short_side_px to 518",
    ):
        teacher_at(tmp_path)


def test_weights_when_they_do_not_fit_then_says_what_is_expected(folder, tmp_path, monkeypatch):
    with pytest.raises(TeacherLoadError, match=r"cannot be loaded: .* Give a folder that transformers' save_pretrained wrote"):
        teacher_at(tmp_path)
    transformers.Dinov2Config().save_pretrained(tmp_path)
    with pytest.raises(TeacherLoadError, match=r"are a model of type 'dinov2', expected dpt \(MiDaS 3, DPT\) or depth_anything"):
        teacher_at(tmp_path)
    save_dpt(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(
        TeacherLoadError, match=r"image_mean and image_std cannot be read from preprocessor_config.json .*own colours"
    ):
        teacher_at(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TeacherLoadError, match=r"teacher dpt needs transformers, .* Run: pip install 'depthmill\[mono\]'"):
        teacher_at(folder)
