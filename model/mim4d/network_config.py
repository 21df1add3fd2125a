"""Everything that decides what MIM4D computes; stored with every checkpoint.

Source  docs/method/mim4d.md#masking, #masked-convolutions, #voxel-grid, #switches, #tiny-configuration; the defaults are the
        sizes of the 0.1 m configuration, with the corrected switches
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from model.mim4d.depth_head import DepthBins
from model.mim4d.lift import GridAlign, NormKind
from model.mim4d.mask import COARSEST_STRIDE, patch_cells
from model.mim4d.render_config import LossConfig, RayConfig, RenderConfig
from model.mim4d.temporal_config import TemporalConfig
from model.mim4d.voxel_grid import VoxelGrid
from storage_schemas.frozen_config import FrozenConfig

LEVEL_STRIDES = (4, 8, 16, 32)
"""Input pixels per cell of a backbone's levels."""

PUBLISHED_RESNET_CHANNELS = 64
PUBLISHED_LAYER_SCALE = 1e-6
PUBLISHED_DROP_PATH = 0.2


class MaskConfig(FrozenConfig):
    """Which patches of the images are hidden from the backbone in pre-training."""

    hidden_ratio: float = Field(0.3, ge=0, lt=1, description="share of an image's patches that is hidden; 0 hides nothing")
    patch_px: int = Field(
        32, ge=1, description="side of a patch, pixels; a multiple of 32, the stride of the backbone's coarsest level"
    )


class BackboneConfig(FrozenConfig):
    """What brings an image to four levels of features."""

    name: Literal["convnext_t", "convnext_s", "convnext_b", "convnext_mini", "resnet34", "resnet50"] = Field(
        "convnext_s",
        description="convnext_s is published, convnext_mini fits a laptop; MonoDDLE takes convnext_t or resnet50, SemoDepth "
        "resnet34",
    )
    base_channels: int = Field(
        PUBLISHED_RESNET_CHANNELS, ge=8, multiple_of=8, description="of a resnet: channels at stride 2, all others follow"
    )
    layer_scale: float = Field(
        PUBLISHED_LAYER_SCALE,
        gt=0,
        description="of a convnext: start of the scale of each block's result; from scratch a short training needs 0.1",
    )
    drop_path: float = Field(
        PUBLISHED_DROP_PATH,
        ge=0,
        lt=1,
        description="of a convnext: how often, in training, an image skips the last block; from 0 at the first",
    )
    frozen_stages: int = Field(
        0,
        ge=0,
        le=4,
        description="of a convnext: so many stages are not trained; 1, as published, only makes sense with loaded weights",
    )

    @property
    def is_resnet(self) -> bool:
        """Say whether it is one of the ResNets."""
        return self.name.startswith("resnet")

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        others = {
            "layer_scale": self.layer_scale != PUBLISHED_LAYER_SCALE,
            "drop_path": self.drop_path != PUBLISHED_DROP_PATH,
            "frozen_stages": self.frozen_stages != 0,
        }
        if not self.is_resnet:
            others = {"base_channels": self.base_channels != PUBLISHED_RESNET_CHANNELS}
        foreign = [key for key, is_set in others.items() if is_set]
        if foreign:
            owner = "a convnext" if self.is_resnet else "a resnet"
            raise ValueError(f"{foreign[0]} belongs to {owner}, but the backbone is {self.name}; leave {foreign[0]} out")
        return self


class VoxelLiftConfig(FrozenConfig):
    """How the images' features come into the voxels around the vehicle, whoever reads the voxels."""

    kind: Literal["sample", "splat"] = Field(
        "sample",
        description="sample: every voxel asks the cameras that see it, on all levels; splat: every cell of one level sends along "
        "its ray",
    )
    channels: int = Field(128, ge=1, description="of the feature pyramid, and of what is lifted")
    first_level: int = Field(1, ge=0, le=3, description="finest level of the backbone that is used: 0 to 3 for stride 4 to 32")
    num_extra_levels: int = Field(1, ge=0, description="coarser levels that the feature pyramid adds")
    num_depth_bins: int = Field(64, ge=1, description="bins of the depth distribution")
    near_m: float = Field(0.0, ge=0, description="where the first depth bin begins, metres")
    far_m: float = Field(64.0, gt=0, description="where the last depth bin ends, metres; beyond it a camera sees nothing")
    low_m: tuple[float, float, float] = Field(
        (-51.2, -51.2, -3.2),
        description="lower corner of the voxels in the rig's frame, whose z = 0 is the road: x, y, z, metres",
    )
    high_m: tuple[float, float, float] = Field((51.2, 51.2, 4.8), description="upper corner of the voxels: x, y, z, metres")
    num_voxels_zyx: tuple[int, int, int] = Field((5, 128, 128), description="voxels along z, y and x")
    grid_align: GridAlign = Field(
        "consistent",
        description="where values stand: in the middle of voxel, cell and bin; or, as released, at corners and nodes, half a "
        "cell off",
    )

    @property
    def grid(self) -> VoxelGrid:
        """Return the voxels."""
        return VoxelGrid(self.low_m, self.high_m, self.num_voxels_zyx)

    @property
    def bins(self) -> DepthBins:
        """Return the bins of the depth distribution."""
        return DepthBins(self.near_m, self.far_m, self.num_depth_bins)

    @property
    def strides(self) -> tuple[int, ...]:
        """Return the input pixels per cell of the levels that are lifted, the finest first."""
        extra = (LEVEL_STRIDES[-1] * 2 ** (1 + place) for place in range(self.num_extra_levels))
        return (*LEVEL_STRIDES[self.first_level :], *extra)

    @model_validator(mode="after")
    def _can_be_lifted(self) -> Self:
        _ = self.grid, self.bins
        if self.kind == "splat" and len(self.strides) != 1:
            raise ValueError(
                f"kind splat sends one level, but first_level {self.first_level} and num_extra_levels {self.num_extra_levels} "
                f"make {len(self.strides)}; set first_level to 3 and num_extra_levels to 0"
            )
        return self


class LiftConfig(VoxelLiftConfig):
    """The same, and how what was lifted is squeezed to the volume that is warped, decoded and rendered."""

    volume_channels: int = Field(32, ge=1, description="channels of a frame's volume that is warped, decoded and rendered")
    norm3d: NormKind = Field(
        "gn",
        description="norm of the volumes: gn sees one frame at a time; bn, as released, lets a withheld frame reach the others",
    )
    norm_groups: int = Field(8, ge=1, description="groups of channels of gn")

    @model_validator(mode="after")
    def _has_equal_groups(self) -> Self:
        if self.norm3d == "gn" and self.volume_channels % self.norm_groups:
            raise ValueError(
                f"volume_channels is {self.volume_channels}, which norm_groups {self.norm_groups} does not divide; "
                "change one of them"
            )
        return self


class Mim4dConfig(FrozenConfig):
    """Options of the network and of its task."""

    input_px: tuple[int, int] = Field((480, 800), description="height and width of the images as fed, padding included, pixels")
    num_frames: int = Field(3, ge=1, description="frames of a clip; with 1 there is nothing in time to learn, only rendering")
    targets: Literal["key_and_random", "random"] = Field(
        "key_and_random",
        description="frames that are withheld and rendered: the newest and a random other one, as published; or two random ones",
    )
    mask: MaskConfig = Field(MaskConfig(), description="hidden patches")
    backbone: BackboneConfig = Field(BackboneConfig(), description="image encoder")
    lift: LiftConfig = Field(LiftConfig(), description="from images to voxels")
    temporal: TemporalConfig = Field(TemporalConfig(), description="from the other frames' volumes to that of a withheld frame")
    render: RenderConfig = Field(RenderConfig(), description="from a volume to colour and depth")
    loss: LossConfig = Field(LossConfig(), description="comparison with images and LiDAR")

    @staticmethod
    def released() -> Mim4dConfig:
        """Return the 0.1 m configuration with the public code's behaviour wherever there is a switch for it, errors and all."""
        return Mim4dConfig(
            backbone=BackboneConfig(frozen_stages=1),
            lift=LiftConfig(norm3d="bn", grid_align="released"),
            temporal=TemporalConfig.released(),
            render=RenderConfig(grid_align="released", rays=RayConfig(rgb_order="released_bgr")),
        )

    @staticmethod
    def tiny() -> Mim4dConfig:
        """Return a configuration that trains in minutes on a processor; docs/method/mim4d.md#tiny-configuration."""
        return Mim4dConfig(
            input_px=(96, 160),
            backbone=BackboneConfig(name="convnext_mini", layer_scale=0.1),
            lift=LiftConfig(
                channels=32,
                num_depth_bins=16,
                far_m=32.0,
                low_m=(-25.6, -25.6, -5.0),
                high_m=(25.6, 25.6, 3.0),
                num_voxels_zyx=(5, 32, 32),
                volume_channels=16,
            ),
            temporal=TemporalConfig(embed_channels=64, short_hidden=128, long_hidden=64),
            render=RenderConfig(num_coarse=24, num_fine=8, rays=RayConfig(rays_per_camera=48)),
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if any(side < COARSEST_STRIDE or side % COARSEST_STRIDE for side in self.input_px):
            raise ValueError(
                f"input_px is {self.input_px[0]} x {self.input_px[1]} (height x width), expected multiples of {COARSEST_STRIDE}; "
                "pad the images"
            )
        if self.mask.hidden_ratio > 0:
            patch_cells(self.input_px, patch_px=self.mask.patch_px)
        if self.lift.grid_align != self.render.grid_align:
            raise ValueError(
                f"lift.grid_align is {self.lift.grid_align}, but render.grid_align is {self.render.grid_align}: volumes would be "
                "read where they were not written; set both alike"
            )
        return self
