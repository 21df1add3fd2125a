"""What the Rerun viewer shows where: the scene around the car, the cameras' pictures, curves, and a page of explanations."""

from __future__ import annotations

import inspect
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

EYE_M, LOOKED_AT_M = (-22.0, -6.0, 14.0), (18.0, 0.0, 0.0)
"""In the car's frame, x forward and z up."""

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
        rrb.TimePanel(state="collapsed", **_if_known(rrb.TimePanel, timeline="time")),
        rrb.SelectionPanel(state="collapsed"),
        auto_views=False,
    )


def _scene_views(logged: Logged) -> list[Any]:
    views = []
    around = [f"/world/{name}/**" for name in AROUND]
    origin = "/world/ego" if "world/ego" in logged.entities else "/world"  # the view goes with the car
    for title, names in DEPTH_VIEWS:
        if _has(logged, f"world/{names[-1]}"):
            contents = [*around, *(f"/world/{name}/**" for name in names)]
            views.append(rrb.Spatial3DView(name=title, origin=origin, contents=contents, **_eye(origin)))
    return views or [rrb.Spatial3DView(name="Scene", origin=origin, contents=around)]


def _eye(origin: str) -> dict[str, Any]:
    """Return where the 3D view is seen from: above and behind the car, where this version of Rerun can be told."""
    if origin != "/world/ego" or not hasattr(rrb, "EyeControls3D"):
        return {}
    eye = rrb.EyeControls3D(position=EYE_M, look_target=LOOKED_AT_M, eye_up=(0.0, 0.0, 1.0))
    return _if_known(rrb.Spatial3DView, eye_controls=eye)


def _if_known(what: Any, **options: Any) -> dict[str, Any]:
    """Return the options that this version of Rerun has: from 0.23, which works with numpy 1, to the newest."""
    return {name: value for name, value in options.items() if name in inspect.signature(what.__init__).parameters}


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
