"""The section "Fly-through": one clip's volume, seen by a camera that moves through it.

Reads  evaluation/rendered_views.npz
Writes HTML with the animation inside
"""

from __future__ import annotations

import base64

from flows.reports.mim4d.flight_gif import flight_gif
from flows.reports.mim4d.render_files import RenderFiles
from flows.reports.store.markup import section, text


def flight_section(found: RenderFiles) -> str | None:
    """Return the section, None without a fly-through."""
    if found.flight is None or not found.clips or not len(found.flight.depth_m):
        return None
    content, (width, height) = flight_gif(found.flight)
    clip = found.clips[0]
    alt = f"Fly-through of clip {clip.key}: colour at the left, depth at the right, {len(found.flight.depth_m)} pictures"
    data = base64.b64encode(content).decode("ascii")
    words = (
        f"<p>The key frame's own volume of clip <code>{text(clip.key)}</code>, rendered by the camera that looks ahead: along "
        "the way by which the vehicle came, then in a loop ahead and to both sides, where no camera has been. If the vehicle "
        "stood still, or the network is of single frames, there is only the loop. Colours are those of the pictures.</p>"
    )
    figure = (
        f'<figure><img src="data:image/gif;base64,{data}" alt="{text(alt)}" width="{width}" height="{height}">'
        "<figcaption><b>Colour and depth</b></figcaption></figure>"
    )
    return section("flight", "Fly-through", f'{words}<div class="pictures">{figure}</div>')
