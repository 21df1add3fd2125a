"""Everything that decides what MonoDDLE computes; stored with every checkpoint.

Source  docs/method/monoddle.md#mean-sizes, #network, #tiny-configuration
"""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from storage_schemas.frozen_config import FrozenConfig

STRIDE = 4
"""Input pixels per cell of the head maps, along each axis."""


COARSEST_STRIDE = 32
"""Input pixels per cell of a backbone's last level; an input must be whole cells of it."""


NUM_HEADING_BINS = 12
"""Sectors of the observation angle; each has a score and a residual."""


MEAN_SIZE_HWL_M = {
    "Pedestrian": (1.7626, 0.6607, 0.8442),
    "Car": (1.5256, 1.6286, 3.5259),
    "Cyclist": (1.7370, 0.5971, 1.7628),
}
"""Mean height, width and length of KITTI's training objects, metres; docs/method/monoddle.md#mean-sizes."""


DLA34_WIDTHS = (16, 32, 64, 128, 256, 512)


OWN_BACKBONES = ("dla34", "hrnet_w32", "resnet50", "convnext_tiny", "convnextv2_tiny")


TIMM_PREFIX = "timm:"


class MonoDdleConfig(FrozenConfig):
    """Options of the network. The defaults are for new training; ``reference`` gives those of the public code."""

    classes: tuple[str, ...] = Field(
        ("Pedestrian", "Car", "Cyclist"), min_length=1, description="types with a heat map, in its order; the public code's order"
    )
    train_classes: tuple[str, ...] = Field(
        ("Car",), min_length=1, description="of these, the ones that are trained on; the others are background, as published"
    )
    backbone: str = Field(
        "dla34",
        description=f"{', '.join(OWN_BACKBONES)}, or {TIMM_PREFIX}<name> of a network of the package timm, if it is installed",
    )
    dla_widths: tuple[int, int, int, int, int, int] = Field(
        DLA34_WIDTHS,
        description="channels of dla34's six levels, at strides 1 to 32; 8 8 16 16 24 32 fits a laptop",
    )
    head_width: int = Field(256, ge=1, description="hidden channels of each head")
    input_px: tuple[int, int] = Field((384, 1280), description="height and width that the image is brought to, pixels")
    max_objects: int = Field(50, ge=1, description="most objects of an image, in training and in the result")
    uncertainty: bool = Field(
        False, description="has the head that says, per pixel, how far the teacher is to be believed; costs nothing at inference"
    )
    compat: bool = Field(
        False, description="computes, as the public dla34 does, two projections that nothing reads; they get no gradient"
    )
    prior_depth_m: float | None = Field(
        20.0, gt=0, description="depth the untrained network says everywhere, metres; null is the public start, which means 1 m"
    )
    mean_shape: bool = Field(False, description="the size head says the difference to its class's mean size, not the size itself")

    @staticmethod
    def reference(*, uncertainty: bool = False) -> MonoDdleConfig:
        """Return the options with which the network is the public code's, for 3 classes and DLA-34."""
        return MonoDdleConfig(uncertainty=uncertainty, compat=True, prior_depth_m=None)

    @property
    def num_classes(self) -> int:
        """Return the number of heat maps."""
        return len(self.classes)

    @property
    def stride(self) -> int:
        """Return the input pixels per cell of the head maps."""
        return STRIDE

    @property
    def grid_px(self) -> tuple[int, int]:
        """Return height and width of the head maps, cells."""
        return self.input_px[0] // STRIDE, self.input_px[1] // STRIDE

    @property
    def mean_sizes_hwl_m(self) -> tuple[tuple[float, float, float], ...]:
        """Return what is added to the size head's output, per class in the order of ``classes``: zeros without ``mean_shape``."""
        if not self.mean_shape:
            return tuple((0.0, 0.0, 0.0) for _ in self.classes)
        return tuple(MEAN_SIZE_HWL_M[name] for name in self.classes)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self._check_classes()
        self._check_backbone()
        self._check_sizes()
        return self

    def _check_classes(self) -> None:
        for key, names in (("classes", self.classes), ("train_classes", self.train_classes)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{key} names {', '.join(twice)} more than once; name each class once")
        unknown = [name for name in self.train_classes if name not in self.classes]
        if unknown:
            raise ValueError(
                f"train_classes has '{unknown[0]}', which is not one of classes ({', '.join(self.classes)}); "
                "correct it, or add it to classes"
            )
        without_mean = [name for name in self.classes if name not in MEAN_SIZE_HWL_M]
        if self.mean_shape and without_mean:
            raise ValueError(
                f"mean_shape is true, but no mean size of '{without_mean[0]}' is known, only of {', '.join(MEAN_SIZE_HWL_M)}; "
                "set mean_shape to false"
            )

    def _check_backbone(self) -> None:
        if self.backbone not in OWN_BACKBONES and not re.fullmatch(rf"{TIMM_PREFIX}[\w.\-]+", self.backbone):
            raise ValueError(f"backbone is '{self.backbone}', expected {', '.join(OWN_BACKBONES)} or {TIMM_PREFIX}<name>")
        if min(self.dla_widths) < 1:
            raise ValueError(f"dla_widths is {self.dla_widths}, expected six positive numbers of channels")
        if self.backbone != "dla34":
            for key, is_set in (("dla_widths", self.dla_widths != DLA34_WIDTHS), ("compat", self.compat)):
                if is_set:
                    raise ValueError(f"{key} belongs to backbone dla34, but backbone is {self.backbone}; leave {key} out")

    def _check_sizes(self) -> None:
        if any(side < COARSEST_STRIDE or side % COARSEST_STRIDE for side in self.input_px):
            raise ValueError(
                f"input_px is {self.input_px[0]} x {self.input_px[1]} (height x width), expected multiples of {COARSEST_STRIDE}"
            )
        height, width = self.grid_px
        if self.max_objects > height * width:
            raise ValueError(
                f"max_objects is {self.max_objects}, more than the {height} x {width} cells of the head maps; lower it, "
                "or raise input_px"
            )
