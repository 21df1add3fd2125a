"""Make the pictures of docs/gallery.md from real data: ``python docs/gallery_pictures.py ../shared/data [docs/gallery]``.

Reads the real sets below the given folder (kitti0001-as-nuscenes, nuscenes-keyframe and others) and runs the stages on them in a
temporary store. What it writes is adapted material under the data sets' licences (docs/gallery/LICENSE.md): shrunk and drawn
over. No file is copied.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from simulated_picture import titled

from flows.assessment.work import Choices, assess_recipe
from flows.reports.html.pictures import Panel
from flows.reports.store.chosen_frames import ChosenFrame, FrameContent, read_frame
from flows.reports.store.facts import gather_facts
from flows.reports.store.pictures import frame_panels
from flows.run.bare_loop import BareLoop
from flows.run.listener import Listener
from flows.run.making import make_units
from flows.run.opening import open_recipe
from flows.settings import Settings
from pipeline.recipe import parse_recipe

GAP_PX = 6
PART_PX = (120, 66)
WIDTH_PX = 1200
HALF_PX = 600
MAX_BYTES = 200_000
README_FRAME = 6
"""Key frame of the drive that the README shows: parked cars, trees and a wall."""

RADAR_FRAMES = (0, 1, 3)
"""Of the five frames of nuScenes: a truck, pedestrians, a road at night."""

DRIVE_FRAMES = (18, 61)
"""Of the two drives without LiDAR: a street in Boston, parked cars in Singapore."""

CAMERAS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT")


def main(data: Path, out: Path) -> None:
    """Write all pictures."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        radar_pictures(data, work, out)
        drive = data / "kitti0001-as-nuscenes"
        rules = {rule: {"accumulate_lidar": {"moving": rule}} for rule in ("keep", "drop", "carry")}
        by_rule = {rule: frames_of(drive, work, stages=stages) for rule, stages in rules.items()}
        key = most_different(by_rule["keep"], by_rule["drop"])
        panels = {panel.title: panel for panel in frame_panels(without_radar(by_rule["drop"][key]))}
        shown = [panels["Camera"], panels["Single sweep"], panels["Clean"]]
        save(sheet([[enlarged(panel, 2)] for panel in shown]), out / "kitti_stages.jpg")
        box = most_different_part(by_rule["keep"][key], by_rule["drop"][key])
        views = [panels["Camera"], *(named(pick(by_rule[rule][key], "Accumulated"), f"moving: {rule}") for rule in by_rule)]
        parts = [enlarged(cut(panel, box), 5) for panel in views]
        save(sheet([parts[:2], parts[2:]]), out / "kitti_moving.jpg")
        save(from_one_sweep_to_clean(by_rule["keep"], drive, work), out / "kitti_surface.jpg")
        save(assessed(drive, work), out / "kitti_supervision.jpg")
        only = {"build_manifest": {"drop_last_keyframe": False}}
        around = frames_of(data / "nuscenes-keyframe", work, cameras=CAMERAS, stages=only)
        singles = {key.split("/")[1]: pick(frame, "Single sweep") for key, frame in around.items()}
        cells = [enlarged(named(singles[camera], camera), 0.62) for camera in CAMERAS]
        save(sheet([cells[:3], cells[3:]]), out / "nuscenes_six_cameras.jpg")


def radar_pictures(data: Path, work: Path, out: Path) -> None:
    """Write the pictures with real radar returns: with LiDAR by day and night, without LiDAR, and of a 3+1D radar."""
    every_frame = {"build_manifest": {"drop_last_keyframe": False}}
    with_lidar = list(frames_of(data / "nuscenes-five-frames", work, stages=every_frame).values())
    save(sheet([radar_and_sweep(with_lidar[number]) for number in RADAR_FRAMES]), out / "nuscenes_radar.jpg")
    drives = list(frames_of(data / "nuscenes-radar-scenes", work, stages=every_frame).values())
    save(sheet([[radar_and_sweep(drives[number])[0] for number in DRIVE_FRAMES]]), out / "nuscenes_radar_drives.jpg")
    motorway = list(frames_of(data / "aimotive-as-nuscenes", work, stages=every_frame).values())[1]
    save(sheet([[radar_and_sweep(motorway)[0], half_a_page(pick(motorway, "Accumulated"))]]), out / "aimotive_radar.jpg")


def radar_and_sweep(frame: FrameContent) -> list[Image.Image]:
    """Return the camera with its radar returns and, where there is LiDAR, the key sweep, each half a page wide."""
    return [half_a_page(panel) for panel in frame_panels(frame)[:2]]


def half_a_page(panel: Panel) -> Image.Image:
    """Return a picture, titled, at half the width of a page."""
    return enlarged(panel, HALF_PX / panel.picture.width)


def from_one_sweep_to_clean(kept: dict[str, FrameContent], drive: Path, work: Path) -> Image.Image:
    """Return the picture of the README: camera, key sweep, all sweeps, and all sweeps by the rules of ``preset: surface``."""
    cleaned = frames_of(drive, work, stages={}, preset="surface")
    key = sorted(kept)[README_FRAME]
    camera, sweep, _, clean = frame_panels(without_radar(cleaned[key]))[:4]
    dense = pick(kept[key], "Accumulated")
    titles = {"Camera": camera, "One LiDAR sweep": sweep, "All sweeps of the drive": dense, "All sweeps, cleaned": clean}
    cells = [enlarged(named(panel, title), 1.5) for title, panel in titles.items()]
    return sheet([cells[:2], cells[2:]])


def recipe_of(
    root: Path, work: Path, *, cameras: Sequence[str] = ("CAM_FRONT",), stages: dict[str, Any], preset: str = "published"
) -> dict[str, Any]:
    """Return a recipe for a data root with a store in the work folder."""
    source = {"kind": "nuscenes", "root": str(root), "version": "v1.0-mini"}
    return {"source": source, "store": str(work / root.name), "cameras": list(cameras), "stages": stages, "preset": preset}


def frames_of(
    root: Path, work: Path, *, cameras: Sequence[str] = ("CAM_FRONT",), stages: dict[str, Any], preset: str = "published"
) -> dict[str, FrameContent]:
    """Run the stages on a data root and return every frame by its key."""
    recipe = recipe_of(root, work, cameras=cameras, stages=stages, preset=preset)
    opened = open_recipe(parse_recipe(recipe, where="gallery"), Settings(workers=1, cache_dir=work / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    if made.errors:
        raise SystemExit(f"stages failed on {root}: {made.errors}")
    found = {}
    for view in gather_facts(opened.plan(), opened.store).views:
        times = opened.store.open_unit(view.units["images"]).array("timestamp_us")
        for number in range(len(times)):
            frame = read_frame(opened.store, ChosenFrame(view, number, ""))
            found[frame.key] = frame
    return found


def assessed(root: Path, work: Path) -> Image.Image:
    """Measure preset surface against the held-out key sweep; return the frame with the second most errors."""
    recipe = recipe_of(root, work, stages={}, preset="surface")
    opened = open_recipe(parse_recipe(recipe, where="gallery"), Settings(workers=1, cache_dir=work / "cache"))
    assess_recipe(opened, Choices(out=work / "assessed", pictures=2), Listener(print), title="gallery")
    (picture,) = (work / "assessed").glob("worst-2-*.png")
    with Image.open(picture) as image:
        size = (WIDTH_PX, round(image.height * WIDTH_PX / image.width))
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def most_different(a: dict[str, FrameContent], b: dict[str, FrameContent]) -> str:
    """Return the frame whose accumulated maps differ most."""
    return max(a, key=lambda key: np.count_nonzero(a[key].maps["depth_accumulated"] != b[key].maps["depth_accumulated"]))


def without_radar(frame: FrameContent) -> FrameContent:
    """Return a frame without its radar: that of the KITTI drive is made up, and no picture shall suggest otherwise."""
    return FrameContent(frame.key, frame.image, frame.maps, None, frame.image_note)


def most_different_part(a: FrameContent, b: FrameContent) -> tuple[int, int, int, int]:
    """Return left, upper, right, lower of the part of ``PART_PX`` where two frames' accumulated maps differ most."""
    differs = a.maps["depth_accumulated"] != b.maps["depth_accumulated"]
    width, height = PART_PX
    counts = np.lib.stride_tricks.sliding_window_view(differs, (height, width)).sum((2, 3))
    y, x = np.unravel_index(counts.argmax(), counts.shape)
    return int(x), int(y), int(x) + width, int(y) + height


def cut(panel: Panel, box: tuple[int, int, int, int]) -> Panel:
    """Return a part of a picture, without its caption, which speaks of the whole."""
    return Panel(panel.title, panel.picture.crop(box), "", panel.alt)


def pick(frame: FrameContent, title: str) -> Panel:
    """Return one picture of a frame."""
    return next(panel for panel in frame_panels(frame) if panel.title == title)


def named(panel: Panel, title: str) -> Panel:
    """Return a picture under another title."""
    return Panel(title, panel.picture, panel.caption.split(",")[0], panel.alt)


def enlarged(panel: Panel, scale: float) -> Image.Image:
    """Return a picture at another size, titled after that, so that the letters stay sharp."""
    size = (round(panel.picture.width * scale), round(panel.picture.height * scale))
    picture = panel.picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    return titled(Panel(panel.title, picture, panel.caption, panel.alt))


def sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Put pictures of equal size in rows."""
    width, height = rows[0][0].size
    page = Image.new("RGB", ((width + GAP_PX) * len(rows[0]) - GAP_PX, (height + GAP_PX) * len(rows) - GAP_PX), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            page.paste(picture, (x * (width + GAP_PX), y * (height + GAP_PX)))
    return page


def save(picture: Image.Image, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Write a JPEG with the best quality that stays below the limit."""
    for quality in (88, 80, 72, 64, 55, 45):
        picture.save(path, quality=quality)
        if path.stat().st_size < max_bytes:
            break
    print(f"wrote {path}: {picture.width}x{picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else Path(__file__).with_name("gallery"))
