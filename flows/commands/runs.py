"""``depthmill runs``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.options import AsJson, StoreOrRecipe

if TYPE_CHECKING:
    from storage_schemas.run_history import Round


def runs(
    store: StoreOrRecipe,
    last: Annotated[int, typer.Option(min=1, help="so many of the newest")] = 20,
    as_json: AsJson = False,
) -> None:
    """Print the rounds of retrain, by hand or by schedule: when, why, what came of it; and the champion."""
    from flows.command_line.answers import echo, print_json
    from flows.retrain.champion import read_champion
    from flows.retrain.record import history_folder
    from flows.run.opening import open_store
    from flows.run.runs import Runs
    from flows.settings import settings_of_machine
    from storage_schemas.run_history import read_history

    settings = settings_of_machine()
    folder = Runs(settings.runs_root(open_store(store).root), settings.cache_dir)
    rounds, champion = read_history(history_folder(folder), last=last), read_champion(folder)
    going_on = folder.holder()
    if as_json:
        not_ended = None if going_on is None else asdict(going_on)
        print_json({"champion": champion and asdict(champion), "rounds": [asdict(row) for row in rounds], "not_ended": not_ended})
        return
    echo(runs_text(rounds) if rounds else f"no rounds yet in '{history_folder(folder)}'. Run depthmill retrain")
    if going_on is not None:
        echo(f"round {going_on.about.get('name', '')} has not ended: {going_on}. If it was killed, the next round closes it")
    if champion is not None:
        echo(
            f"champion {champion.address(folder)}: {champion.metric} {champion.value:.6g} up to {champion.cap_m:g} m, radar "
            f"{champion.radar}, since {champion.promoted_utc[:16].replace('T', ' ')} UTC"
        )


def runs_text(rounds: list[Round]) -> str:
    """Return rounds as a table, a line each, with the reason at the end."""
    from flows.text import duration

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
