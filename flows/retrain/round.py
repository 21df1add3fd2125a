"""One round: plan, make what is missing, pin a manifest, train, compare with the champion, promote or keep, leave a record.

Nothing here knows Prefect: the orchestrator that makes units and trains is handed in. A round that finds nothing new trains
nothing and says so; an interrupted one goes on where it stopped when it is asked again, because units and trainings are named by
what decides their content.

Reads   the recipe, the store, <runs>/champion.json, <runs>/history
Writes  units, <runs>/trainings/<name>, <runs>/champion.json, <runs>/reports/<round>.md, <runs>/history/<round>.parquet
"""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.retrain.champion import Champion, ChampionError, compare_with_champion, is_better, read_champion, write_champion
from flows.retrain.record import (
    Result,
    RoundProgress,
    changed_rules,
    history_folder,
    judged,
    killed,
    last_judged,
    record,
    report_text,
)
from flows.run.listener import Listener
from flows.run.making import SILENT, make_units
from flows.run.opening import Opened
from flows.run.orchestrator import Orchestrator
from flows.run.runs import Runs
from flows.run.training import Training, machine_of, refuse_without_torch, training_folder
from pipeline.plan import Plan
from storage_schemas.errors import DepthmillError, RecipeError, StoreError
from storage_schemas.folder_lock import HeldFolder
from storage_schemas.manifest import open_manifest
from storage_schemas.remote_lock import HeldKey
from storage_schemas.run_history import Round, write_round

if TYPE_CHECKING:
    from model.train.config import CommonConfig
    from model.train.family import Family
    from model.train.judging import Rules


class RoundError(DepthmillError):
    """A round that cannot go on."""


@dataclass(frozen=True)
class _Request:
    """What a round is asked.

    Attributes:
        opened: the recipe.
        where: name of the recipe file.
        rules: what a challenger must show.
        fine_tune: start from the champion's weights instead of from scratch.
        orchestrator: carries the work out.
        listener: is told what goes on.
    """

    opened: Opened
    where: str
    rules: Rules
    fine_tune: bool
    orchestrator: Orchestrator
    listener: Listener


def retrain(
    opened: Opened,
    orchestrator: Orchestrator,
    listener: Listener = SILENT,
    *,
    where: str,
    rules: Rules,
    fine_tune: bool = False,
) -> Result:
    """Do one round.

    Args:
        opened: the recipe.
        orchestrator: carries it out.
        listener: is told what goes on.
        where: name of the recipe file.
        rules: what a challenger must show.
        fine_tune: start from the champion's weights instead of from scratch.

    Returns:
        The record, which is in the history too, and the report.

    Raises:
        RecipeError: the ``train:`` group or a rule has a mistake.
        RoundError: units failed.
        DepthmillError: what the training or the comparison raised. A failed round leaves a record as well.
    """
    refuse_without_torch()
    if former := opened.runs.former_text():
        listener.warn(former)
    request = _Request(opened, where, rules, fine_tune, orchestrator, listener)
    return orchestrator.retrain(Path(where).stem, lambda: _only_round(request))


def _only_round(request: _Request) -> Result:
    """Do a round while no other one goes on in the same runs folder; FolderBusyError says which one does."""
    with request.opened.runs.held("", doing=f"depthmill retrain {request.where}") as held:
        return _recorded_round(request, held)


def _close_killed(held: HeldFolder | HeldKey, runs: Runs) -> None:
    """Leave the record of a former round that was killed."""
    if held.former is None:
        return
    try:
        champion = read_champion(runs)
    except ChampionError:  # this round will say so
        champion = None
    row = killed(held.former, champion)
    if row is not None:
        with suppress(StoreError):  # it was killed after it had left its record
            write_round(history_folder(runs), row)


def _recorded_round(request: _Request, held: HeldFolder | HeldKey) -> Result:
    """Do a round and leave its record and report, also if it fails."""
    from model.families import family_of, parse_train_config

    progress, runs = RoundProgress(request.where, request.rules), request.opened.runs
    _close_killed(held, runs)
    progress.changed = lambda: held.say(asdict(record(progress, "failed")))
    progress.changed()

    def finish(outcome: str) -> Result:
        row = record(progress, outcome)
        text = report_text(row, progress.family, progress.comparisons, choice=progress.choice)
        if outcome != "nothing to do":
            runs.files.put(f"reports/{row.name}.md", text.encode())
        write_round(history_folder(runs), row)
        if outcome != "failed":  # a failed round raises, and the caller prints the error
            request.listener.say(f"{outcome}: {row.note or row.reason}")
        return Result(row, text)

    try:
        config = parse_train_config(request.opened.recipe.train, where=request.where)
        progress.family = family_of(config)
        _check_rules(progress.family, config, request.rules, where=request.where)
        outcome = _round(request, config, progress)
    except (Exception, KeyboardInterrupt) as error:  # the history records every error, then it is raised again
        progress.notes.append("interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__)
        finish("failed")
        raise
    return finish(outcome)


def _round(request: _Request, config: CommonConfig, progress: RoundProgress) -> str:
    """Do a round and return its outcome; ``progress`` is filled on the way, so that a failed round is recorded too."""
    opened, rules = request.opened, request.rules
    runs, plan = opened.runs, opened.plan()
    progress.manifest = plan.manifest.path.fingerprint
    progress.request = _request(config, progress.manifest, fine_tune=request.fine_tune)
    champion = read_champion(runs)
    progress.champion = None if champion is None else champion.address(runs)
    judged_in, judged_rounds = (None, []) if champion is None else judged(runs, progress.request, rules)
    if judged_in is not None and not plan.to_do:
        progress.reason = f"all {len(plan.items)} units are up to date, and their training met the champion in round {judged_in}"
        return "nothing to do"
    if judged_rounds and not plan.to_do:
        before = next((row for row in judged_rounds if row.outcome != "nothing to do"), judged_rounds[0])
        progress.reason = f"the rules changed since round {before.name}: {changed_rules(before, rules)}"
    else:
        progress.reason = _reason(plan, runs, progress.manifest, champion)
    progress.changed()
    request.listener.say(f"to do: {progress.reason}")
    if plan.to_do:
        _make(request, progress, plan)
    training = _judged_challenger(opened, config, progress.manifest, judged_rounds) if request.fine_tune else None
    if training is None:
        start = champion.folder(runs) if champion is not None and request.fine_tune else None
        training = _challenger(opened, config, progress.manifest, start)
    progress.training = training.address
    progress.choice = training.family.choice_text(training.config)
    progress.changed()
    with training.held(f"depthmill retrain {request.where}"):
        return _train_and_judge(training, request, progress, champion)


def _train_and_judge(training: Training, request: _Request, progress: RoundProgress, champion: Champion | None) -> str:
    """Train what is left, let it meet the champion, and return the outcome."""
    runs, rules = request.opened.runs, request.rules
    assert progress.manifest is not None
    _train(training, request, progress)
    progress.challenger_value = _value(training, rules)
    if champion is None:
        progress.notes.append("there was no champion")
        is_promoted = True
    elif (before := champion.folder(runs)).resolve() == training.folder.resolve():
        progress.notes.append("this training is the champion")
        is_promoted = False
    else:
        progress.comparisons, note = compare_with_champion(before, training, rules)
        runs.keep(training.folder)  # the champion may have been measured again there
        is_promoted, verdict = is_better(progress.comparisons[0], rules)
        progress.notes += [verdict, *([note] if note else [])]
    if is_promoted:
        new = Champion(
            str(training.folder), progress.manifest, rules.metric, rules.cap_m, rules.radar, progress.challenger_value,
            datetime.now(UTC).isoformat(timespec="seconds"), progress.name,
        )  # fmt: skip
        write_champion(runs, new, instead_of=champion)
    return "promoted" if is_promoted else "kept"


def _make(request: _Request, progress: RoundProgress, plan: Plan) -> None:
    """Make what the plan lists; RoundError if units failed."""
    num_failed = make_units(request.opened, request.orchestrator, request.listener).num_failed
    left = request.opened.plan().to_do
    progress.num_units = len(plan.to_do) - len(left)
    if num_failed or left:
        raise RoundError(
            f"{num_failed} units failed, {len(left)} are left to do; nothing was trained. Details: the newest folder in "
            f"'{request.opened.runs.root}'. Mend what its events.jsonl names, then run the same command; only these are left"
        )


def _request(config: CommonConfig, manifest: str, *, fine_tune: bool) -> str:
    """Name what a round is asked: the training that the recipe describes, and whether it starts from the champion.

    The champion itself does not count: a fine-tuned one would ask for its own successor for ever.
    """
    from model.families import FAMILIES

    name = FAMILIES.training_name(config, manifest)
    return hashlib.sha256(f"{name} fine_tune={fine_tune}".encode()).hexdigest()[:16]


def _reason(plan: Plan, runs: Runs, manifest: str, champion: Champion | None) -> str:
    """Say why there is work: what the plan lists, or else what about the training is new."""
    if plan.to_do:
        stages: dict[str, list[str]] = {}
        for line in plan.lines():
            if line.num_to_do and line.stage != plan.manifest.stage:
                stages.setdefault(line.text, []).append(line.stage)
        lines = [f"{', '.join(names)}: {text}" for text, names in stages.items()]
        return "; ".join(lines) or f"{plan.manifest.stage}: {plan.manifest.reason}"
    last = last_judged(runs)
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
    return Training(config, open_manifest(opened.store, manifest), folder, machine_of(opened), opened.runs)


def _judged_challenger(opened: Opened, config: CommonConfig, manifest: str, rounds: list[Round]) -> Training | None:
    """Return the fine-tuned training that answered the same request by other rules; None if there is none.

    Named by its start, it would be another one since the champion changed, and would be trained again for a changed rule.
    """
    from model.train.loop import is_complete, read_training

    for row in rounds:
        if row.training is None:
            continue
        folder = opened.runs.training(Path(row.training).name)  # by its name: the store may have moved
        if is_complete(folder):
            start = {"start_from": read_training(folder)["config"].get("start_from"), "imagenet_weights": None}
            begun = config.model_copy(update={**start, "backbone_from": None})
            return Training(begun, open_manifest(opened.store, manifest), folder, machine_of(opened), opened.runs)
    return None


def _train(training: Training, request: _Request, progress: RoundProgress) -> None:
    """Train unless it is done."""
    from model.train.loop import is_complete

    if is_complete(training.folder):
        progress.notes.append("its training was complete already")
        return
    start = "" if training.config.start_from is None else f", starting from {training.config.start_from}"
    request.listener.say(f"training {training.folder.name} on manifest {training.manifest.path.fingerprint}{start}")
    request.listener.work_begins()
    request.orchestrator.train(training, request.listener.steps())


def _check_rules(family: Family[Any], config: CommonConfig, rules: Rules, *, where: str) -> None:
    """Check that trainings of the family can be judged, by these rules, before an hour of work; else RecipeError."""
    if family.retrain_refusal:
        raise RecipeError(f"recipe '{where}': train.family is '{family.name}', and {family.retrain_refusal}")
    family.check_rules(config, rules)


def _value(training: Training, rules: Rules) -> float:
    """Return the mean that decides; RoundError if no frame of the split has a pixel to measure."""
    value = training.family.deciding_value(training.folder / "evaluation", rules)
    if value is not None and math.isnan(value):
        raise RoundError(
            f"training '{training.folder}' gives {rules.metric} = NaN on its split, so it can be no champion. Lower "
            "train.learning_rate or set train.max_gradient_norm in the recipe, and run the same command"
        )
    if value is not None:
        return value
    raise RoundError(
        f"no frame of the split has a measured pixel up to {rules.cap_m:g} m with radar {rules.radar}, so nothing can be "
        "compared. Look at the split (depthmill inspect), or choose another train.evaluation in the recipe"
    )
