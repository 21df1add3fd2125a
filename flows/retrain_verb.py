"""What a round does on this machine, with or without Prefect, and what ``depthmill retrain`` and ``depthmill runs`` print."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from flows.champion import read_champion
from flows.console import duration
from flows.materialize import Opened
from flows.retrain import Result, history_folder, retrain
from flows.run_verb import run_and_print
from flows.train_verb import ProgressText
from flows.training import Training
from model.train.judging import Rules
from storage_schemas.run_history import Round, read_history


def do_round(opened: Opened, *, where: str, rules: Rules, fine_tune: bool, no_prefect: bool, is_quiet: bool = False) -> Result:
    """Do one round, telling of every unit and of the training now and then; errors as ``flows.retrain.retrain``."""

    def make(opened: Opened) -> int:
        return run_and_print(opened, no_prefect=no_prefect, as_json=False, report=True, is_quiet=is_quiet)

    def fit(training: Training) -> None:
        on_progress = None if is_quiet else ProgressText()
        if no_prefect:
            training.run(on_progress)
            training.evaluate()
        else:
            from flows.train_flow import train_with_prefect

            train_with_prefect(training, on_progress)

    def say(line: str) -> None:
        if not is_quiet:
            print(line, flush=True)

    return retrain(opened, where=where, rules=rules, fine_tune=fine_tune, make=make, fit=fit, say=say)


def retrain_and_print(opened: Opened, *, where: str, rules: Rules, fine_tune: bool, no_prefect: bool, as_json: bool) -> None:
    """Do one round and print its report; errors as ``flows.retrain.retrain``."""
    if no_prefect:
        result = do_round(opened, where=where, rules=rules, fine_tune=fine_tune, no_prefect=True, is_quiet=as_json)
    else:
        from flows.retrain_flow import retrain_with_prefect

        result = retrain_with_prefect(opened, where=where, rules=rules, fine_tune=fine_tune, is_quiet=as_json)
    if as_json:
        print(json.dumps(asdict(result.row), indent=1))
    elif result.row.outcome != "nothing to do":
        print(f"\n{result.text}", end="")


def print_runs(runs: Path, *, last: int, as_json: bool) -> None:
    """Print the newest rounds of a runs folder, oldest first, and the champion.

    Raises:
        StoreError: a record is damaged.
        ChampionError: the champion is damaged or gone.
    """
    rounds, champion = read_history(str(history_folder(runs)), last=last), read_champion(runs)
    if as_json:
        words = {"champion": champion and asdict(champion), "rounds": [asdict(row) for row in rounds]}
        print(json.dumps(words, indent=1))
        return
    print(runs_text(rounds) if rounds else f"no rounds yet in '{history_folder(runs)}'. Run depthmill retrain")
    if champion is not None:
        print(
            f"champion {champion.folder(runs)}: {champion.metric} {champion.value:.6g} up to {champion.cap_m:g} m, radar "
            f"{champion.radar}, since {champion.promoted_utc[:16].replace('T', ' ')} UTC"
        )


def runs_text(rounds: list[Round]) -> str:
    """Return rounds as a table, a line each, the reason last."""
    table = [("started (UTC)", "outcome", "units", "manifest", "training", "champion", "challenger", "took", "why")]
    for row in rounds:
        table.append(
            (
                row.started_utc[:19].replace("T", " "),
                row.outcome,
                str(row.num_units),
                (row.manifest or "")[:8],
                Path(row.training).name[:8] if row.training else "",
                _number(row.champion_value),
                _number(row.challenger_value),
                duration(row.seconds),
                row.note if row.outcome == "failed" else row.reason,
            )
        )
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]) - 1)]
    right = {2, 5, 6, 7}
    return "\n".join(
        "  ".join(
            [*(f"{row[i]:>{width}}" if i in right else f"{row[i]:<{width}}" for i, width in enumerate(widths)), row[-1]]
        ).rstrip()
        for row in table
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
