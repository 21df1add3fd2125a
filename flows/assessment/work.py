"""Assess a recipe: choose frames, measure them, and write what was asked for."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.assessment.files import write_files
from flows.assessment.summary import Summary
from flows.assessment.tables import WITHOUT, as_data, overview_text, target_of
from flows.reports.store.assessment import kept_key
from flows.run.listener import Listener
from flows.run.opening import Opened
from flows.run.teachers import teacher_facts
from pipeline.assessment.assess import Against, Contender, assess_frames, reference_kind, sampled_frames
from pipeline.assessment.variants import additions_of, published, without
from pipeline.exporters.out_folder import check_out
from pipeline.plan import make_plan
from pipeline.recipe import Recipe
from storage_schemas.awaited import counted
from storage_schemas.errors import RecipeError, StoreError
from storage_schemas.files import StoreFiles

OWN = "this recipe"
"""Name of the assessed recipe in tables."""


REFERENCES: dict[str, Against | None] = {"auto": None, "truth": "truth", "sweep": "sweep"}
"""What ``--reference`` may be, and what that chooses; None leaves it to the data."""


@dataclass(frozen=True)
class Choices:
    """Options of ``depthmill assess``; see there."""

    scenes: tuple[str, ...] = ()
    frames: int = 20
    reference: str = "auto"
    hold_out: int = 0
    against: str = "published"
    parts: bool = False
    out: Path | None = None
    pictures: int = 5

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        for option, count, least in (
            ("--frames", self.frames, 1),
            ("--hold-out", self.hold_out, 0),
            ("--pictures", self.pictures, 0),
        ):
            if count < least:
                raise RecipeError(f"{option} {count} is too small; expected {least} or more")
        for option, value, expected in (
            ("--reference", self.reference, tuple(REFERENCES)),
            ("--against", self.against, ("published", "none")),
        ):
            if value not in expected:
                raise RecipeError(f"{option} {value!r} is unknown; expected {', '.join(expected[:-1])} or {expected[-1]}")


@dataclass(frozen=True)
class Assessed:
    """The same for people and for programs."""

    text: str
    data: dict[str, Any]
    summary: Summary

    def __repr__(self) -> str:
        """Return what a person reads."""
        return self.text


def assess_recipe(opened: Opened, choices: Choices, listener: Listener, *, title: str) -> Assessed:
    """Measure sampled frames of a recipe.

    Raises:
        RecipeError: options do not fit the recipe, or a unit that cannot be made here is missing.
        SourceError: a file is missing or broken.
        StoreError: the folder to write is not empty, or cannot be written.
    """
    if choices.out is not None:
        check_out(choices.out, who="assess")
    if first := opened.source.preparation():
        listener.say(first)
        opened.source.prepare(num_workers=opened.settings.workers)
    contenders = _contenders(opened, choices)
    own = contenders[0]
    for line in own.plan.warnings():
        listener.warn(f"warning: {line}")
    against = reference_kind(own.plan, REFERENCES[choices.reference])
    raw = opened.source.reader()
    frames = sampled_frames(own.plan, raw, choices.scenes, most=choices.frames)
    summary = Summary(against, choices.hold_out, tuple(one.name for one in contenders))
    listener.work_begins()
    start = time.monotonic()
    measured = assess_frames(contenders, frames, opened.store, raw, against=against, neighbours=choices.hold_out)
    with write_files(choices.out) if choices.out is not None else nullcontext() as files:
        for of_frame in counted(measured, "frames are measured", total=len(frames)):
            summary.add(of_frame)
            if files is not None:
                files.keep(of_frame, own=own.name, most=choices.pictures)
        summary.seconds = time.monotonic() - start
        target = target_of(summary)
        _refuse_nothing(summary)
        if files is not None:
            files.write(summary, raw, title=title, target=target)
    text, data = overview_text(summary, target=target), as_data(summary, target=target)
    if own.plan.manifest.reason is None:
        _keep(opened.runs.files, kept_key(own.plan.manifest.path.fingerprint), data, listener)
    if choices.out is not None:
        text, data = f"{text}\n\nwrote {choices.out}", {**data, "out": str(choices.out)}
    return Assessed(text, data, summary)


def _refuse_nothing(summary: Summary) -> None:
    """Raise RecipeError if no pixel of any map could be compared."""
    if any(row.errors.plain.compared for row in summary.rows):
        return
    if summary.against == "truth":
        raise RecipeError("no pixel could be compared: the maps are empty. Look at the pictures of depthmill report")
    without = "without the held-out sweeps" + (f" (--hold-out {summary.neighbours})" if summary.neighbours else "")
    raise RecipeError(
        f"no pixel could be compared: {without}, no return of the windows falls where the key sweep has one. Either the windows "
        "hold no other sweep (stages.accumulate_lidar.num_sweeps, and sweeps/ must be unpacked), or the poses are wrong"
    )


def _keep(runs: StoreFiles, key: str, data: dict[str, Any], listener: Listener) -> None:
    """Keep the figures beside the run logs, for the report's page about the same manifest; the latest ones stand."""
    try:
        runs.put(key, json.dumps(data).encode())
    except StoreError as error:  # the figures are on the terminal; a page that lacks them must not fail the command
        listener.warn(f"the figures are not kept for the report: {error}")


def _contenders(opened: Opened, choices: Choices) -> list[Contender]:
    """Return this recipe, and what it is compared with."""
    own = opened.recipe
    others: list[tuple[str, Recipe]] = []
    additions = additions_of(own)
    if choices.against == "published" and additions:
        others.append(("published", published(own)))
    if choices.parts:
        if not additions:
            raise RecipeError("--parts: the recipe switches no addition on, so there is none to leave out")
        others += [(f"{WITHOUT}{name}", without(own, name)) for name in additions]
    return [
        Contender(name, recipe, make_plan(recipe, opened.source, opened.store, facts=teacher_facts(recipe, opened.settings)))
        for name, recipe in ((OWN if additions else "published", own), *others)
    ]
