"""One round: plan, make what is missing, pin a manifest, train, meet the champion, promote or keep, leave a record.

Nothing here knows Prefect: how units are made and how a training is run is handed in. A round that finds nothing new trains
nothing and says so; an interrupted one goes on where it stopped when it is asked again, because units and trainings are named by
what decides their content.

Reads   the recipe, the store, <runs>/champion.json, <runs>/history
Writes  units, <runs>/trainings/<name>, <runs>/champion.json, <runs>/reports/<round>.md, <runs>/history/<round>.parquet
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.champion import Champion, compare_with_champion, is_better, read_champion, write_champion
from flows.console import duration
from flows.materialize import Opened
from flows.training import Training, machine_of, refuse_without_torch, training_folder
from pipeline.plan import Plan
from storage_schemas.errors import DepthmillError, RecipeError
from storage_schemas.files import StoreFiles
from storage_schemas.lineage import provenance
from storage_schemas.manifest import open_manifest
from storage_schemas.run_history import Round, new_round_name, rounds_newest_first, write_round

if TYPE_CHECKING:
    from model.train.config import CommonConfig
    from model.train.family import Family
    from model.train.judging import MeanDifference, Rules

JUDGED = ("promoted", "kept", "nothing to do")
"""Outcomes after which the same request is nothing new."""


class RoundError(DepthmillError):
    """A round that cannot go on."""


Make = Callable[[Opened], int]
"""Makes what the plan lists and returns how many units failed."""
Fit = Callable[[Training], None]
"""Trains and evaluates, from wherever a former run stopped."""


@dataclass(frozen=True)
class Result:
    """A round that has ended.

    Attributes:
        row: its record.
        text: its report, Markdown.
    """

    row: Round
    text: str


@dataclass
class _Round:
    """What is known of a round while it goes on."""

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


def history_folder(runs: Path) -> Path:
    """Return the folder of the records of all rounds."""
    return runs / "history"


def retrain(
    opened: Opened, *, where: str, rules: Rules, fine_tune: bool, make: Make, fit: Fit, say: Callable[[str], None]
) -> Result:
    """Do one round.

    Args:
        opened: the recipe.
        where: name of the recipe file.
        rules: what a challenger must show.
        fine_tune: start from the champion's weights instead of from scratch.
        make: makes what the plan lists.
        fit: trains and evaluates.
        say: told what is going on, a line at a time.

    Returns:
        The record, which is in the history too, and the report.

    Raises:
        RecipeError: the ``train:`` group or a rule has a mistake.
        RoundError: units failed.
        DepthmillError: what the training or the comparison raised. A failed round leaves a record as well.
    """
    refuse_without_torch()
    from model.families import family_of, parse_train_config

    start, started = time.perf_counter(), datetime.now(UTC)
    name, known = new_round_name(started), _Round()

    def finish(outcome: str) -> Result:
        row = _record(name, where, rules, known, outcome, started=started, seconds=time.perf_counter() - start)
        text = report_text(row, known.family, known.comparisons)
        if outcome != "nothing to do":
            StoreFiles(opened.runs_folder).put(f"reports/{name}.md", text.encode())
        write_round(str(history_folder(opened.runs_folder)), row)
        if outcome != "failed":  # whoever catches the error says it
            say(f"{outcome}: {row.note or row.reason}")
        return Result(row, text)

    try:
        config = parse_train_config(opened.recipe.train, where=where)
        known.family = family_of(config)
        _check_judged(known.family, config, rules, where=where)
        outcome = _round(name, opened, config, rules, known, fine_tune=fine_tune, make=make, fit=fit, say=say)
    except (Exception, KeyboardInterrupt) as error:  # whatever it is, the history shall know of it; it is raised again
        known.notes.append("interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__)
        finish("failed")
        raise
    return finish(outcome)


def _round(
    name: str,
    opened: Opened,
    config: CommonConfig,
    rules: Rules,
    known: _Round,
    *,
    fine_tune: bool,
    make: Make,
    fit: Fit,
    say: Callable[[str], None],
) -> str:
    """Do a round and return its outcome; ``known`` is filled on the way, so that a failure still tells how far it came."""
    runs, plan = opened.runs_folder, opened.plan()
    known.manifest = plan.manifest.path.fingerprint
    known.request = _request(config, known.manifest, fine_tune=fine_tune)
    champion = read_champion(runs)
    known.champion = None if champion is None else champion.folder(runs)
    found = None if champion is None else _judged(runs, known.request)
    if found is not None and not plan.to_do:
        known.reason = f"all {len(plan.items)} units are up to date, and their training met the champion in round {found}"
        return "nothing to do"
    known.reason = _reason(plan, runs, known.manifest, champion)
    say(f"to do: {known.reason}")
    if plan.to_do:
        num_failed = make(opened)
        left = opened.plan().to_do
        known.num_units = len(plan.to_do) - len(left)
        if num_failed or left:
            raise RoundError(
                f"{num_failed} units failed, {len(left)} are left to do; nothing was trained. Details: the newest folder in "
                f"'{runs}'. Mend what its events.jsonl names, then run the same command; only these are left"
            )
    training = _challenger(opened, config, known.manifest, known.champion if fine_tune else None)
    known.training = training.folder
    _train(training, fit, known, say)
    known.challenger_value = _value(training, rules)
    if champion is None:
        known.notes.append("there was no champion")
        is_promoted = True
    elif known.champion is not None and known.champion.resolve() == training.folder.resolve():
        known.notes.append("this training is the champion")
        is_promoted = False
    else:
        assert known.champion is not None
        known.comparisons, note = compare_with_champion(known.champion, training, rules)
        is_promoted, words = is_better(known.comparisons[0], rules)
        known.notes += [words, *([note] if note else [])]
    if is_promoted:
        new = Champion(
            str(training.folder), known.manifest, rules.metric, rules.cap_m, rules.radar, known.challenger_value,
            datetime.now(UTC).isoformat(timespec="seconds"), name,
        )  # fmt: skip
        write_champion(runs, new, instead_of=champion)
    return "promoted" if is_promoted else "kept"


def _request(config: CommonConfig, manifest: str, *, fine_tune: bool) -> str:
    """Name what a round is asked: the training that the recipe describes, and whether it starts from the champion.

    The champion itself does not count: a fine-tuned one would ask for its own successor for ever.
    """
    from model.families import FAMILIES

    name = FAMILIES.training_name(config, manifest)
    return hashlib.sha256(f"{name} fine_tune={fine_tune}".encode()).hexdigest()[:16]


def _judged(runs: Path, request: str) -> str | None:
    """Return the newest round that answered this request; None if none did."""
    for row in rounds_newest_first(str(history_folder(runs))):
        if row.request == request and row.outcome in JUDGED:
            return row.name
    return None


def _reason(plan: Plan, runs: Path, manifest: str, champion: Champion | None) -> str:
    """Say why there is work: what the plan lists, or else what about the training is new."""
    if plan.to_do:
        stages: dict[str, list[str]] = {}
        for line in plan.lines():
            if line.num_to_do and line.stage != plan.manifest.stage:
                stages.setdefault(line.text, []).append(line.stage)
        lines = [f"{', '.join(names)}: {text}" for text, names in stages.items()]
        return "; ".join(lines) or f"{plan.manifest.stage}: {plan.manifest.reason}"
    last = next((row for row in rounds_newest_first(str(history_folder(runs))) if row.outcome in JUDGED), None)
    if champion is None:
        return "there is no champion yet"
    if last is None or last.manifest != manifest:
        return f"manifest {manifest} was not trained on yet"
    return f"the training options changed since round {last.name}"


def _challenger(opened: Opened, config: CommonConfig, manifest: str, start: Path | None) -> Training:
    """Return the training of this round, on its pinned manifest, from the champion if asked to."""
    if start is not None:
        begun = {"start_from": str((start / "best.pt").absolute()), "imagenet_weights": None, "backbone_from": None}
        config = config.model_copy(update=begun)
    folder = training_folder(opened, config, manifest)
    return Training(config, open_manifest(opened.store, manifest), folder, machine_of(opened))


def _train(training: Training, fit: Fit, known: _Round, say: Callable[[str], None]) -> None:
    """Train unless it is done."""
    from model.train.loop import is_complete

    if is_complete(training.folder):
        known.notes.append("its training was complete already")
        return
    start = "" if training.config.start_from is None else f", starting from {training.config.start_from}"
    say(f"training {training.folder.name} on manifest {training.manifest.path.fingerprint}{start}")
    fit(training)


def _check_judged(family: Family[Any], config: CommonConfig, rules: Rules, *, where: str) -> None:
    """Check that trainings of the family can be judged, by these rules, before an hour of work; else RecipeError."""
    if family.retrain_refusal:
        raise RecipeError(f"recipe '{where}': train.family is '{family.name}', and {family.retrain_refusal}")
    family.check_rules(config, rules)


def _value(training: Training, rules: Rules) -> float:
    """Return the mean that decides; RoundError if no frame of the split has a pixel to measure."""
    value = training.family.deciding_value(training.folder / "evaluation", rules)
    if value is not None:
        return value
    raise RoundError(
        f"no frame of the split has a measured pixel up to {rules.cap_m:g} m with radar {rules.radar}, so nothing can be "
        "compared. Look at the split (depthmill inspect), or choose another train.evaluation in the recipe"
    )


def _record(name: str, where: str, rules: Rules, known: _Round, outcome: str, *, started: datetime, seconds: float) -> Round:
    every = known.comparisons[0] if known.comparisons else None
    code = provenance()
    return Round(
        name=name,
        recipe=where,
        started_utc=started.isoformat(timespec="milliseconds"),
        finished_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        outcome=outcome,
        reason=known.reason,
        note="; ".join(known.notes),
        request=known.request,
        num_units=known.num_units,
        manifest=known.manifest,
        training=None if known.training is None else str(known.training),
        champion_before=None if known.champion is None else str(known.champion),
        metric=rules.metric,
        cap_m=rules.cap_m,
        radar=rules.radar,
        margin=rules.margin,
        num_frames=None if every is None else every.num_frames,
        champion_value=None if every is None else every.mean_a,
        challenger_value=known.challenger_value if every is None else every.mean_b,
        difference=None if every is None else every.mean_difference,
        low=None if every is None else every.low,
        high=None if every is None else every.high,
        is_promoted=outcome == "promoted",
        seconds=seconds,
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
