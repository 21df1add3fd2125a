"""What is worth knowing about the data before and after a run: what is missing, what was put right, what cannot be right.

Why    Data that is only like what we know gives wrong results in silence. A source says what it found in its tables when
       it indexes them; the plan, the run, the report and the manifest repeat it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NAMED_SCENES = 3
"""Scenes that a line names before it says how many more."""


@dataclass(frozen=True)
class Finding:
    """One thing found in one scene.

    Attributes:
        what: a clause without count and scene, the same words in all scenes, e.g. ``key frames have no LIDAR_TOP file``.
        scene: the scene.
        count: how many things it concerns; 0 for one that is not counted.
        channel: sensor channel that it concerns; it matters to recipes that read this channel. "" = to all.
        advice: what it means, or what to do, in full sentences; "" for none.
        is_error: results would be wrong, so that a recipe that takes the scene is refused.
    """

    what: str
    scene: str
    count: int = 0
    channel: str = ""
    advice: str = ""
    is_error: bool = False


def finding_lines(findings: Iterable[Finding], num_scenes: int) -> list[str]:
    """Return one line for each kind of finding, with its count and its scenes.

    Args:
        findings: of any scenes.
        num_scenes: scenes that were looked at; a kind that concerns several and all of them says ``all scenes``.
    """
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.what, finding.advice), []).append(finding)
    lines = []
    for (what, advice), alike in kinds.items():
        count = sum(finding.count for finding in alike)
        scenes = list(dict.fromkeys(finding.scene for finding in alike))
        line = f"{scenes_text(scenes, num_scenes)}: {what}" + (f" ({count:,})" if count else "")
        lines.append(f"{line}. {advice}" if advice else line)
    return lines


def scenes_text(scenes: Sequence[str], num_scenes: int) -> str:
    """Return the names of scenes, of many the first and how many more."""
    if len(scenes) == num_scenes > 1:
        return f"all {num_scenes:,} scenes"
    more = f" and {len(scenes) - NAMED_SCENES:,} more" if len(scenes) > NAMED_SCENES else ""
    return f"{', '.join(scenes[:NAMED_SCENES])}{more}"
