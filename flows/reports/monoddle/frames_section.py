"""The section "Frames": a few evaluated frames in pictures.

Reads  evaluation/pictures.npz
Writes HTML with the pictures inside
"""

from __future__ import annotations

from flows.reports.monoddle.detection_files import DetectionFiles
from flows.reports.monoddle.pictures import FOUND, TRUTH, detection_panels
from flows.reports.store import charts
from flows.reports.store.gallery_section import encode_pictures, picture_grid
from flows.reports.store.markup import plural, section, swatch, text


def detection_frames_section(found: DetectionFiles) -> str | None:
    """Return the section, None where no frame was kept."""
    if not found.frames:
        return None
    panels = [detection_panels(frame) for frame in found.frames]
    encoded = iter(encode_pictures([panel.picture for own in panels for panel in own]))
    blocks = "".join(
        f'<article class="frame"><h3><code>{text(frame.key)}</code> '
        f'<span class="tag">{plural(len(frame.truth), "object")}</span> <span class="tag">{len(frame.found):,} found</span></h3>'
        f"{picture_grid(own, [next(encoded) for _ in own])}</article>"
        for frame, own in zip(found.frames, panels, strict=True)
    )
    legends = (
        f"<figure><figcaption>{swatch(TRUTH)}annotated, of every category</figcaption><figcaption>{swatch(FOUND)}found, with "
        "its score, which ranks and is no probability</figcaption></figure>"
        f"<figure>{charts.depth_legend()}<figcaption>Depth in metres, of teacher and network</figcaption></figure>"
    )
    intro = (
        "<p>Frames spread evenly over the split, at the network's input. From above, the camera looks up from the middle of the "
        f'lower edge; rings are 10 m apart, and higher points are brighter.</p><div class="legends">{legends}</div>'
    )
    return section("frames", "Frames", intro + blocks)
