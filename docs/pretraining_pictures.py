"""Make the pictures of pre-training in docs/gallery.md: ``python docs/pretraining_pictures.py ../shared/data [work] [gallery]``.

Reads nuscenes-keyframe/ below the given folder, overfits a tiny MIM4D to its six images (500 steps, some ten minutes of a
processor core) and draws what the volume shows. Store and training are kept in the folder ``work``, where it goes on after a
stop. What it writes is adapted material under the data set's licence (docs/gallery/LICENSE.md).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from gallery_pictures import CAMERAS, save, sheet
from PIL import Image
from simulated_picture import titled

from flows.reports.html.pictures import Panel
from flows.reports.mim4d.files import RenderedClip, Shown, read_clips
from flows.reports.mim4d.pictures import colours_of, depths_of, view_panels
from flows.run.bare_loop import BareLoop
from flows.run.making import make_units
from flows.run.opening import open_recipe
from flows.run.training import open_training
from flows.settings import Settings
from model.mim4d.rendered_views import VIEWS_FILE
from pipeline.recipe import parse_recipe

MAX_BYTES = 150_000
SHOWN_CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_BACK_LEFT")
TITLES = ("Input", "Image", "Colour, own volume", "Depth, own volume", "LiDAR")
NUM_MOMENTS = 4
CELL_PX = 300

TRAINING: dict[str, Any] = {
    "family": "mim4d",
    "max_steps": 500,
    "epochs": 500,
    "evaluate_every_epochs": 250,
    "learning_rate": 3e-3,
    "backbone_rate": 0.5,
    "warm_up_epochs": 10,
    "network": {
        "input_px": [128, 224],
        "num_frames": 1,
        "backbone": {"name": "convnext_mini", "layer_scale": 0.1, "drop_path": 0},
        "lift": {
            "channels": 32,
            "num_depth_bins": 48,
            "far_m": 48.0,
            "low_m": [-38.4, -38.4, -2.4],
            "high_m": [38.4, 38.4, 5.6],
            "num_voxels_zyx": [8, 64, 64],
            "volume_channels": 16,
        },
        "render": {
            "num_coarse": 32,
            "num_fine": 12,
            "rays": {"rays_per_camera": 96, "max_radius_m": 38, "filler_top_fraction": 0.2},
        },
    },
    "data": {"batch_size": 1},
    "evaluation": {"split": "train", "picture_width_px": 112},  # the one frame that there is, but LiDAR points held out of it
}


def main(data: Path, work: Path, out: Path) -> None:
    """Write both pictures."""
    recipe = {
        "source": {"kind": "nuscenes", "root": str(data / "nuscenes-keyframe"), "version": "v1.0-mini"},
        "store": str(work / "store"),
        "cameras": list(CAMERAS),
        "stages": {"index_windows": {"enabled": True, "num_frames": 1}, "build_manifest": {"drop_last_keyframe": False}},
        "train": TRAINING,
    }
    opened = open_recipe(parse_recipe(recipe, where="gallery"), Settings(workers=1, cache_dir=work / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    if made.errors:
        raise SystemExit(f"stages failed: {made.errors}")
    training = open_training(opened, where="gallery", manifest=None, out=work / "training")
    training.run(None)
    training.evaluate()
    draw(training.folder / "evaluation" / VIEWS_FILE, out)


def draw(views: Path, out: Path) -> None:
    """Write the pictures of what an evaluation left."""
    (clip,), flight = read_clips(views)
    assert flight is not None
    save(cameras_sheet(clip), out / "nuscenes_rendered.jpg", max_bytes=MAX_BYTES)
    save(flight_sheet(flight), out / "nuscenes_flight.jpg", max_bytes=MAX_BYTES)


def cameras_sheet(clip: RenderedClip) -> Image.Image:
    """Return a row of pictures for each of some cameras; names in the first, distances of the errors on the depth."""
    rows = []
    for camera in SHOWN_CAMERAS:
        panels = {panel.title: panel for panel in view_panels(clip, clip.cameras.index(camera))}
        cells = [_cell(panels[title], camera if title == "Image" else title.removesuffix(", own volume")) for title in TITLES]
        rows.append(cells)
    return sheet(rows)


def flight_sheet(flight: Shown) -> Image.Image:
    """Return moments of the fly-through from left to right, colour above depth."""
    moments = np.linspace(0, len(flight.depth_m) - 1, NUM_MOMENTS + 1).round().astype(int)[:-1]
    return sheet([[_enlarged(Image.fromarray(pixels(flight, place))) for place in moments] for pixels in (colours_of, depths_of)])


def _cell(panel: Panel, title: str) -> Image.Image:
    return titled(Panel(title, _enlarged(panel.picture), "", panel.alt))


def _enlarged(picture: Image.Image) -> Image.Image:
    return picture.resize((CELL_PX, round(CELL_PX * picture.height / picture.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    gallery = Path(sys.argv[3]) if sys.argv[3:] else Path(__file__).with_name("gallery")
    if sys.argv[2:]:
        main(Path(sys.argv[1]), Path(sys.argv[2]), gallery)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(sys.argv[1]), Path(scratch), gallery)
