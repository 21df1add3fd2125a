"""What a monocular depth model is: one image of a calibrated camera in, one map out; NumPy on both sides.

Why    Networks need torch, and the pipeline must not import it: networks live in ``model/teachers``, and ``flows`` hands one to
       the stage as a picklable factory. Models without a network are beside this file
Source docs/method/mono-depth.md#protocol, #alignment
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.boxes import PlacedBox
from storage_schemas.catalog import VALUE_KINDS
from storage_schemas.errors import DepthmillError

ValueKind = Literal["inverse_relative", "relative", "metric"]
"""What a model's value means; ``catalog.VALUE_KINDS`` numbers them."""

Sight = Literal["image", "boxes", "truth"]
"""What a model sees of a frame; anything else is not read for it."""


class MonoDepthError(DepthmillError):
    """A depth model that cannot be loaded, or that returns something that is no depth map."""


@dataclass(frozen=True)
class MonoDepthInput:
    """One frame as a depth model gets it.

    Attributes:
        frame_key: ``<scene>/<camera>/<number of the key frame>``; the simulated model draws its errors from it.
        height: image rows.
        width: image columns.
        intrinsic_px: (3, 3) float64 camera matrix of the full image, pixels.
        ego_from_cam: (4, 4) float64 calibration; the ground is z = 0 of the ego frame.
        world_from_ego: (4, 4) float64 pose at the image's time.
        image_u8: (height, width, 3) uint8 RGB; None unless the model sees images.
        boxes: annotated boxes of the key frame, in the world frame; empty unless the model sees boxes.
        exact_m: (height, width) float32 exact depth of a simulated world, metres, 0 = sky; None unless the model sees it.
    """

    frame_key: str
    height: int
    width: int
    intrinsic_px: NDArray[np.float64]
    ego_from_cam: NDArray[np.float64]
    world_from_ego: NDArray[np.float64]
    image_u8: NDArray[np.uint8] | None = None
    boxes: tuple[PlacedBox, ...] = ()
    exact_m: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class MonoDepthMap:
    """What a depth model predicts for one frame, on a grid of its own that is spread evenly over the image.

    Attributes:
        value: (grid_y, grid_x) float32, finite. inverse_relative: a x 1/depth + b with unknown a > 0 and b; relative: a x depth,
            a unknown; metric: metres. The last two: 0 or less = nothing predicted.
        kind: which of these it is.
        confidence: (grid_y, grid_x) float32, larger = surer, in the model's own scale; None = the model gives none.
        is_sky: (grid_y, grid_x) bool; None = it does not predict sky.
        num_not_finite: values that were NaN or infinite, and are 0 here.
    """

    value: NDArray[np.float32]
    kind: ValueKind
    confidence: NDArray[np.float32] | None = None
    is_sky: NDArray[np.bool_] | None = None
    num_not_finite: int = 0


class MonoDepthModel(Protocol):
    """Predicts depth of single images."""

    @property
    def name(self) -> str:
        """Its name, as in the recipe."""
        ...

    @property
    def sees(self) -> frozenset[Sight]:
        """What it sees of a frame."""
        ...

    def predict(self, frame: MonoDepthInput) -> MonoDepthMap:
        """Return its map of one frame; a pure function of the frame."""
        ...

    def provenance(self) -> Mapping[str, str]:
        """Return facts for the lineage that the fingerprint does not hold, e.g. versions of libraries."""
        ...


MonoDepthFactory = Callable[[], MonoDepthModel]
"""Makes a depth model in the process that runs a scene; picklable, and small however large the model."""


def check_map(depth_map: MonoDepthMap, *, where: str) -> None:
    """Check that a map can be stored as float16 and that its parts have one size.

    Args:
        depth_map: the map.
        where: model and frame, for the error text.

    Raises:
        MonoDepthError: a value is not finite or beyond 65504, or shapes differ; names the frame and the value.
    """
    if depth_map.kind not in VALUE_KINDS:
        raise MonoDepthError(f"{where}: kind is '{depth_map.kind}', expected one of: {', '.join(VALUE_KINDS)}")
    parts: dict[str, NDArray[Any]] = {"value": depth_map.value}
    parts |= {} if depth_map.confidence is None else {"confidence": depth_map.confidence}
    parts |= {} if depth_map.is_sky is None else {"is_sky": depth_map.is_sky}
    shapes = {name: part.shape for name, part in parts.items()}
    if depth_map.value.ndim != 2 or depth_map.value.size == 0 or len(set(shapes.values())) > 1:
        raise MonoDepthError(f"{where}: expected maps (grid_y, grid_x) of one size, got {shapes}. Look at the teacher's code")
    limit = float(np.finfo(np.float16).max)
    for name in ("value", "confidence"):
        if name in parts:
            low, high = float(parts[name].min()), float(parts[name].max())
            if not (-limit <= low and high <= limit):  # in this form NaN fails too
                raise MonoDepthError(
                    f"{where}: {name} lies in [{low:g}, {high:g}], expected finite numbers up to {limit:g}, the largest float16. "
                    "Check that weights and model belong together"
                )
