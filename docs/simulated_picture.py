"""Make docs/supervision.jpg, a frame of the simulated world: ``python docs/simulated_picture.py demo/recipe.yaml``.

Shows the frame of the recipe with the most dropped returns: camera and radar, single sweep, accumulated, clean. Only for a
simulated world: pictures of real data have another licence and stand in docs/gallery.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from flows.reports.html.pictures import Panel
from flows.reports.store.chosen_frames import read_frame, worst_frames
from flows.reports.store.facts import gather_facts
from flows.reports.store.pictures import frame_panels
from flows.run.opening import open_recipe
from flows.settings import Settings
from pipeline.recipe import load_recipe

GAP_PX = 8
PANEL_PX = (600, 338)
QUALITY = 72
"""Points are noise to JPEG: at full size and quality 88 the picture had 512 kB."""


def main(recipe: Path) -> None:
    """Write the picture."""
    opened = open_recipe(load_recipe(recipe), Settings())
    facts = gather_facts(opened.plan(), opened.store)
    chosen = worst_frames(opened.store, facts.views, [], [])
    by_drop = next(one for one in chosen if "drop" in one.why)
    panels = frame_panels(read_frame(opened.store, by_drop))[:4]
    panels = [smaller(panel) for panel in panels]
    width, height = PANEL_PX
    sheet = Image.new("RGB", (2 * width + GAP_PX, 2 * height + GAP_PX), "white")
    for number, panel in enumerate(panels):
        sheet.paste(titled(panel), ((number % 2) * (width + GAP_PX), (number // 2) * (height + GAP_PX)))
    target = Path(__file__).with_name("supervision.jpg")
    sheet.save(target, quality=QUALITY)
    print(f"wrote {target}: {by_drop.view.scene} frame {by_drop.frame}, {by_drop.why}")


def smaller(panel: Panel) -> Panel:
    """Return a picture at the size it has on the sheet."""
    return Panel(panel.title, panel.picture.resize(PANEL_PX, Image.Resampling.LANCZOS), panel.caption, panel.alt)


def titled(panel: Panel) -> Image.Image:
    """Return a picture with its title and caption in the corner."""
    picture = panel.picture.convert("RGB")
    draw = ImageDraw.Draw(picture)
    label, font = f" {': '.join(filter(None, (panel.title, panel.caption)))} ", ImageFont.load_default(15)
    draw.rectangle(draw.textbbox((6, 6), label, font=font), fill=(0, 0, 0))
    draw.text((6, 6), label, fill="white", font=font)
    return picture


if __name__ == "__main__":
    main(Path(sys.argv[1]))
