from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model.blocks.dense_teacher_loss import dense_teacher_loss
from model.monoddle.affine_view import centred_view
from model.monoddle.config import DistillConfig
from model.monoddle.loss import foreground_weight
from model.monoddle.reader import DetectionReader, DetectionReading
from storage_schemas.frozen_config import every_key
from tests.model.monoddle.tiny_network import tiny_config


def test_weight_when_near_an_object_then_up_to_the_foregrounds_and_zero_without_a_value():
    heatmap = torch.tensor([[[[0.0, 1.0, 0.5, 1.0]], [[0.0, 0.2, 0.8, 0.0]]]])
    is_valid = torch.tensor([[[True, True, True, False]]])
    assert foreground_weight(heatmap, is_valid).tolist() == [[pytest.approx([1, 5, 4.2, 0])]]
    assert foreground_weight(heatmap, is_valid, foreground=1.0).tolist() == [[[1, 1, 1, 0]]]


def test_distillation_when_worked_out_by_hand_then_the_specifications_values():
    pred, teacher = torch.tensor([[[2.0, 4.0]]]), torch.tensor([[[2.0, 8.0]]])
    weight = foreground_weight(torch.tensor([[[[0.0, 1.0]]]]), teacher > 0)
    options = {"is_valid": teacher > 0, "weight": weight}
    assert float(dense_teacher_loss(pred, teacher, form="l1", **options).loss) == pytest.approx(3.33333, abs=1e-5)
    assert float(dense_teacher_loss(pred, teacher, form="silog", **options).loss) == pytest.approx(0.424464, abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1.4, 0.7])
def test_teacher_when_it_has_no_sky_mask_then_its_sky_teaches_nothing_whatever_the_zoom(scale):
    network = tiny_config()
    height, width = network.input_px
    steps = np.full((height, width), 20 * 256, np.uint16)
    steps[: height // 2] = 80 * 256  # align_mono_depth.sky: far

    def decode_map(name, out):
        out[...] = steps

    frame = SimpleNamespace(sample=SimpleNamespace(height=height, width=width), decode_map=decode_map)
    view = centred_view((height, width), network.input_px, is_flipped=False, scale=scale)

    def taught_m(far_m):
        reading = DetectionReading((), None, network, None, None, 0, mono=False, teacher_far_m=far_m)
        units = SimpleNamespace(store=SimpleNamespace(files=None))
        return DetectionReader(units, reading)._teacher(frame, view) / 256

    before, after = taught_m(float("inf")), taught_m(DistillConfig().far_m)
    is_sky = before > 40 * scale
    assert is_sky.sum() / (before > 0).sum() == pytest.approx(0.5, abs=0.1)  # half of the valid cells
    assert before.max() == pytest.approx(80 * scale, abs=0.01)  # 112 m zoomed by 1.4
    assert (after[is_sky] == 0).all()
    assert np.array_equal(after[~is_sky], before[~is_sky])


def test_far_limit_when_it_is_the_default_then_no_training_gets_another_name():
    assert "far_m" not in DistillConfig().model_dump()
    assert every_key(DistillConfig())["far_m"] == 80.0
    assert DistillConfig(far_m=60.0).model_dump()["far_m"] == 60.0
