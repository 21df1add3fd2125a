"""Names for what scenes of a source offer and what stages need; a plug-in may bring further names.

A source says of each scene what it offers (``SceneInfo.offers``), a stage what it needs (``StageSpec.needs``); the plan compares.
"""

from __future__ import annotations

from storage_schemas.layout import StoreLayout

LIDAR = "lidar"
"""LiDAR sweeps, and poses that place them in the world."""

RADAR = "radar"
"""Radar files of key frames."""

POSES = "poses"
"""Poses of the car in the world."""

BOXES = "boxes"
"""Annotated boxes in the world."""

TRUTH = "truth"
"""Exact depth, in the files that a simulated world has below truth/."""

CAMERA_SWEEPS = "camera_sweeps"
"""An index of the images between key frames."""

OBJECTS = "objects"
"""What is annotated of an object besides its box: attribute, visibility, counts of returns."""

_PROVIDED = "provided:"


def provided(layout: StoreLayout) -> str:
    """Return the name of the capability that a source provides the content of a layout ready-made."""
    return f"{_PROVIDED}{layout.name}"


def is_provided(capability: str | None) -> bool:
    """Say whether a capability means that the source provides content ready-made."""
    return capability is not None and capability.startswith(_PROVIDED)
