"""What a round is asked, and what there is to do: looked up before anything is made, by a round and by its dry run alike.

Reads   the recipe, the store, the champion of the line, <runs>/history
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.retrain.champion import Champion, file_of, read_champion
from flows.retrain.comparison import Opponent, opponent_of
from flows.retrain.line import Line
from flows.retrain.record import changed_rules, judged, last_judged
from flows.run.runs import Runs
from pipeline.plan import Plan
from storage_schemas.run_history import Round

if TYPE_CHECKING:
    from model.train.config import CommonConfig
    from model.train.judging import Rules


@dataclass(frozen=True)
class Asked:
    """What a round is asked.

    Attributes:
        line: of recipe and family.
        config: the training that the recipe describes.
        rules: what it must show.
        plan: units that are there and those that are missing.
        fine_tune: the training starts from the champion's weights.
    """

    line: Line
    config: CommonConfig
    rules: Rules
    plan: Plan
    fine_tune: bool

    @property
    def manifest(self) -> str:
        """Return the fingerprint of the manifest that the training is pinned to."""
        return self.plan.manifest.path.fingerprint

    @property
    def request(self) -> str:
        """Name it: the training that the recipe describes, and whether it starts from the champion.

        The champion itself does not count: a fine-tuned one would ask for its own successor for ever.
        """
        from model.families import FAMILIES

        name = FAMILIES.training_name(self.config, self.manifest)
        return hashlib.sha256(f"{name} fine_tune={self.fine_tune}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PlannedRound:
    """What there is to do.

    Attributes:
        champion: of the line; None if there is none yet.
        opponent: the same, as the challenger meets it; None without one, or where nothing is to do.
        reason: why there is work, or why there is none.
        is_judged: there is nothing to do.
        judged_rounds: rounds that answered the same request by other rules, the newest first.
    """

    champion: Champion | None
    opponent: Opponent | None
    reason: str
    is_judged: bool
    judged_rounds: list[Round]


def plan_round(asked: Asked, runs: Runs) -> PlannedRound:
    """Look up what there is to do; nothing is written.

    Raises:
        ChampionError: the champion's file is damaged, its training is gone, or it can never be compared with this training.
        StoreError: the history cannot be read.
    """
    champion, plan = read_champion(runs, asked.line), asked.plan
    judged_in, judged_rounds = (None, []) if champion is None else judged(runs, asked.line, asked.request, asked.rules)
    if judged_in is not None and not plan.to_do:
        reason = f"all {len(plan.items)} units are up to date, and their training met the champion in round {judged_in}"
        return PlannedRound(champion, None, reason, True, judged_rounds)
    opponent = None
    if champion is not None:
        opponent = opponent_of(
            champion.record(runs),
            asked.config,
            asked.rules,
            address=champion.address(runs),
            file=file_of(runs, asked.line),
        )
    if judged_rounds and not plan.to_do:
        before = next((row for row in judged_rounds if row.outcome != "nothing to do"), judged_rounds[0])
        reason = f"the rules changed since round {before.name}: {changed_rules(before, asked.rules)}"
    else:
        reason = _reason(asked, runs, champion)
    return PlannedRound(champion, opponent, reason, False, judged_rounds)


def from_champion(config: CommonConfig, champion: Path) -> CommonConfig:
    """Return a training that starts from the weights of a champion, whose folder is on this machine."""
    begun = {"start_from": str((champion / "best.pt").absolute()), "imagenet_weights": None, "backbone_from": None}
    return config.model_copy(update=begun)


def _reason(asked: Asked, runs: Runs, champion: Champion | None) -> str:
    """Say why there is work: what the plan lists, or else what about the training is new."""
    plan = asked.plan
    if plan.to_do:
        stages: dict[str, list[str]] = {}
        for line in plan.lines():
            if line.num_to_do and line.stage != plan.manifest.stage:
                stages.setdefault(line.text, []).append(line.stage)
        lines = [f"{', '.join(names)}: {text}" for text, names in stages.items()]
        return "; ".join(lines) or f"{plan.manifest.stage}: {plan.manifest.reason}"
    last = last_judged(runs, asked.line)
    if champion is None:
        return "there is no champion yet"
    if last is None or last.manifest != asked.manifest:
        return f"manifest {asked.manifest} was not trained on yet"
    return f"the training options changed since round {last.name}"
