"""``retrain --dry-run``: what a round would do, from the very look-up that a round begins with. Nothing is written.

A fine-tuned training is named by the bytes that it starts from, so with a remote store the champion's checkpoint is read into
the cache.

Reads   the recipe, the store, the champion of the line, the history
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.retrain.comparison import measured_otherwise
from flows.retrain.line import Line
from flows.retrain.planned import Asked, PlannedRound, from_champion, plan_round
from flows.retrain.rules import rules_of
from flows.run.opening import Opened
from flows.run.training import due_parts, refuse_without_torch, training_folder

if TYPE_CHECKING:
    from model.train.config import CommonConfig


@dataclass(frozen=True)
class Preview:
    """What a round would do.

    Attributes:
        asked: of it.
        planned: what there is to do.
        training: path or URL of the training's folder.
        state: complete, begun or to do.
        measured_again: why the champion would be measured again; empty if it would not.
        busy: who does a round of this line now; "" if nobody does.
        is_champion: the training is the champion already.
    """

    asked: Asked
    planned: PlannedRound
    training: str
    state: str
    measured_again: list[str]
    busy: str
    is_champion: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        champion = self.planned.champion
        return {
            "line": self.asked.line.name,
            "nothing_to_do": self.planned.is_judged,
            "reason": self.planned.reason,
            "units": [
                {"stage": line.stage, "up_to_date": line.num_up_to_date, "to_do": line.num_to_do, "reason": line.text}
                for line in self.asked.plan.lines()
            ],
            "num_units": len(self.asked.plan.to_do),
            "manifest": self.asked.manifest,
            "training": self.training,
            "state": self.state,
            "champion": None if champion is None else {"training": champion.training, "value": champion.value},
            "is_champion": self.is_champion,
            "measured_again": self.measured_again,
            "rule": self.asked.rules.text,
            "busy": self.busy,
        }

    @property
    def text(self) -> str:
        """Return it for people, a line each."""
        todo = self.asked.plan.to_do
        lines = [f"line       {self.asked.line.name}"]
        if self.busy:
            lines.append(f"at work    {self.busy}")
        lines.append(f"{'nothing' if self.planned.is_judged else 'why':<10} {self.planned.reason}")
        for line in self.asked.plan.lines():
            if line.num_to_do:
                lines.append(f"units      {line.num_to_do} of {line.stage}: {line.text}")
        if not todo:
            lines.append(f"units      none: all {len(self.asked.plan.items)} are up to date")
        lines.append(f"training   {self._training_text}")
        lines.append(f"compared   {self._compared_text}")
        lines.append(f"rule       {self.asked.rules.text}")
        return "\n".join([*lines, "Nothing was written."])

    @property
    def _training_text(self) -> str:
        what = {
            "complete": "is complete and would not be trained again",
            "begun": "would go on from its last checkpoint",
            "to do": "would be trained from its first step",
        }[self.state]
        return f"{self.training} on manifest {self.asked.manifest} {what}"

    @property
    def _compared_text(self) -> str:
        champion = self.planned.champion
        if champion is None:
            return "with nothing: there is no champion, so the training would become it"
        if self.is_champion:
            return "with nothing: this training is the champion"
        again = f", measured again first ({', '.join(self.measured_again)})" if self.measured_again else ""
        return f"with champion {champion.training} ({champion.metric} {champion.value:.6g} when it was promoted){again}"


def preview_round(opened: Opened, *, where: str) -> Preview:
    """Say what ``retrain`` would do now.

    Args:
        opened: the recipe.
        where: name of the recipe file.

    Raises:
        RecipeError: the ``train:`` group or a rule has a mistake.
        ChampionError: the round would fail, because its champion cannot be found or compared.
        StoreError: something cannot be read.
    """
    refuse_without_torch()
    from model.families import family_of, parse_train_config

    config: CommonConfig = parse_train_config(opened.train, where=where)
    family, choices, runs = family_of(config), opened.recipe.retrain, opened.runs
    line = Line.of(where, family.name)
    rules = rules_of(choices, family, config, where=where)
    asked = Asked(line, config, rules, opened.plan(), choices.fine_tune)
    planned = plan_round(asked, runs)
    judged = next((row.training for row in planned.judged_rounds if row.training), None) if asked.fine_tune else None
    if judged is not None:  # a changed rule judges the fine-tuned training again, and does not train another
        address, state = runs.address(runs.work / "trainings" / Path(judged).name), "complete"
    else:
        if asked.fine_tune and planned.champion is not None:
            config = from_champion(config, planned.champion.folder(runs))
        address, state = _training(opened, config, asked.manifest)
    is_champion = planned.champion is not None and planned.champion.address(runs) == address
    again = []
    if planned.opponent is not None and not is_champion:
        again = measured_otherwise(planned.opponent, family, config, asked.manifest)
    holder = runs.holder(line.lock_key)
    return Preview(asked, planned, address, state, again, "" if holder is None else str(holder), is_champion)


def _training(opened: Opened, config: CommonConfig, manifest: str) -> tuple[str, str]:
    """Return path or URL of a training, and whether it is complete, begun or to do; of a remote one nothing is fetched."""
    from model.families import FAMILIES

    runs = opened.runs
    if not runs.is_local:
        key = f"trainings/{FAMILIES.training_name(config, manifest)}"
        address = runs.address(runs.work / key)
        if runs.files.exists(f"{key}/training.json"):
            return address, "complete"
        return address, "begun" if runs.files.exists(f"{key}/last.pt") else "to do"
    folder = training_folder(opened, config, manifest)
    if (folder / "training.json").is_file():
        return str(folder), "begun" if due_parts(config, folder) else "complete"
    return str(folder), "begun" if (folder / "last.pt").is_file() else "to do"
