"""What decides how rays are chosen, how a volume is rendered along them, and how the pictures are compared.

Source  docs/method/mim4d.md#rays, #ray-sampling, #neus-field, #rendering-loss, #switches; the defaults are those of the 0.1 m
        configuration
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from storage_schemas.frozen_config import FrozenConfig


class RayConfig(FrozenConfig):
    """Which pixels of a frame are rendered."""

    rays_per_camera: int = Field(2048, ge=1, description="rays of one camera of one target frame, at most")
    min_radius_m: float = Field(3.0, ge=0, description="LiDAR points nearer than this to the rig, measured level, are left out")
    max_radius_m: float = Field(50.0, gt=0, description="and those that are farther")
    filler_stride_px: int = Field(4, ge=1, description="grid of pixels without depth that fill up where LiDAR points are too few")
    filler_top_fraction: float = Field(0.4, ge=0, lt=1, description="share of the image, from the top, that gets no filler")
    rgb_order: Literal["rgb", "released_bgr"] = Field(
        "rgb", description="order of the colour targets; the public code swaps red and blue by mistake"
    )

    @model_validator(mode="after")
    def _radii_in_order(self) -> Self:
        if self.min_radius_m >= self.max_radius_m:
            raise ValueError(
                f"min_radius_m is {self.min_radius_m:g} and max_radius_m {self.max_radius_m:g}, so no point lies between them; "
                "lower the first or raise the second"
            )
        return self


class RenderConfig(FrozenConfig):
    """The field, where it is sampled, and what of it is kept in memory."""

    rays: RayConfig = Field(RayConfig(), description="which pixels are rendered")
    near_m: float = Field(1.0, gt=0, description="nothing is seen nearer to a camera than this")
    num_coarse: int = Field(72, ge=2, description="samples of a ray that are spread evenly")
    num_fine: int = Field(24, ge=0, description="samples that are added where the coarse ones see a surface")
    coarse_inv_s: float = Field(
        64.0, gt=0, description="sharpness by which the coarse samples look for a surface, per scaled unit"
    )
    initial_variance: float = Field(
        0.3, description="what exp(10 v) = the learned sharpness starts at; 0.3 is 20.1, a surface about 2.5 m thick"
    )
    hidden: int = Field(16, ge=1, description="width of both decoders")
    num_geometry: int = Field(16, ge=0, description="numbers beside the signed distance that the colour decoder reads")
    sdf_layers: int = Field(6, ge=1, description="layers of the decoder of signed distance")
    rgb_layers: int = Field(4, ge=1, description="layers of the decoder of colour")
    grid_align: Literal["consistent", "released"] = Field(
        "consistent",
        description="where a voxel's value stands: in its centre, as everywhere, or, as in the public code's renderer only, "
        "outermost voxels on the faces of the box",
    )
    chunk_rays: int = Field(4096, ge=1, description="rays of a clip that are rendered at once")
    recompute: bool = Field(
        False, description="compute each chunk again in the backward pass instead of keeping it: less memory, more time"
    )


class LossConfig(FrozenConfig):
    """How rendered rays are compared with their targets."""

    rgb: float = Field(10.0, ge=0, description="weight of the mean absolute difference of colour, 0 to 1")
    depth: float = Field(10.0, ge=0, description="weight of the mean absolute difference of depth, in scaled units as published")
    eikonal: float = Field(0.0, ge=0, description="weight of the mean squared difference of |gradient| from 1; 0 as published")
    loss_pixels: Literal["all", "masked"] = Field(
        "all", description="rays that count: all, as published, or the hidden ones only"
    )

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not (self.rgb or self.depth or self.eikonal):
            raise ValueError(
                "rgb, depth and eikonal all have weight 0, so there is nothing to learn from; give one of them a weight"
            )
        return self
