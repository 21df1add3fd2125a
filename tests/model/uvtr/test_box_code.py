from __future__ import annotations

import math

import pytest
import torch

from model.uvtr.box_code import decode, encode

CODE = [10.0, -4.0, 0.693147, 1.504077, 0.5, 0.470004]


@pytest.mark.parametrize(("code", "turned"), [("psi", [1.0, 0.0]), ("theta", [0.0, -1.0])])
def test_box_when_encoded_then_the_ten_numbers(code, turned):
    box = torch.tensor([10.0, -4.0, 0.5, 2.0, 4.5, 1.6, math.pi / 2, 3.0, -1.0])
    assert torch.allclose(encode(box, code=code), torch.tensor([*CODE, *turned, 3.0, -1.0]), atol=1e-6)


@pytest.mark.parametrize("code", ["psi", "theta"])
def test_boxes_when_encoded_and_decoded_then_the_same(code):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(200, 9, generator=generator, dtype=torch.float64) * 4 + 0.1
    boxes[:, 6] = (torch.rand(200, generator=generator, dtype=torch.float64) - 0.5) * 2 * math.pi
    boxes[0, 7:] = torch.nan
    again = decode(encode(boxes, code=code), code=code)
    assert torch.allclose(again, boxes, atol=1e-6, equal_nan=True)
