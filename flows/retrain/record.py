"""What a round of retraining leaves: its record in the history, and its report.

Reads   <runs>/history
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.text import duration
from storage_schemas.lineage import provenance
from storage_schemas.run_history import Round, new_round_name, rounds_newest_first

if TYPE_CHECKING:
    from model.train.family import Family
    from model.train.judging import MeanDifference, Rules

JUDGED = ("promoted", "kept", "nothing to do")
"""Outcomes after which the same request is nothing new."""


@dataclass(frozen=True)
class Result:
    """A round that has ended.

    Attributes:
        row: its record.
        text: its report, Markdown.
    """

    row: Round
    text: str

    @property
    def name(self) -> str:
        """Return the name of the round."""
        return self.row.name

    @property
    def message(self) -> str:
        """Return what came of it and why, in one line."""
        row = self.row
        why = row.reason if row.outcome == "nothing to do" else f"{row.note} (why: {row.reason})"
        return f"{row.outcome}: {why}"

    @property
    def page(self) -> Path | None:
        """Return the report of its training; None if there is none."""
        report = None if self.row.training is None else Path(self.row.training) / "report.html"
        return report if report is not None and report.is_file() else None


@dataclass
class RoundProgress:
    """What is known of a round while it goes on.

    Attributes:
        where: name of the recipe file.
        rules: what a challenger must show.
        started: when, UTC.
        start_s: the same on a clock that never goes back.
        name: of the round, from when it started.
        reason: why there is work, or why there is nothing to do.
        notes: what came of it.
        request: name of what is asked, the same for the same training.
        num_units: units that were made.
        manifest: fingerprint of the pinned manifest.
        training: folder of the challenger.
        champion: folder of the champion before.
        family: of both.
        comparisons: of champion and challenger, all frames first.
        challenger_value: mean that decides.
    """

    where: str
    rules: Rules
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    start_s: float = field(default_factory=time.perf_counter)
    name: str = field(init=False)
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    request: str = ""
    num_units: int = 0
    manifest: str | None = None
    training: Path | None = None
    champion: Path | None = None
    family: Family[Any] | None = None
    comparisons: Sequence[MeanDifference] = field(default_factory=list)
    challenger_value: float | None = None

    def __post_init__(self) -> None:
        """Name the round."""
        self.name = new_round_name(self.started)


def history_folder(runs: Path) -> Path:
    """Return the folder of the records of all rounds."""
    return runs / "history"


def judged(runs: Path, request: str) -> str | None:
    """Return the newest round that answered this request; None if none did."""
    for row in rounds_newest_first(str(history_folder(runs))):
        if row.request == request and row.outcome in JUDGED:
            return row.name
    return None


def last_judged(runs: Path) -> Round | None:
    """Return the newest round that did not fail; None if there is none."""
    return next((row for row in rounds_newest_first(str(history_folder(runs))) if row.outcome in JUDGED), None)


def record(progress: RoundProgress, outcome: str) -> Round:
    """Return the record of a round that ends now."""
    rules = progress.rules
    every = progress.comparisons[0] if progress.comparisons else None
    code = provenance()
    return Round(
        name=progress.name,
        recipe=progress.where,
        started_utc=progress.started.isoformat(timespec="milliseconds"),
        finished_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        outcome=outcome,
        reason=progress.reason,
        note="; ".join(progress.notes),
        request=progress.request,
        num_units=progress.num_units,
        manifest=progress.manifest,
        training=None if progress.training is None else str(progress.training),
        champion_before=None if progress.champion is None else str(progress.champion),
        metric=rules.metric,
        cap_m=rules.cap_m,
        radar=rules.radar,
        margin=rules.margin,
        num_frames=None if every is None else every.num_frames,
        champion_value=None if every is None else every.mean_a,
        challenger_value=progress.challenger_value if every is None else every.mean_b,
        difference=None if every is None else every.mean_difference,
        low=None if every is None else every.low,
        high=None if every is None else every.high,
        is_promoted=outcome == "promoted",
        seconds=time.perf_counter() - progress.start_s,
        commit=code["commit"],
        is_dirty=code["is_dirty"],
    )


def report_text(row: Round, family: Family[Any] | None, comparisons: Sequence[MeanDifference]) -> str:
    """Return the report of a round as Markdown; its family is None where the recipe names none that there is."""
    facts = {
        "why": row.reason,
        "note": row.note,
        "units made": row.num_units or None,
        "manifest": row.manifest,
        "training": row.training,
        "report": row.training and str(Path(row.training) / "report.html"),
        "champion before": row.champion_before,
        "took": duration(row.seconds),
        "commit": f"{row.commit}{' (with changes)' if row.is_dirty == 'true' else ''}",
    }
    lines = [f"# {row.outcome}", "", f"Round {row.name} of `{row.recipe}`", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items() if value]
    if comparisons and family is not None:
        lines += ["", "a = champion, b = challenger", "", "```", family.comparison_text(comparisons), "```"]
    return "\n".join(lines) + "\n"
