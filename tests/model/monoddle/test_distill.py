from __future__ import annotations

import pytest
import torch

from model.blocks.dense_teacher_loss import dense_teacher_loss
from model.monoddle.loss import foreground_weight


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
