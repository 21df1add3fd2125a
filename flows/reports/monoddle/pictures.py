"""The section "Frames": the pictures of the frames that an evaluation kept, and how they were chosen.

Reads  DetectionFrame, from memory or from evaluation/pictures.npz
Writes HTML with the pictures inside, each 720 px wide
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.reports.html import charts
from flows.reports.html.markup import plural, section, swatch, text
from flows.reports.html.pictures import picture_grids
from flows.reports.monoddle.files import DetectionFiles
from flows.reports.monoddle.over_image import DETECTED, TRUTH
from flows.reports.monoddle.panels import choice_words, detection_panels
from model.monoddle.detection_frames import DetectionFrame
from model.train.kept_frames import NAMED, SPREAD, WORST


def pictures_section(training: DetectionFiles) -> str | None:
    """Return the section, None where no frame was kept."""
    if not training.frames:
        return None
    grids = picture_grids([detection_panels(frame) for frame in training.frames])
    blocks = "".join(
        f'<article class="frame"><h3><code>{text(frame.key)}</code> {_tags(frame)}</h3>{grid}</article>'
        for frame, grid in zip(training.frames, grids, strict=True)
    )
    legends = (
        f"<figure><figcaption>{swatch(TRUTH)}annotated, of every category</figcaption><figcaption>{swatch(DETECTED)}found, with "
        "its score, which ranks and is no probability</figcaption></figure>"
        f"<figure>{charts.depth_legend()}<figcaption>Depth in metres, of LiDAR, teacher and network</figcaption></figure>"
    )
    intro = (
        f"<p>{text(chosen_words(training.frames))} From above, the camera looks up from the middle of the lower edge; rings are "
        f'10 m apart, and higher points are brighter.</p><div class="legends">{legends}</div>'
    )
    return section("frames", "Frames", intro + blocks)


def chosen_words(frames: Sequence[DetectionFrame]) -> str:
    """Say how the frames of an evaluation were chosen; those of former versions were spread evenly."""
    counts = {reason: sum(reason in frame.reasons for frame in frames) for reason in (NAMED, WORST, SPREAD)}
    if counts[NAMED] == counts[WORST] == 0:
        return "Frames spread evenly over the split, at the network's input."
    parts = []
    if counts[NAMED]:
        parts.append(f"{counts[NAMED]} asked for by name")
    if counts[WORST]:
        parts.append(f"{counts[WORST]} with the most missed and false objects ({frames[0].error_of})")
    if counts[SPREAD]:
        parts.append(f"{counts[SPREAD]} spread evenly over the split")
    return f"{plural(len(frames), 'frame')} at the network's input: {', '.join(parts)}."


def _tags(frame: DetectionFrame) -> str:
    words = [plural(len(frame.truth), "object"), f"{len(frame.detections):,} found", *choice_words(frame)]
    return " ".join(f'<span class="tag">{text(word)}</span>' for word in words)
