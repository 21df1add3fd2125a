"""Everything that decides what SemoDepth computes; stored with every checkpoint."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from pydantic import Field

from storage_schemas.frozen_config import FrozenConfig


class SemoDepthConfig(FrozenConfig):
    """Options of the network. The defaults are for new training; ``reference`` gives those of the public code."""

    added_later = MappingProxyType({"uncertainty": False, "absent_mono": "zeros"})

    min_depth_m: float = Field(0.5, gt=0, description="near end of the depth space, metres")
    max_depth_m: float = Field(120.0, gt=0, description="far end of the depth space, metres: 120 nuScenes, 80 ZJU-4DRadarCam")
    plug_in: bool = Field(False, description="has the branch for monocular depth")
    absent_mono: Literal["zeros", "skip"] = Field(
        "zeros",
        description="what becomes of a map of zeros for monocular depth. zeros: it goes through the branch, as published. skip: "
        "nothing is added, so the network gives what it would give without the branch",
    )
    base_channels: int = Field(
        64,
        ge=8,
        multiple_of=8,
        description="channels at stride 2; all others follow. 64 is the published network, 16 fits a laptop",
    )
    input_downscale: int = Field(
        1,
        ge=1,
        le=8,
        description="the network sees the image this many times smaller and its depth is enlarged again; radar stays exact",
    )
    radar_to_scale: Literal["resize", "scatter"] = Field(
        "scatter",
        description="how radar features reach a coarser grid: bilinear resize of a sparse map (loses most), or max per cell",
    )
    window_layout: Literal["reference", "correct"] = Field(
        "correct", description="reference reads the window features in a scrambled order, which released weights need"
    )
    batch_independent: bool = Field(
        True, description="a sample without radar stays as it is whatever else is in the batch; the reference adds a bias to it"
    )
    max_radar_nodes: int = Field(512, ge=1, description="nodes of the radar graph; beyond that an evenly spaced subset is taken")
    window_size: int = Field(8, ge=1, description="side of a radar-centred window, cells of stride 8")
    uncertainty: bool = Field(
        False,
        description="has the head that distillation's laplace and gauss learn their scale with; inference does not compute it",
    )

    @staticmethod
    def reference(*, max_depth_m: float, plug_in: bool) -> SemoDepthConfig:
        """Return the options with which the network computes what the public code computes."""
        return SemoDepthConfig(
            max_depth_m=max_depth_m,
            plug_in=plug_in,
            radar_to_scale="resize",
            window_layout="reference",
            batch_independent=False,
        )
