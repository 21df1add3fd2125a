"""Make docs/pictures/surround.jpg and sweeps.jpg for the docs: ``python docs/surround_pictures.py``.

Simulates a drive in a temporary folder: its pictures need no data set's licence.
surround: the key frame's returns of five conventional radars on six images. sweeps: returns of moving things in twelve earlier
sweeps of an imaging radar without and with Doppler, green where they land on the thing; a single LiDAR sweep, interpolated.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from simulated_picture import GAP_PX, titled

from flows.reports.html.colormap import depth_colors
from flows.reports.html.depth_pictures import dimmed, draw_points, point_reach_px
from flows.reports.html.pictures import Panel
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stages import interpolate_depth, pack_truth, project_lidar, project_radar
from storage_schemas.catalog import RADAR_CHANNELS, SURFACES
from storage_schemas.encoding import STEPS_PER_M, decode_depth
from storage_schemas.layout import UnitData

SCENE, FRAME = "scene-0061", 4
CAMERAS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT")
ON_TARGET_M = 1.0
"""A return lies on a moving thing if the pixel shows one at its depth, to this much."""
ON, BESIDE = (90, 230, 90), (255, 60, 200)


def main(folder: Path) -> None:
    """Write both pictures."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        save(surround_panels(Path(work)), folder / "surround.jpg", columns=3)
        save(sweep_panels(Path(work)), folder / "sweeps.jpg", columns=2)


def world(work: Path, radar: str, *, cameras: tuple[str, ...], image_size: tuple[int, int]) -> dict[str, StageInput]:
    """Simulate a drive and return what a kernel gets, by camera."""
    source = {"kind": "synthetic", "scenes": 1, "seconds": 5, "seed": 7, "image_size": image_size, "root": str(work / radar)}
    recipe = parse_recipe(
        {
            "source": {**source, "radar": radar, "lidar_azimuth_steps": 1084 if radar == "imaging" else 64},
            "store": str(work / "store"),
            "cameras": cameras,
            "stages": {"project_radar": {"channels": RADAR_CHANNELS}},
        },
        where="pictures",
    )
    opened = open_source(recipe.source, work / "cache")
    opened.prepare()
    raw = opened.reader()
    frames = UnitData(tables=raw.scene_tables(SCENE))
    return {camera: StageInput(SCENE, camera, {"frames": frames}, raw) for camera in cameras}


def surround_panels(work: Path) -> list[Panel]:
    """Return the six images with the returns of five radars."""
    panels = []
    for camera, unit in world(work, "conventional", cameras=CAMERAS, image_size=(440, 248)).items():
        found = project_radar.kernel(unit, project_radar.Params(channels=RADAR_CHANNELS)).data.arrays
        own = found["frame_of_point"] == FRAME
        picture = image_of(unit)
        canvas = dimmed(picture, picture.size)
        draw_returns(canvas, found, own, depth_colors(found["depth_m"][own]))
        seen_by = len(np.unique(found["sensor"][own]))
        panels.append(Panel(camera, Image.fromarray(canvas), f"{own.sum()} returns, seen by {seen_by} of 5 radars", ""))
    return panels


def sweep_panels(work: Path) -> list[Panel]:
    """Return earlier sweeps without and with Doppler, and a sparse map beside its interpolation."""
    unit = world(work, "imaging", cameras=("CAM_FRONT",), image_size=(640, 360))["CAM_FRONT"]
    truth = pack_truth.kernel(unit, pack_truth.Params()).data.arrays
    panels = [moving_panel(unit, truth, "ignore", "12 radar sweeps"), moving_panel(unit, truth, "doppler", "moved by Doppler")]
    single = project_lidar.kernel(unit, project_lidar.Params()).data
    unit = StageInput(SCENE, "CAM_FRONT", {**unit.units, "depth_single": single}, unit.raw)
    rule = interpolate_depth.Params(of="depth_single", max_depth_ratio=1.4, max_edge_px=40)
    filled = interpolate_depth.kernel(unit, rule).data
    for title, data in (("single LiDAR sweep", single), ("interpolated", filled)):
        steps = data.arrays["depth_m"][FRAME]
        canvas = dimmed(image_of(unit), image_of(unit).size)
        mask = steps > 0
        draw_points(
            canvas, mask, -steps[mask].astype(np.int32), depth_colors(decode_depth(steps[mask])), point_reach_px(mask, canvas)
        )
        panels.append(Panel(title, Image.fromarray(canvas), f"{100 * mask.mean():.0f} % of pixels", ""))
    return panels


def moving_panel(unit: StageInput, truth: dict[str, NDArray[Any]], target_motion: Any, title: str) -> Panel:
    """Return the image with the returns of moving things, coloured by whether they land on one."""
    params = project_radar.Params(past_sweeps=12, target_motion=target_motion)
    found = project_radar.kernel(unit, params).data.arrays
    own = (found["frame_of_point"] == FRAME) & (np.hypot(found["vx_comp_mps"], found["vy_comp_mps"]) > 3.0)
    row, column = found["v_px"][own].astype(int), found["u_px"][own].astype(int)
    moving = np.isin(truth["surface"][FRAME, row, column], [k for k, name in enumerate(SURFACES) if name.startswith("moving")])
    is_near = np.abs(found["depth_m"][own] - truth["depth_m"][FRAME, row, column] / STEPS_PER_M) < ON_TARGET_M
    canvas = dimmed(image_of(unit), image_of(unit).size)
    draw_returns(canvas, found, own, np.where((moving & is_near)[:, None], ON, BESIDE).astype(np.uint8))
    return Panel(title, Image.fromarray(canvas), f"{100 * (moving & is_near).mean():.0f} % on their target", "")


def draw_returns(
    canvas: NDArray[np.uint8], found: dict[str, NDArray[Any]], own: NDArray[np.bool_], colors: NDArray[np.uint8]
) -> None:
    """Draw the returns of one frame as squares of 5 pixels with a dark rim, nearest last."""
    order = np.argsort(-found["depth_m"][own])
    u_px, v_px = found["u_px"][own].astype(int), found["v_px"][own].astype(int)
    for k in order:
        for reach, color in ((3, np.zeros(3, np.uint8)), (2, colors[k])):
            canvas[max(0, v_px[k] - reach) : v_px[k] + reach + 1, max(0, u_px[k] - reach) : u_px[k] + reach + 1] = color


def image_of(unit: StageInput) -> Image.Image:
    """Return the camera image of the shown frame."""
    return Image.open(unit.raw.root / unit.keyframes[FRAME]["file"]).convert("RGB")  # type: ignore[attr-defined]


def save(panels: list[Panel], target: Path, *, columns: int) -> None:
    """Paste panels into one sheet, row by row, and write it."""
    width, height = panels[0].picture.size
    rows = -(-len(panels) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP_PX) - GAP_PX, rows * (height + GAP_PX) - GAP_PX), "white")
    for number, panel in enumerate(panels):
        sheet.paste(titled(panel), ((number % columns) * (width + GAP_PX), (number // columns) * (height + GAP_PX)))
    sheet.save(target, quality=82)
    print(f"wrote {target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(__file__).with_name("pictures"))
