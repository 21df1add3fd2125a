"""What a round of retraining leaves: its record in the history, and its report.

Reads   <runs>/history
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.retrain.line import Line
from flows.run.runs import Runs
from flows.text import duration
from storage_schemas.folder_lock import Holder
from storage_schemas.lineage import provenance
from storage_schemas.run_history import Round, new_round_name, rounds_newest_first

if TYPE_CHECKING:
    from flows.retrain.champion import Champion
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
    def page(self) -> str | None:
        """Return the address of the report of its training; None if there is none."""
        training = self.row.training
        if training is None:
            return None
        if "://" in training:  # written with the training
            return f"{training}/report.html"
        report = Path(training) / "report.html"
        return report.absolute().as_uri() if report.is_file() else None


@dataclass
class RoundProgress:
    """What is known of a round while it goes on.

    Attributes:
        where: name of the recipe file.
        started: when, UTC.
        start_s: the same on a clock that never goes back.
        name: of the round, from when it started.
        reason: why there is work, or why there is nothing to do.
        notes: what came of it.
        request: name of what is asked, the same for the same training.
        num_units: units that were made.
        manifest: fingerprint of the pinned manifest.
        training: folder of the challenger, its URL in a remote store.
        champion: that of the champion before.
        family: of both.
        line: of both; None until the recipe was understood.
        rules: what a challenger must show; None until the recipe was understood.
        comparisons: of champion and challenger, all frames first.
        challenger_value: mean that decides.
        choice: on which splits the challenger's checkpoint was chosen and judged.
        changed: is called when more is known, so that a round that is killed leaves what was known.
    """

    where: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    start_s: float = field(default_factory=time.perf_counter)
    name: str = field(init=False)
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    request: str = ""
    num_units: int = 0
    manifest: str | None = None
    training: str | None = None
    champion: str | None = None
    family: Family[Any] | None = None
    line: Line | None = None
    rules: Rules | None = None
    comparisons: Sequence[MeanDifference] = field(default_factory=list)
    challenger_value: float | None = None
    choice: str = ""
    changed: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        """Name the round."""
        self.name = new_round_name(self.started)

    @property
    def settled_rules(self) -> Rules:
        """Return the rules of a round whose recipe was understood."""
        assert self.rules is not None
        return self.rules


def history_folder(runs: Runs) -> str:
    """Return the folder of the records of all rounds, a path or URL."""
    return runs.files.path("history")


def judged(runs: Runs, line: Line, request: str, rules: Rules) -> tuple[str | None, list[Round]]:
    """Return the newest round of a line that answered a request by these rules, and newer ones that answered it by others.

    The name is None if no round answered it by these rules; the others are those of the whole history then.
    """
    by_other_rules: list[Round] = []
    for row in rounds_newest_first(history_folder(runs)):
        if row.request == request and row.outcome in JUDGED and line.has(row):
            if not changed_rules(row, rules):
                return row.name, by_other_rules
            by_other_rules.append(row)
    return None, by_other_rules


def changed_rules(row: Round, rules: Rules) -> str:
    """Say what of the rules is not as it was in a round; "" if they are the same."""
    changes = []
    for name in ("metric", "cap_m", "radar", "margin", "needs_interval", "least_share"):
        before, now = getattr(row, name), getattr(rules, name)
        if before is None and name in ("needs_interval", "least_share"):  # columns that former versions did not have
            before = False if name == "needs_interval" else now
        if before != now:
            changes.append(f"{name} {before} -> {now}")
    return ", ".join(changes)


def last_judged(runs: Runs, line: Line) -> Round | None:
    """Return the newest round of a line that did not fail; None if there is none."""
    rows = rounds_newest_first(history_folder(runs))
    return next((row for row in rows if row.outcome in JUDGED and line.has(row)), None)


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
        training=progress.training,
        champion_before=progress.champion,
        metric="" if rules is None else rules.metric,
        cap_m=None if rules is None else rules.cap_m,
        radar=None if rules is None else rules.radar,
        margin=0.0 if rules is None else rules.margin,
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
        needs_interval=None if rules is None else rules.needs_interval,
        least_share=None if rules is None else rules.least_share,
        line=None if progress.line is None else progress.line.name,
    )


def killed(holder: Holder, champion: Champion | None) -> Round | None:
    """Return the record of a round whose process was killed, from what it had noted; None if it had noted nothing."""
    try:
        row = Round(**holder.about)
    except TypeError:
        return None
    is_promoted = champion is not None and champion.round == row.name
    note = f"killed: {holder} ended without a word{' after it had promoted its training' if is_promoted else ''}"
    return replace(row, outcome="promoted" if is_promoted else "failed", note=note, is_promoted=is_promoted)


def report_text(
    row: Round, family: Family[Any] | None, comparisons: Sequence[MeanDifference], *, choice: str = "", rule: str = ""
) -> str:
    """Return the report of a round as Markdown; its family is None where the recipe names none that there is.

    ``choice`` says on which splits the challenger's checkpoint was chosen and judged, ``rule`` what decides.
    """
    facts = {
        "why": row.reason,
        "note": row.note,
        "units made": row.num_units or None,
        "manifest": row.manifest,
        "training": row.training,
        "checkpoint": choice,
        "report": row.training and f"{row.training}/report.html",
        "champion before": row.champion_before,
        "took": duration(row.seconds),
        "commit": f"{row.commit}{' (with changes)' if row.is_dirty == 'true' else ''}",
    }
    lines = [f"# {row.outcome}", "", f"Round {row.name} of `{row.recipe}`{(row.line and f', line {row.line}') or ''}", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items() if value]
    lines += [f"- rule: {rule}"] if rule else []
    if comparisons and family is not None:
        lines += ["", "a = champion, b = challenger", "", "```", family.comparison_text(comparisons), "```"]
    return "\n".join(lines) + "\n"
