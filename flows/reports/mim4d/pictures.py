"""The section "Pictures": every camera of a few evaluated clips, what went in, what every volume shows, how far it is off.

Reads  RenderedClip, of evaluation/rendered_views.npz
Writes HTML with the pictures inside, all of one scale of colours
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.reports.html import charts
from flows.reports.html.depth_pictures import EMPTY_CANVAS, Depth, dense_colors, dimmed, errors_on, points_on
from flows.reports.html.markup import plural, section, text
from flows.reports.html.pictures import Panel, picture_grids
from flows.reports.mim4d.files import RenderedClip, RenderFiles, VolumeViews
from model.blocks.resnet import IMAGENET_MEAN
from model.mim4d.loss import DIRECT, RECONSTRUCT

LEAST_WIDTH_PX, MAX_WIDTH_PX = 320, 480
"""Width of a picture: smaller images are enlarged by a whole factor, larger ones shrunk; there may be a hundred on a page."""

Size = tuple[int, int]

_TITLES = {DIRECT: "own volume", RECONSTRUCT: "rebuilt"}


def pictures_section(training: RenderFiles) -> str | None:
    """Return the section, None where no clip was kept."""
    if not training.clips:
        return None
    views = [(clip, camera) for clip in training.clips for camera in range(len(clip.cameras))]
    grids = iter(picture_grids([view_panels(clip, camera) for clip, camera in views], css="many"))
    blocks = ""
    for clip in training.clips:
        cameras = "".join(f"<h4>{text(camera)}</h4>{next(grids)}" for camera in clip.cameras)
        blocks += f'<article class="frame"><h3><code>{text(clip.key)}</code></h3>{cameras}</article>'
    legends = (
        f"<figure>{charts.depth_legend()}<figcaption>Distance along the ray in metres, in all pictures the same; faint where "
        "little of a ray ends in the volume</figcaption></figure>"
        f"<figure>{charts.error_legend()}<figcaption>Error in metres: rendered minus LiDAR</figcaption></figure>"
    )
    rebuilt = ", the rebuilt one of the other frames alone" if RECONSTRUCT in training.clips[0].views_of_volume else ""
    intro = (
        "<p>Key frames of clips spread evenly over the split. The network saw the input with its hidden patches, not the image. "
        f"Its own volume is made of these images{rebuilt}. Dark grey: the ray misses the box of voxels. Held-out points are "
        f'those that no ray was trained on.</p><div class="legends">{legends}</div>'
    )
    return section("pictures", "Pictures", intro + blocks)


def view_panels(clip: RenderedClip, camera: int) -> list[Panel]:
    """Draw one camera: masked input, image, colours, depths, LiDAR, and the error at held-out points.

    The error is that of the rebuilt volume, or of the frame's own if the network is of single frames.
    """
    size = picture_size(clip)
    image = Image.fromarray(clip.image_u8[camera])
    is_seen, lidar_m, held_out_m = clip.is_seen[camera], clip.lidar_m[camera], clip.held_out_m[camera]
    base = dimmed(image, size)
    panels = [
        ("Input", masked_picture(clip, camera), f"{100 * np.mean(~is_seen):.0f} % of the patches hidden"),
        ("Image", image.resize(size, Image.Resampling.BOX), ""),
    ]
    panels += [
        (f"Colour, {_TITLES[name]}", colour_picture(clip, name, camera), _missed_words(views.depth_m[camera]))
        for name, views in clip.views_of_volume.items()
    ]
    panels += [
        (f"Depth, {_TITLES[name]}", depth_picture(clip, name, camera), _error_words(clip.at_held_out_m[name][camera], held_out_m))
        for name in clip.views_of_volume
    ]
    panels.append(("LiDAR", points_on(base, lidar_m), plural(int(np.count_nonzero(lidar_m)), "point") + " of this sweep"))
    worst = list(clip.views_of_volume)[-1]
    errors = errors_on(base, clip.at_held_out_m[worst][camera], held_out_m)
    panels.append((f"Error, {_TITLES[worst]}", errors, plural(int(np.count_nonzero(held_out_m)), "held-out point")))
    where = f"of {clip.cameras[camera]} of clip {clip.key}"
    return [Panel(title, picture, note, f"{title} {where}. {note}".strip()) for title, picture, note in panels]


def picture_size(clip: RenderedClip) -> Size:
    """Return width and height of the clip's pictures."""
    height, width = clip.image_u8.shape[1:3]
    factor = max(1, -(-LEAST_WIDTH_PX // width))
    scale = min(float(factor), MAX_WIDTH_PX / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def masked_picture(clip: RenderedClip, camera: int) -> Image.Image:
    """Draw the image as the network gets it: hidden patches in the mean colour of ImageNet, which is 0 after normalisation."""
    image, is_seen = clip.image_u8[camera].copy(), clip.is_seen[camera]
    down, across = image.shape[0] // is_seen.shape[0], image.shape[1] // is_seen.shape[1]
    hidden = ~is_seen.repeat(down, axis=0).repeat(across, axis=1)
    image[hidden] = np.round(255.0 * np.array(IMAGENET_MEAN)).astype(np.uint8)
    return Image.fromarray(image).resize(picture_size(clip), Image.Resampling.BOX)


def colour_picture(clip: RenderedClip, volume: str, camera: int) -> Image.Image:
    """Draw the colours that a volume shows to a camera."""
    return _on_canvas(clip, colours_of(clip.views_of_volume[volume], camera))


def depth_picture(clip: RenderedClip, volume: str, camera: int) -> Image.Image:
    """Draw the distances that a volume shows to a camera."""
    return _on_canvas(clip, depths_of(clip.views_of_volume[volume], camera))


def colours_of(views: VolumeViews, place: int) -> NDArray[np.uint8]:
    """Return the colours (y, x, 3) of one picture; rays that miss the box of voxels have that of an empty canvas, not black."""
    colours: NDArray[np.uint8] = views.rgb_u8[place].copy()
    colours[views.depth_m[place] == 0] = EMPTY_CANVAS
    return colours


def depths_of(views: VolumeViews, place: int) -> NDArray[np.uint8]:
    """Return the distances of one picture as colours (y, x, 3), the fainter the less of a ray ends in the box of voxels."""
    opacity = np.clip(views.opacity[place], 0.0, 1.0)[..., None]
    colours = dense_colors(views.depth_m[place]) * opacity + np.array(EMPTY_CANVAS) * (1.0 - opacity)
    return np.asarray(np.round(colours), np.uint8)


def _on_canvas(clip: RenderedClip, pixels: NDArray[np.uint8]) -> Image.Image:
    """Enlarge a rendered picture (y, x, 3) so that it lies on the image; what it does not reach at the edges stays empty."""
    height, width = clip.image_u8.shape[1:3]
    whole = np.full((height, width, 3), EMPTY_CANVAS, np.uint8)
    enlarged = pixels.repeat(clip.step_px, axis=0).repeat(clip.step_px, axis=1)[:height, :width]
    whole[: enlarged.shape[0], : enlarged.shape[1]] = enlarged
    return Image.fromarray(whole).resize(picture_size(clip), Image.Resampling.BOX)


def _missed_words(depth_m: Depth) -> str:
    missed = float(np.mean(depth_m == 0))
    return f"{100 * missed:.0f} % of the rays miss the voxels" if missed >= 0.005 else ""


def _error_words(found_m: Depth, true_m: Depth) -> str:
    mask = true_m > 0
    if not np.any(mask):
        return "no held-out point"
    error_m = np.abs(found_m[mask] - true_m[mask])
    return f"{error_m.mean():.2f} m off at held-out points, {100 * np.mean(error_m / true_m[mask]):.0f} % of the distance"
