"""The section "Assessment": what ``depthmill assess`` measured of these very units, on sampled frames.

Why    Measuring takes seconds a frame, so a page never measures: it shows what was kept for the manifest that it is about
Reads  <runs>/assessments/<manifest>.json, which depthmill assess writes
Writes HTML
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flows.reports.html.markup import MISSING, number, percent, section, table, text
from pipeline.plan import Plan
from storage_schemas.files import StoreFiles

_HEADS = ("pixels<br>measured", "grossly<br>too near", "grossly<br>too far", "mean error", "MAE", "bad", "bad and<br>too near")

_GROUPINGS = {
    "range": "Range",
    "image row": "Rows of the image",
    "class": "Class",
    "shape": "Returns around it",
    "light": "Day and night",
}
"""Groupings that the page shows, with the head of their column."""


def kept_key(manifest: str) -> str:
    """Return where the assessment of a manifest's units is kept, below the runs folder."""
    return f"assessments/{manifest}.json"


def assessment_section(plan: Plan, runs: StoreFiles | None) -> str:
    """Return the section: errors of every store and by groups, or how to get them.

    Args:
        plan: says which manifest the page is about.
        runs: files of the store's runs folder; None where nobody knows it.
    """
    kept = None if runs is None else _read(runs, kept_key(plan.manifest.path.fingerprint))
    body = _hint() if kept is None else _body(kept)
    return section("assessment", "Assessment", body)


def _read(runs: StoreFiles, key: str) -> dict[str, Any] | None:
    """Return a kept assessment; None where there is none, or a file that is no longer whole: it can be made again."""
    try:
        kept = json.loads(runs.get(key))
    except (FileNotFoundError, ValueError):
        return None
    return kept if isinstance(kept, dict) and "figures" in kept else None


def _hint() -> str:
    return (
        '<p class="note">These units were not assessed yet. <code>depthmill assess recipe.yaml</code> compares sampled frames '
        "with exact depth where it is known, and on any drive with a LiDAR sweep that nothing else used; this section then shows "
        "the figures.</p>"
    )


def _body(kept: Mapping[str, Any]) -> str:
    is_truth = kept["against"] == "truth"
    against = "exact depth" if is_truth else "the key sweep, held out: an upper bound of the errors"
    figures: Sequence[Mapping[str, Any]] = kept["figures"]
    rows = [[f"{text(one['store'])}, {text(one['recipe'])}", *_cells(one["plain"])] for one in figures if one["by"] == "all"]
    parts = [
        f"<p>{number(kept['num_frames'])} frames of {number(kept['num_scenes'])} scenes against {against}. Grossly: more than "
        "10 m and 10 % off. Bad: of the other pixels, more than 0.5 m and 3 % off. Mean error: negative is too near.</p>",
        table(("store", *_HEADS), rows, caption="Errors of every store"),
    ]
    for grouping, head in _GROUPINGS.items():
        of_groups = [one for one in figures if one["by"] == grouping and one["store"] == kept["target"]]
        if len({one["group"] for one in of_groups}) > 1:
            rows = [[f"{text(one['group'])}, {text(one['recipe'])}", *_cells(one["plain"])] for one in of_groups]
            parts.append(table((text(head), *_HEADS), rows, caption=f"Errors of {text(kept['target'])}"))
    return "".join(parts)


def _cells(plain: Mapping[str, float | None]) -> list[str]:
    return [
        percent(plain["coverage"]),
        percent(plain["near_share"], digits=2),
        percent(plain["far_share"], digits=2),
        _metres(plain["signed_m"]),
        _metres(plain["mae_m"]),
        percent(plain["bad_share"], digits=2),
        percent(plain["bad_near_share"], digits=2),
    ]


def _metres(value: float | None) -> str:
    return MISSING if value is None else number(value, digits=3, unit="m")
