"""The depth ranges by which every family tells its errors."""

from __future__ import annotations

RANGE_EDGES_M = (0, 10, 20, 30, 40, 50, 60, 70, 80)
"""Edges of the range bins."""
