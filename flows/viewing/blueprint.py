"""What the Rerun viewer shows where: the scene around the car, the cameras' pictures, curves, and a page of explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rerun.blueprint as rrb

from flows.viewing.pictures import TITLES

if TYPE_CHECKING:
    from flows.viewing.recording import Logged

DEPTH_VIEWS = (
    ("Cleaned", ("depth/clean",)),
    ("Accumulated", ("depth/accumulated",)),
    ("Removed by cleaning", ("depth/clean", "depth/removed")),
    ("Single sweep", ("depth/single",)),
    ("Interpolated", ("depth/interpolated",)),
    ("Monocular", ("depth/mono",)),
    ("Exact depth", ("depth/truth",)),
    ("Predicted", ("depth/predicted",)),
    ("Errors of cleaned", ("errors/clean",)),
    ("Errors of predicted", ("errors/predicted",)),
    ("LiDAR", ("lidar",)),
)
"""Tabs of the 3D view: title, and what is shown in it besides cameras, radar and boxes. The first that exists is in front."""

NUM_PICTURES = 3
"""Pictures of a camera that stand below each other; further ones share a place, as tabs."""

FIRST = ("camera", "clean", "predicted", "removed")
"""Pictures that come first."""

AROUND = ("camera", "radar", "velocity", "boxes", "predicted_boxes")
"""What every 3D view shows."""

CURVES = (
    ("Measured pixels, %", "plots/measured"),
    ("Mean absolute error, m", "plots/mae"),
    ("Radar returns", "plots/radar_returns"),
)


def blueprint_of(logged: Logged) -> rrb.Blueprint:
    """Return the layout for what a recording holds; views of what it does not hold are left out."""
    left = rrb.Vertical(rrb.Tabs(*_scene_views(logged)), rrb.Tabs(*_curves(logged), _about()), row_shares=[3, 1])
    return rrb.Blueprint(
        rrb.Horizontal(left, _cameras(logged), column_shares=[3, 2]),
        rrb.TimePanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        auto_views=False,
    )


def _scene_views(logged: Logged) -> list[Any]:
    views = []
    around = [f"/world/{name}/**" for name in AROUND]
    origin = "/world/ego" if "world/ego" in logged.entities else "/world"  # the view goes with the car
    for title, names in DEPTH_VIEWS:
        if _has(logged, f"world/{names[-1]}"):
            views.append(
                rrb.Spatial3DView(name=title, origin=origin, contents=[*around, *(f"/world/{name}/**" for name in names)])
            )
    return views or [rrb.Spatial3DView(name="Scene", origin=origin, contents=around)]


def _curves(logged: Logged) -> list[Any]:
    return [rrb.TimeSeriesView(name=title, origin=f"/{path}") for title, path in CURVES if _has(logged, path)]


def _about() -> Any:
    return rrb.TextDocumentView(name="About", origin="/about")


def _cameras(logged: Logged) -> Any:
    tabs = []
    for camera, names in logged.pictures.items():
        ordered = [*(name for name in FIRST if name in names), *(name for name in names if name not in FIRST)]
        views = [rrb.Spatial2DView(name=TITLES[name], origin=f"/pictures/{camera}/{name}") for name in ordered]
        below = [rrb.Tabs(*views[NUM_PICTURES:])] if len(views) > NUM_PICTURES else []
        tabs.append(rrb.Vertical(*views[:NUM_PICTURES], *below, name=camera))
    return rrb.Tabs(*tabs)


def _has(logged: Logged, path: str) -> bool:
    return any(entity == path or entity.startswith(f"{path}/") for entity in logged.entities)
