"""The section "Pictures": every camera of a few evaluated clips.

Reads  evaluation/rendered_views.npz
Writes HTML with the pictures inside
"""

from __future__ import annotations

from flows.reports.mim4d.render_files import RenderFiles
from flows.reports.mim4d.view_panels import view_panels
from flows.reports.store import charts
from flows.reports.store.gallery_section import encode_pictures, picture_grid
from flows.reports.store.markup import section, text
from model.mim4d.loss import RECONSTRUCT


def views_section(found: RenderFiles) -> str | None:
    """Return the section, None where no clip was kept."""
    if not found.clips:
        return None
    panels = [[view_panels(clip, camera) for camera in range(len(clip.cameras))] for clip in found.clips]
    encoded = iter(encode_pictures([panel.picture for clip in panels for own in clip for panel in own]))
    blocks = ""
    for clip, of_clip in zip(found.clips, panels, strict=True):
        cameras = "".join(
            f"<h4>{text(camera)}</h4>{picture_grid(own, [next(encoded) for _ in own], css='many')}"
            for camera, own in zip(clip.cameras, of_clip, strict=True)
        )
        blocks += f'<article class="frame"><h3><code>{text(clip.key)}</code></h3>{cameras}</article>'
    legends = (
        f"<figure>{charts.depth_legend()}<figcaption>Distance along the ray in metres, in all pictures the same; faint where "
        "little of a ray ends in the volume</figcaption></figure>"
        f"<figure>{charts.error_legend()}<figcaption>Error in metres: rendered minus LiDAR</figcaption></figure>"
    )
    rebuilt = ", the rebuilt one of the other frames alone" if RECONSTRUCT in found.clips[0].shown else ""
    intro = (
        "<p>Key frames of clips spread evenly over the split. The network saw the input with its hidden patches, not the image. "
        f"Its own volume is made of these images{rebuilt}. Dark grey: the ray misses the box of voxels. Held-out points are "
        f'those that no ray was trained on.</p><div class="legends">{legends}</div>'
    )
    return section("pictures", "Pictures", intro + blocks)
