from __future__ import annotations

import pytest
from pydantic import ValidationError

from model.monoddle.network_config import MonoDdleConfig


def test_grid_when_asked_for_then_a_quarter_of_the_input():
    config = MonoDdleConfig(input_px=(96, 320))
    assert (config.grid_px, config.stride, config.num_classes) == ((24, 80), 4, 3)
    assert MonoDdleConfig().grid_px == (96, 320)


def test_mean_sizes_when_not_used_then_zeros():
    assert MonoDdleConfig().mean_sizes_hwl_m == ((0.0, 0.0, 0.0),) * 3
    assert MonoDdleConfig(mean_shape=True, classes=("Car",)).mean_sizes_hwl_m == ((1.5256, 1.6286, 3.5259),)


def test_config_when_written_and_read_then_the_same():
    config = MonoDdleConfig(backbone="timm:hrnet_w32", classes=("Car", "Van"), train_classes=("Car", "Van"), uncertainty=True)
    assert MonoDdleConfig.model_validate_json(config.model_dump_json()) == config
    assert MonoDdleConfig.reference(uncertainty=True).model_dump(include={"compat", "prior_depth_m", "uncertainty"}) == {
        "compat": True,
        "prior_depth_m": None,
        "uncertainty": True,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input_px": (375, 1242)}, r"input_px is 375 x 1242 \(height x width\), expected multiples of 32"),
        ({"input_px": (384, 0)}, r"input_px is 384 x 0 \(height x width\), expected multiples of 32"),
        (
            {"train_classes": ("Cars",)},
            r"train_classes has 'Cars', which is not one of classes \(Pedestrian, Car, Cyclist\); correct",
        ),
        ({"classes": ("Car", "Car")}, "classes names Car more than once; name each class once"),
        ({"train_classes": ()}, "at least 1 item"),
        (
            {"backbone": "dla43"},
            "backbone is 'dla43', expected dla34, hrnet_w32, resnet50, convnext_tiny, convnextv2_tiny or timm:<name>",
        ),
        ({"backbone": "timm:"}, "backbone is 'timm:', expected dla34"),
        (
            {"backbone": "resnet50", "compat": True},
            "compat belongs to backbone dla34, but backbone is resnet50; leave compat out",
        ),
        ({"backbone": "timm:x", "dla_widths": (8,) * 6}, "dla_widths belongs to backbone dla34, but backbone is timm:x; leave"),
        ({"dla_widths": (8, 8, 0, 16, 24, 32)}, r"dla_widths is \(8, 8, 0, 16, 24, 32\), expected six positive numbers"),
        ({"max_objects": 65, "input_px": (32, 32)}, "max_objects is 65, more than the 8 x 8 cells of the head maps; lower it"),
        (
            {"mean_shape": True, "classes": ("Car", "Tram")},
            "mean_shape is true, but no mean size of 'Tram' is known, only of Pedes",
        ),
        ({"prior_depth_m": 0}, "greater than 0"),
        ({"head_widht": 3}, "Extra inputs are not permitted"),
    ],
)
def test_config_when_options_do_not_fit_then_said(values, message):
    with pytest.raises(ValidationError, match=message):
        MonoDdleConfig(**values)
