"""The sections about the store: summary, coverage, depth histograms, radar, timings, recipe.

Why    Whoever trains on a store wants to know what is in it and how it came to be
Reads  ReportFacts, PixelStatistics
Writes HTML
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flows.reports.html import charts
from flows.reports.html.markup import (
    MISSING,
    Cell,
    bar,
    facts,
    moment,
    number,
    percent,
    plural,
    seconds,
    section,
    size,
    table,
    text,
    tiles,
)
from flows.reports.store.facts import ReportFacts, View, even_choice
from flows.reports.store.pictures import TITLES
from flows.reports.store.pixel_statistics import DEPTH_LAYOUTS, PixelStatistics

MAX_ROWS = 40
"""Rows of a table per scene; of more, this many are shown evenly."""

_CSS = {layout: layout.removeprefix("depth_") for layout in DEPTH_LAYOUTS}


def summary_section(store_facts: ReportFacts) -> str:
    """Return what the store holds: scenes, samples, splits, day and night, volume."""
    num_bytes = sum(stage.num_bytes for stage in store_facts.stages)
    num_missing = sum(stage.num_planned - stage.num_units for stage in store_facts.stages)
    what = "samples" if store_facts.num_samples else "scenes"
    splits = ", ".join(f"{number(count)} {text(name)}" for name, count in store_facts.splits.items())
    images = next((stage.num_frames for stage in store_facts.stages if stage.layout == "images"), 0)
    body = tiles(
        [
            (
                "Scenes",
                number(store_facts.num_scenes),
                f"{number(store_facts.num_scenes - store_facts.num_night)} day, {number(store_facts.num_night)} night",
            ),
            ("Samples", number(store_facts.num_samples), f"{what} per split: {splits}"),
            ("Cameras", number(len({view.camera for view in store_facts.views})), f"{number(images)} images"),
            ("Volume", size(num_bytes), f"{number(sum(stage.num_units for stage in store_facts.stages))} units"),
        ]
    )
    if store_facts.manifest is not None and not store_facts.num_samples:
        body += (
            '<p class="note">The manifest has no sample: with drop_last_keyframe the last key frame of every scene is left out, '
            "and these scenes have no other. Units and pictures below are there all the same.</p>"
        )
    if num_missing:
        body += f'<p class="note">{plural(num_missing, "unit")} of the recipe not built yet; this page shows what is there.</p>'
    if store_facts.warnings:
        lines = "".join(f"<li>{text(line)}</li>" for line in store_facts.warnings)
        body += f'<div class="note"><b>What to know about the data</b><ul>{lines}</ul></div>'
    top = max(stage.num_bytes for stage in store_facts.stages) or 1
    rows: list[list[Cell | str]] = [
        [
            text(stage.layout),
            Cell(text(stage.stage), "text"),
            number(stage.num_units),
            number(stage.num_frames) if stage.num_frames else MISSING,
            size(stage.num_bytes / stage.num_frames) if stage.num_frames else MISSING,
            Cell(size(stage.num_bytes) + bar(stage.num_bytes / top)),
        ]
        for stage in store_facts.stages
    ]
    body += table(
        ("Store", "|written by", "units", "frames", "per frame", "volume"),
        rows,
        caption="Data volume per store, from the lineage",
    )
    return section("summary", "What is in the store", body)


def coverage_section(store_facts: ReportFacts) -> str:
    """Return the share of measured pixels and the radar returns per scene and camera."""
    layouts = [layout for layout in DEPTH_LAYOUTS[:3] if any(layout in view.units for view in store_facts.views)]
    has_radar = any("radar_points" in view.units for view in store_facts.views)
    if not layouts and not has_radar:
        return section("coverage", "Coverage", '<p class="note">No depth map and no radar unit is in the store.</p>')
    listed_views = even_choice(store_facts.views, MAX_ROWS)
    shares = [view.count(layout, "share_measured") or 0.0 for view in store_facts.views for layout in layouts]
    top_share = max(shares, default=0.0) or 1.0
    top_radar = max((_radar(view) or 0.0 for view in store_facts.views), default=0.0) or 1.0
    rows: list[list[Cell | str]] = []
    for view in listed_views:
        row: list[Cell | str] = [text(view.title)]
        row += [_share_cell(view.count(layout, "share_measured"), top_share, _CSS[layout]) for layout in layouts]
        if "depth_clean" in layouts:
            row.append(percent(view.count("depth_clean", "share_dropped"), digits=2))
        if has_radar:
            radar = _radar(view)
            row.append(Cell(number(radar, digits=1) + bar((radar or 0.0) / top_radar)))
        rows.append(row)
    heads = ["Scene and camera", *(TITLES[layout].lower() for layout in layouts)]
    heads += ["dropped by<br>cleaning"] * ("depth_clean" in layouts) + ["radar returns<br>per frame"] * has_radar
    num_listed, num_views = len(listed_views), len(store_facts.views)
    note = "" if num_listed == num_views else f"<p>{num_listed} of {num_views:,} are shown, taken evenly.</p>"
    caption = "Share of pixels measured, mean over the frames; bars are relative to the largest share"
    return section("coverage", "Coverage per scene", note + table(heads, rows, caption=caption))


def depth_section(pixels: PixelStatistics) -> str:
    """Return a histogram of depth per store, all on one scale, and one of radar returns per frame."""
    shares = {
        layout: charts.log_histogram(pixels.depth_counts[layout]) for layout in DEPTH_LAYOUTS if layout in pixels.depth_counts
    }
    top = max((float(share.max()) for share in shares.values()), default=0.0)
    figures = [
        f"<figure>{charts.depth_chart(share, top, css=_CSS[layout], alt=f'Histogram of depth, {TITLES[layout].lower()}')}"
        f"<figcaption><b>{TITLES[layout]}</b>: {number(pixels.depth_counts[layout][1:].sum())} pixels</figcaption></figure>"
        for layout, share in shares.items()
    ]
    if pixels.radar_per_frame.size:
        chart = charts.count_chart(
            pixels.radar_per_frame, label="radar returns in a frame", alt="Histogram of radar returns per frame"
        )
        mean, least, most = pixels.radar_per_frame.mean(), pixels.radar_per_frame.min(), pixels.radar_per_frame.max()
        figures.append(
            f"<figure>{chart}<figcaption><b>Radar</b>: {mean:.1f} returns a frame, from {least} to {most}, "
            f"{plural(len(pixels.radar_per_frame), 'frame')}</figcaption></figure>"
        )
    if not figures:
        return section("depth", "Depth per stage", '<p class="note">No depth map is in the store.</p>')
    intro = "<p>Shares of frames, or of all measured pixels, per bin; the depth histograms share one scale.</p>"
    return section("depth", "Depth per stage", f'{intro}<div class="charts">{"".join(figures)}</div>')


def timings_section(store_facts: ReportFacts) -> str:
    """Return the wall time of every stage's kernel as its lineage recorded it."""
    stages = [stage for stage in store_facts.stages if stage.seconds]
    top = max((sum(stage.seconds) for stage in stages), default=0.0) or 1.0
    rows: list[list[Cell | str]] = [
        [
            text(stage.stage),
            number(len(stage.seconds)),
            Cell(seconds(sum(stage.seconds)) + bar(sum(stage.seconds) / top)),
            seconds(sum(stage.seconds) / len(stage.seconds)),
            seconds(max(stage.seconds)),
            seconds(sum(stage.seconds) / stage.num_frames) if stage.num_frames else MISSING,
        ]
        for stage in stages
    ]
    heads = ("Stage", "units", "total", "mean of a unit", "longest unit", "per frame")
    return section(
        "timings", "Timings", table(heads, rows, caption="Wall time of the kernels on the machines that wrote the units")
    )


def manifest_words(store_facts: ReportFacts) -> str:
    """Name the manifest, or say that it is not built yet."""
    return "Manifest not built yet" if store_facts.manifest is None else f"Manifest <code>{text(store_facts.manifest)}</code>"


def recipe_section(store_facts: ReportFacts) -> str:
    """Return where the data comes from: manifest, commit, versions, params per stage."""
    commits = ", ".join(f"<code>{text(commit)}</code> ({plural(count, 'unit')})" for commit, count in store_facts.commits.items())
    first, last = store_facts.written_utc
    body = facts(
        [
            ("Store", f"<code>{text(store_facts.root)}</code>"),
            ("Manifest", manifest_words(store_facts).removeprefix("Manifest ")),
            ("Source", ", ".join(map(text, store_facts.releases)) or "not recorded"),
            ("Written", f"{moment(first)} to {moment(last)}" if first != last else moment(first)),
            ("Commit", commits),
            ("Versions", ", ".join(f"{text(name)} {text(version)}" for name, version in store_facts.versions.items())),
        ]
    )
    rows: list[list[Cell | str]] = [
        [text(stage.stage), number(stage.version), Cell(_params(stage.params), "text wrap")] for stage in store_facts.stages
    ]
    body += table(("Stage", "version", "|params"), rows, caption="Recipe: the params of every stage")
    return section("recipe", "Recipe and provenance", body)


def sampling_note(pixels: PixelStatistics) -> str:
    """Say which frames the pixel numbers come from; empty if from all of them."""
    if pixels.num_scenes < pixels.num_scenes_there or pixels.num_frames < pixels.num_frames_there:
        return (
            f'<p class="note">Numbers over pixels come from a sample, taken evenly: {number(pixels.num_scenes)} of '
            f"{plural(pixels.num_scenes_there, 'scene')}, and {number(pixels.num_frames)} of "
            f"{plural(pixels.num_frames_there, 'frame')} in them. "
            "Coverage, volume and timings cover everything.</p>"
        )
    return ""


def _radar(view: View) -> float | None:
    return view.count("radar_points", "points_per_frame")


def _share_cell(share: float | None, top: float, css: str) -> Cell:
    return Cell(percent(share) + bar((share or 0.0) / top, css))


def _params(params: Mapping[str, Any]) -> str:
    return (
        "<br>".join(f"<code>{text(name)}: {text(json.dumps(value))}</code>" for name, value in params.items())
        or '<span class="soft">none</span>'
    )
