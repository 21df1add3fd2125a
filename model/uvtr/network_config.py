"""Everything that decides what the detector computes; stored with every checkpoint.

Source  docs/method/uvtr.md#network, #switches, #tiny-configuration; the defaults are the sizes of the published 0.1 m
        configuration, with the corrected switches
"""

from __future__ import annotations

import difflib
from typing import Literal, Self

from pydantic import Field, model_validator

from model.mim4d.lift import NormKind
from model.mim4d.mask import COARSEST_STRIDE
from model.mim4d.network_config import BackboneConfig, VoxelLiftConfig
from model.uvtr.box_code import Code
from model.uvtr.classes import CLASSES
from model.uvtr.segmentation_truth import RELEASED_GRID, GroundGrid
from storage_schemas.frozen_config import FrozenConfig

RELEASED_GRID_M = -RELEASED_GRID.low_m[0]
"""How far the published cells reach to each side, metres."""


class VoxelConvConfig(FrozenConfig):
    """Convolutions on the lifted volume, at its full width."""

    num_convs: int = Field(3, ge=0, description="3x3x3 convolutions, each with a norm and ReLU")
    norm3d: NormKind = Field(
        "gn", description="gn: each volume by itself; bn, as released, mixes what is seen with the many voxels that nobody sees"
    )
    norm_groups: int = Field(8, ge=1, description="groups of channels of gn")


class CentreHeadConfig(FrozenConfig):
    """A heat map seen from above, of which each peak is an object; learns in minutes."""

    width: int = Field(64, ge=8, multiple_of=8, description="channels of its two convolutions")
    sigma_cells: float = Field(0.8, gt=0, description="spread of an object's target on the heat map, cells")


class QueryHeadConfig(FrozenConfig):
    """Queries that look at the volume where they stand, layer by layer; as published."""

    num_queries: int = Field(900, ge=1, description="queries, and so the most objects that a layer can say")
    num_layers: int = Field(6, ge=1, description="decoder layers")
    num_heads: int = Field(8, ge=1, description="heads of the attention among queries; divides lift.channels")
    hidden: int = Field(512, ge=1, description="hidden channels of each layer's perceptron")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of a layer's values that is dropped in training")


class SegmentationHeadConfig(FrozenConfig):
    """Which ground cells are covered by vehicles; off unless asked for."""

    enabled: bool = Field(False, description="true: the network also says which ground cells are covered by vehicles")
    width: int = Field(64, ge=8, multiple_of=8, description="channels of its convolutions")


class UvtrConfig(FrozenConfig):
    """Options of the network."""

    input_px: tuple[int, int] = Field((480, 800), description="height and width that the images are brought to, pixels")
    num_frames: int = Field(
        1,
        ge=1,
        description="key frames: the newest and those before it, whose volumes are warped by the vehicle's own motion; "
        "a velocity can only be seen with 2 or more",
    )
    classes: tuple[str, ...] = Field(
        CLASSES, min_length=1, description="classes that are found, of the ten of the nuScenes detection task"
    )
    backbone: BackboneConfig = Field(BackboneConfig(), description="image encoder")
    lift: VoxelLiftConfig = Field(VoxelLiftConfig(), description="from images to voxels")
    voxels: VoxelConvConfig = Field(VoxelConvConfig(), description="convolutions on the voxels")
    head: Literal["centres", "queries"] = Field(
        "centres", description="centres: a heat map seen from above, for small worlds and studies; queries: as published"
    )
    frame: Literal["rig", "lidar"] = Field(
        "rig",
        description="frame of the voxels: rig; or, of released detectors only, that of nuScenes' LiDAR, x right and y forward",
    )
    code: Code = Field(
        "psi", description="heading of a box: psi, counter-clockwise from x; theta, as released, for released weights only"
    )
    centres: CentreHeadConfig = Field(CentreHeadConfig(), description="of head centres")
    queries: QueryHeadConfig = Field(QueryHeadConfig(), description="of head queries")
    segmentation: SegmentationHeadConfig = Field(SegmentationHeadConfig(), description="vehicles on the ground, seen from above")
    max_detections: int = Field(300, ge=1, le=500, description="most objects of a key frame in the result; nuScenes takes 500")

    @staticmethod
    def released() -> UvtrConfig:
        """Return the 0.1 m configuration with the public code's behaviour wherever there is a switch for it, errors and all."""
        return UvtrConfig(
            input_px=(928, 1600),
            backbone=BackboneConfig(frozen_stages=1),
            lift=VoxelLiftConfig(low_m=(-51.2, -51.2, -5.0), high_m=(51.2, 51.2, 3.0), grid_align="released"),
            voxels=VoxelConvConfig(norm3d="bn"),
            head="queries",
            frame="lidar",
            code="theta",
        )

    @staticmethod
    def tiny(*, head: Literal["centres", "queries"] = "centres", classes: tuple[str, ...] = CLASSES) -> UvtrConfig:
        """Return a configuration that trains in minutes on a processor; docs/method/uvtr.md#tiny-configuration."""
        return UvtrConfig(
            input_px=(96, 160),
            classes=classes,
            backbone=BackboneConfig(name="convnext_mini", layer_scale=0.1, drop_path=0.0),
            lift=VoxelLiftConfig(
                channels=32,
                num_depth_bins=16,
                far_m=32.0,
                low_m=(-25.6, -25.6, -5.0),
                high_m=(25.6, 25.6, 3.0),
                num_voxels_zyx=(5, 32, 32),
            ),
            head=head,
            queries=QueryHeadConfig(num_queries=60, num_layers=3, num_heads=4, hidden=64),
        )

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    @property
    def ground(self) -> GroundGrid:
        """Return the cells of which is said whether a vehicle covers them: up to 50 m to each side, within the voxels."""
        reach_m = [min(RELEASED_GRID_M, -low, high) for low, high in zip(self.lift.low_m, self.lift.high_m, strict=True)]
        x, y = (int(reach / RELEASED_GRID.cell_m) for reach in reach_m[:2])
        return GroundGrid((-x * RELEASED_GRID.cell_m, -y * RELEASED_GRID.cell_m), RELEASED_GRID.cell_m, (2 * y, 2 * x))

    @property
    def labels(self) -> tuple[int, ...]:
        """Return the number in ``CLASSES`` of each class of the network."""
        return tuple(CLASSES.index(name) for name in self.classes)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in self.classes:
            if name not in CLASSES:
                near = difflib.get_close_matches(name.lower(), CLASSES, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"expected of {', '.join(CLASSES)}"
                raise ValueError(f"classes has '{name}', which is no class of the nuScenes detection task; {hint}")
            if self.classes.count(name) > 1:
                raise ValueError(f"classes names {name} more than once; name each class once")
        if any(side < COARSEST_STRIDE or side % COARSEST_STRIDE for side in self.input_px):
            raise ValueError(
                f"input_px is {self.input_px[0]} x {self.input_px[1]} (height x width), expected multiples of {COARSEST_STRIDE}"
            )
        if self.segmentation.enabled and self.frame == "lidar":
            raise ValueError(
                "segmentation.enabled is true, and frame is lidar, which is for released detectors, and these have no such head; "
                "leave frame out"
            )
        if self.segmentation.enabled and min(self.ground.num_cells) < 1:
            raise ValueError(
                f"segmentation.enabled is true, and the voxels (lift.low_m {self.lift.low_m}, lift.high_m {self.lift.high_m}) do "
                "not reach half a metre to every side of the vehicle; widen them"
            )
        channels = self.lift.channels
        if self.voxels.norm3d == "gn" and self.voxels.num_convs and channels % self.voxels.norm_groups:
            raise ValueError(
                f"lift.channels is {channels}, which voxels.norm_groups {self.voxels.norm_groups} does not divide; change one of "
                "them"
            )
        if self.head == "queries" and channels % self.queries.num_heads:
            raise ValueError(
                f"lift.channels is {channels}, which queries.num_heads {self.queries.num_heads} does not divide; change one of "
                "them"
            )
        return self
