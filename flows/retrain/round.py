"""One round: plan, make what is missing, pin a manifest, train, compare with the champion, promote or keep, leave a record.

Nothing here knows Prefect: the orchestrator that makes units and trains is handed in. A round that finds nothing new trains
nothing and says so; an interrupted one goes on where it stopped when it is asked again, because units and trainings are named by
what decides their content.

Reads   the recipe, the store, the champion of the line, <runs>/history
Writes  units, <runs>/trainings/<name>, <runs>/champions/<line>.json, <runs>/reports/<round>.md, <runs>/history/<round>.parquet
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.retrain.champion import (
    Champion,
    has_former,
    read_champion,
    read_champions,
    take_over_former,
    write_champion,
)
from flows.retrain.comparison import Opponent, compare_with_champion, complete_evaluation, is_better
from flows.retrain.line import Line
from flows.retrain.planned import Asked, PlannedRound, from_champion, plan_round
from flows.retrain.record import Result, RoundProgress, history_folder, killed, record, report_text
from flows.retrain.rules import rules_of
from flows.run.listener import Listener
from flows.run.making import SILENT, make_units
from flows.run.opening import Opened
from flows.run.orchestrator import Orchestrator
from flows.run.runs import Runs
from flows.run.training import Training, machine_of, training_folder
from pipeline.plan import Plan
from storage_schemas.errors import DepthmillError, StoreError
from storage_schemas.folder_lock import HeldFolder
from storage_schemas.manifest import open_manifest
from storage_schemas.remote_lock import HeldKey
from storage_schemas.run_history import write_round

if TYPE_CHECKING:
    from model.train.config import CommonConfig
    from model.train.judging import Rules


class RoundError(DepthmillError):
    """A round that cannot go on."""


@dataclass(frozen=True)
class _Request:
    """A round that is asked for.

    Attributes:
        opened: the recipe.
        where: name of the recipe file.
        orchestrator: carries the work out.
        listener: is told what goes on.
    """

    opened: Opened
    where: str
    orchestrator: Orchestrator
    listener: Listener

    @property
    def runs(self) -> Runs:
        """Return the runs of the store."""
        return self.opened.runs

    @property
    def doing(self) -> str:
        """Say what is done, for whoever is refused meanwhile."""
        return f"depthmill retrain {self.where}"


def retrain(opened: Opened, orchestrator: Orchestrator, listener: Listener = SILENT, *, where: str) -> Result:
    """Do one round by the rules of the recipe's ``retrain:`` group.

    Args:
        opened: the recipe.
        orchestrator: carries it out.
        listener: is told what goes on.
        where: name of the recipe file; with the family it names the line of trainings that are compared with each other.

    Returns:
        The record, which is in the history too, and the report.

    Raises:
        RecipeError: the ``train:`` group or a rule has a mistake.
        RoundError: units failed.
        FolderBusyError: another round of this line goes on.
        DepthmillError: what the training or the comparison raised. A failed round leaves a record as well.
    """
    machine_of(opened)  # a setting that does not fit must be reported before an hour of work
    if former := opened.runs.former_text():
        listener.warn(former)
    request = _Request(opened, where, orchestrator, listener)
    return orchestrator.retrain(Path(where).stem, lambda: _only_round(request))


def _only_round(request: _Request) -> Result:
    """Do a round while no other one of its line goes on; FolderBusyError says which one does."""
    from model.families import family_of, parse_train_config

    progress, runs = RoundProgress(request.where), request.runs
    try:
        config = parse_train_config(request.opened.train, where=request.where)
        progress.family = family_of(config)
        progress.line = line = Line.of(request.where, progress.family.name)
        progress.rules = rules_of(request.opened.recipe.retrain, progress.family, config, where=request.where)
    except DepthmillError as error:
        progress.notes.append(str(error))
        _finish(request, progress, "failed")
        raise
    _end_former_version(request, progress, line)
    with runs.held(line.lock_key, doing=request.doing) as held:
        _close_killed(held, runs, line)
        return _recorded_round(request, progress, config, held)


def _end_former_version(request: _Request, progress: RoundProgress, line: Line) -> None:
    """Take over the champion of a former version, and leave the record of its round if that was killed.

    Former versions hold the whole runs folder for a round; FolderBusyError if one goes on.
    """
    runs = request.runs
    if runs.holder() is None and not has_former(runs):
        return
    with runs.held("", doing=request.doing) as held:
        _close_killed(held, runs, line)
        if note := take_over_former(runs, line):
            request.listener.warn(f"WARNING: {note}")
            progress.notes.append(note)


def _close_killed(held: HeldFolder | HeldKey, runs: Runs, line: Line) -> None:
    """Leave the record of a former round that was killed."""
    if held.former is None:
        return
    try:
        champion = read_champion(runs, line)
    except DepthmillError:  # this round will say so
        champion = None
    row = killed(held.former, champion)
    if row is not None:
        with suppress(StoreError):  # it was killed after it had left its record
            write_round(history_folder(runs), row)


def _recorded_round(request: _Request, progress: RoundProgress, config: CommonConfig, held: HeldFolder | HeldKey) -> Result:
    """Do a round and leave its record and report, also if it fails."""
    progress.changed = lambda: held.say(asdict(record(progress, "failed")))
    progress.changed()
    try:
        outcome = _round(request, config, progress)
    except (Exception, KeyboardInterrupt) as error:  # the history records every error, then it is raised again
        progress.notes.append("interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__)
        _finish(request, progress, "failed")
        raise
    return _finish(request, progress, outcome)


def _finish(request: _Request, progress: RoundProgress, outcome: str) -> Result:
    """Leave the record of a round, and its report if it did anything."""
    row, rule = record(progress, outcome), "" if progress.rules is None else progress.rules.text
    text = report_text(row, progress.family, progress.comparisons, choice=progress.choice, rule=rule)
    if outcome != "nothing to do":
        request.runs.files.put(f"reports/{row.name}.md", text.encode())
    write_round(history_folder(request.runs), row)
    if outcome != "failed":  # a failed round raises, and the caller prints the error
        request.listener.say(f"{outcome}: {row.note or row.reason}")
    return Result(row, text)


def _round(request: _Request, config: CommonConfig, progress: RoundProgress) -> str:
    """Do a round and return its outcome; ``progress`` is filled on the way, so that a failed round is recorded too."""
    opened, runs = request.opened, request.runs
    assert progress.line is not None
    asked = Asked(progress.line, config, progress.settled_rules, opened.plan(), opened.recipe.retrain.fine_tune)
    progress.manifest, progress.request = asked.manifest, asked.request
    planned = plan_round(asked, runs)
    progress.champion = None if planned.champion is None else planned.champion.address(runs)
    progress.reason = planned.reason
    if planned.is_judged:
        return "nothing to do"
    progress.changed()
    request.listener.say(f"to do: {progress.reason}")
    if asked.plan.to_do:
        _make(request, progress, asked.plan)
    training = _challenger(opened, asked, planned)
    progress.training = training.address
    progress.choice = training.family.choice_text(training.config)
    progress.changed()
    with training.held(request.doing):
        return _train_and_judge(training, request, progress, planned)


def _train_and_judge(training: Training, request: _Request, progress: RoundProgress, planned: PlannedRound) -> str:
    """Train what is left, let it meet the champion, and return the outcome."""
    runs, rules, champion = request.runs, progress.settled_rules, planned.champion
    assert progress.manifest is not None and progress.line is not None
    _train(training, request, progress)
    if note := complete_evaluation(training):
        progress.notes.append(note)
    progress.challenger_value = _value(training, rules)
    if champion is None or planned.opponent is None:
        progress.notes.append(_no_champion_text(runs))
        is_promoted = True
    elif (before := champion.folder(runs)).resolve() == training.folder.resolve():
        progress.notes.append("this training is the champion")
        is_promoted = False
    else:
        is_promoted = _meets(planned.opponent, before, training, progress)
    runs.keep(training.folder)  # the champion, or the challenger itself, may have been measured again there
    if is_promoted:
        new = Champion(
            str(training.folder), progress.manifest, rules.metric, rules.cap_m, rules.radar, progress.challenger_value,
            datetime.now(UTC).isoformat(timespec="seconds"), progress.name,
        )  # fmt: skip
        write_champion(runs, progress.line, new, instead_of=champion)
    return "promoted" if is_promoted else "kept"


def _meets(opponent: Opponent, champion: Path, training: Training, progress: RoundProgress) -> bool:
    """Say whether the challenger is better than the champion, and note why."""
    rules = progress.settled_rules
    progress.comparisons, note = compare_with_champion(opponent, champion, training, rules)
    is_promoted, verdict = is_better(progress.comparisons[0], rules)
    progress.notes += [verdict, *([note] if note else [])]
    return is_promoted


def _no_champion_text(runs: Runs) -> str:
    """Say that there was no champion, and which other lines have one: a recipe under a new name begins a new line."""
    try:
        others = ", ".join(line.name for line in read_champions(runs))
    except DepthmillError:  # of another line, whose own round says so
        others = ""
    return f"there was no champion{f' of this line; there are champions of {others}' if others else ''}"


def _make(request: _Request, progress: RoundProgress, plan: Plan) -> None:
    """Make what the plan lists; RoundError if units failed."""
    num_failed = make_units(request.opened, request.orchestrator, request.listener).num_failed
    left = request.opened.plan().to_do
    progress.num_units = len(plan.to_do) - len(left)
    if num_failed or left:
        raise RoundError(
            f"{num_failed} units failed, {len(left)} are left to do; nothing was trained. Details: the newest folder in "
            f"'{request.runs.root}'. Fix what its events.jsonl names, then run the same command; only these are left"
        )


def _challenger(opened: Opened, asked: Asked, planned: PlannedRound) -> Training:
    """Return the training of this round, on its pinned manifest, from the champion if asked to."""
    config, runs = asked.config, opened.runs
    if asked.fine_tune and (judged := _judged_challenger(opened, asked, planned)) is not None:
        return judged
    if asked.fine_tune and planned.champion is not None:
        config = from_champion(config, planned.champion.folder(runs))
    folder = training_folder(opened, config, asked.manifest)
    return Training(config, open_manifest(opened.store, asked.manifest), folder, machine_of(opened), runs)


def _judged_challenger(opened: Opened, asked: Asked, planned: PlannedRound) -> Training | None:
    """Return the fine-tuned training that answered the same request by other rules; None if there is none.

    Named by its start, it would be another one since the champion changed, and would be trained again for a changed rule.
    """
    from model.train.loop import is_complete, read_training

    for row in planned.judged_rounds:
        if row.training is None:
            continue
        folder = opened.runs.training(Path(row.training).name)  # by its name: the store may have moved
        if is_complete(folder):
            start = {"start_from": read_training(folder)["config"].get("start_from"), "imagenet_weights": None}
            begun = asked.config.model_copy(update={**start, "backbone_from": None})
            return Training(begun, open_manifest(opened.store, asked.manifest), folder, machine_of(opened), opened.runs)
    return None


def _train(training: Training, request: _Request, progress: RoundProgress) -> None:
    """Train unless it is done."""
    if training.is_complete:
        progress.notes.append("its training was complete already")
        return
    start = "" if training.config.start_from is None else f", starting from {training.config.start_from}"
    request.listener.say(f"training {training.folder.name} on manifest {training.manifest.path.fingerprint}{start}")
    for notice in training.family.notices(training.config, training.manifest):
        request.listener.warn(f"WARNING: {notice}")
    request.listener.work_begins()
    request.orchestrator.train(training, request.listener.steps())


def _value(training: Training, rules: Rules) -> float:
    """Return the mean that decides; RoundError if the split has nothing to measure it on."""
    value = training.family.deciding_value(training.folder / "evaluation", rules)
    if value is not None and math.isnan(value):
        raise RoundError(
            f"training '{training.folder}' gives {rules.metric} = NaN on its split, so it can be no champion. Lower "
            "train.learning_rate or set train.max_gradient_norm in the recipe, and run the same command"
        )
    if value is not None:
        return value
    raise RoundError(
        f"{training.family.nothing_measured_text(rules)}, so nothing can be compared. Look at the split (depthmill inspect), or "
        "choose another train.evaluation in the recipe"
    )
