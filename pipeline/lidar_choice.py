"""``lidar:`` of a stage: the name of one LiDAR, or a list of several that work as one."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _as_given_before_there_were_lists(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Refuse no and equal names; a list of one is that one, so that it names the same units."""
    names = lidar_channels(value)
    if not names or len(set(names)) < len(names):
        raise ValueError("expected the name of a LiDAR channel, or a list of different ones")
    return names[0] if len(names) == 1 else names


LidarChoice = Annotated[str | tuple[str, ...], AfterValidator(_as_given_before_there_were_lists)]


def lidar_channels(lidar: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the channels of a choice."""
    return (lidar,) if isinstance(lidar, str) else lidar
