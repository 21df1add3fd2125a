"""The section "Supervision": how wrong the depth is before and after cleaning.

Why    This is what the pipeline is for
Reads  PixelStatistics
Writes HTML
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from flows.reports.html.markup import Cell, bar, number, percent, plural, section, table, text, tiles
from flows.reports.store.depth_errors import GROSS_M, GROSS_PERCENT, BeforeAfter
from flows.reports.store.pixel_statistics import PixelStatistics

GROSS_RULE = f"more than {GROSS_M} m and more than {GROSS_PERCENT} %"
"""The rule for gross errors, in words."""

SKY = "sky"
"""Group without depth: always wrong, so it does not set the length of the bars."""

_HEADS = (
    "pixels measured<br>accumulated",
    "clean",
    "gross errors<br>accumulated",
    "clean",
    "gross<br>removed",
    "good pixels<br>lost",
    "median |error|<br>accumulated",
    "clean",
    "within 1 m<br>accumulated",
    "clean",
)


def supervision_section(pixels: PixelStatistics) -> str:
    """Return the section: errors against the truth where it is known, else the agreement with the single sweep."""
    if pixels.truth is not None:
        body = _truth_body(pixels)
    elif pixels.sweep is not None:
        body = _proxy_body(pixels, pixels.sweep)
    else:
        body = (
            '<p class="note">Neither exact depth nor all of depth_single, depth_accumulated and depth_clean are in the store, '
            "so nothing can be compared.</p>"
        )
    return section("supervision", "Supervision getting better", body)


def _truth_body(pixels: PixelStatistics) -> str:
    assert pixels.truth is not None
    total = pixels.truth.total
    scenes = [*pixels.truth_of_scene.items(), ("all", total)]
    parts = [
        f"<p>Against the exact depth of the simulated world. A measured pixel is a <b>gross error</b> if it is {GROSS_RULE} off, "
        "or lies in front of the open sky. <b>Good pixels</b> are all other measured ones. <b>Within 1 m</b> counts all pixels, "
        "measured or not.</p>",
        _headline(total),
        _side_table(total),
        _group_table(scenes, "Scene", "Errors per scene", has_total=True),
        _group_table(
            [*pixels.truth.by_range.items(), ("all", total)], "Range", "Errors by range of the exact depth", has_total=True
        ),
    ]
    surfaces = {name: group for name, group in pixels.truth.by_surface.items() if group.before.num_pixels}
    if surfaces:
        named = [(name.replace("none", SKY).replace("_", " "), group) for name, group in surfaces.items()]
        parts.append(_group_table([*named, ("all", total)], "Surface", "Errors by what the pixel shows", has_total=True))
    return "".join(parts)


def _headline(total: BeforeAfter) -> str:
    before, after = total.before, total.after
    return tiles(
        [
            (
                "Gross errors",
                f"{percent(before.gross_share, digits=2)} → {percent(after.gross_share, digits=2)}",
                f"of measured pixels; {number(before.num_gross)} → {number(after.num_gross)} pixels",
            ),
            ("Gross errors removed", percent(total.gross_removed_share), plural(total.num_gross_removed, "pixel")),
            ("Good pixels lost", percent(total.good_lost_share, digits=2), plural(total.num_good_lost, "pixel")),
            ("Pixels measured", f"{percent(before.coverage)} → {percent(after.coverage)}", "of the image"),
            (
                "Median |error|",
                f"{_metres(before.median_error_m)} → {_metres(after.median_error_m)}",
                "where the truth has a depth",
            ),
        ]
    )


def _side_table(total: BeforeAfter) -> str:
    """Return the gross errors by side: cleaning drops near returns, so only those that are too near can go."""
    before, after = total.before, total.after
    sides = [
        ("too near: ghosts, airborne returns, returns in front of the sky", before.num_gross_near, after.num_gross_near),
        (
            "too far: background seen through a gap in the foreground",
            before.num_gross - before.num_gross_near,
            after.num_gross - after.num_gross_near,
        ),
        ("all", before.num_gross, after.num_gross),
    ]
    rows = [
        [
            text(name),
            percent(old / before.num_measured if before.num_measured else math.nan, digits=2),
            percent(new / after.num_measured if after.num_measured else math.nan, digits=2),
            percent((old - new) / old if old else math.nan),
        ]
        for name, old, new in sides
    ]
    heads = ("Side", "gross errors<br>accumulated", "clean", "gross<br>removed")
    return table(heads, rows, caption="Gross errors by side", has_total=True)


def _group_table(groups: list[tuple[str, BeforeAfter]], head: str, caption: str, *, has_total: bool) -> str:
    shares = [group.before.gross_share for name, group in groups if group.before.num_measured and name != SKY]
    top = max(shares, default=0.0) or 1.0
    rows: list[list[Cell | str]] = []
    for name, group in groups:
        before, after = group.before, group.after
        rows.append(
            [
                text(name),
                percent(before.coverage),
                percent(after.coverage),
                Cell(percent(before.gross_share, digits=2) + bar(before.gross_share / top, "accumulated")),
                Cell(percent(after.gross_share, digits=2) + bar(after.gross_share / top, "clean")),
                percent(group.gross_removed_share),
                percent(group.good_lost_share, digits=2),
                _metres(before.median_error_m),
                _metres(after.median_error_m),
                percent(before.correct_share),
                percent(after.correct_share),
            ]
        )
    return table((head, *_HEADS), rows, caption=caption, has_total=has_total)


def _proxy_body(pixels: PixelStatistics, total: BeforeAfter) -> str:
    rows = [*_proxy_rows(pixels.sweep_of_scene), *_proxy_rows({"all": total})]
    before, after = total.before, total.after
    return (
        '<p class="note">The exact depth of these scenes is not known, so errors cannot be measured.</p>'
        "<p>Shown instead, as a <b>proxy</b>: the share of pixels measured by the single key sweep where the map differs from it "
        f"by {GROSS_RULE}. The accumulated map holds this sweep too. Another moment or viewpoint may rightly see something "
        "nearer (occlusion), so a difference is not necessarily an error. Errors beside the sweep's pixels are not seen: this "
        "bounds nothing exactly. <code>depthmill assess</code> compares with a sweep that the map does not hold.</p>"
        + tiles(
            [
                (
                    "Disagree with the single sweep (proxy)",
                    f"{percent(before.gross_share, digits=2)} → {percent(after.gross_share, digits=2)}",
                    f"{number(before.num_gross)} of {number(before.num_measured)} → {number(after.num_gross)} pixels",
                ),
                (
                    "Agreeing pixels lost",
                    percent(total.good_lost_share, digits=2),
                    f"{plural(total.num_good_lost, 'pixel')} removed by cleaning",
                ),
                (
                    "Median |difference|",
                    f"{_metres(before.median_error_m)} → {_metres(after.median_error_m)}",
                    "to the single sweep",
                ),
            ]
        )
        + table(
            ("Scene", "pixels<br>compared", "differ grossly<br>accumulated", "<br>clean", "agreeing<br>pixels lost"),
            rows,
            caption="Agreement with the single sweep per scene (proxy)",
            has_total=True,
        )
    )


def _proxy_rows(groups: Mapping[str, BeforeAfter]) -> list[list[str]]:
    return [
        [
            text(name),
            number(group.before.num_measured),
            percent(group.before.gross_share, digits=2),
            percent(group.after.gross_share, digits=2),
            percent(group.good_lost_share, digits=2),
        ]
        for name, group in groups.items()
    ]


def _metres(value: float) -> str:
    return number(value, digits=2 if value < 10 else 1, unit="m")
