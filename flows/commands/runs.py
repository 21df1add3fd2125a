"""``depthmill runs``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.options import AsJson, StoreOrRecipe

if TYPE_CHECKING:
    from flows.retrain.champion import Champion
    from flows.retrain.line import Line
    from flows.run.runs import Runs
    from storage_schemas.run_history import Round


def runs(
    store: StoreOrRecipe,
    last: Annotated[int, typer.Option(min=1, help="so many of the newest")] = 20,
    line: Annotated[
        str | None, typer.Option(help="only rounds and champion of one line: <recipe>.<family>, or the recipe's name alone")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the rounds of retrain, and the champions.

    Each round says when and why it ran, and what came of it.
    """
    from flows.command_line.answers import echo, print_json
    from flows.retrain.champion import read_champions
    from flows.retrain.overview import chosen_rounds, lines_at_work
    from flows.retrain.record import history_folder
    from flows.run.opening import open_store
    from flows.run.runs import Runs
    from flows.settings import settings_of_machine

    settings = settings_of_machine()
    folder = Runs(settings.runs_root(open_store(store).root), settings.cache_dir)
    champions, at_work = read_champions(folder), lines_at_work(folder)
    rounds, is_chosen = chosen_rounds(folder, [*champions, *(one for one, _ in at_work if one is not None)], line, last=last)
    champions = {one: champion for one, champion in champions.items() if is_chosen(one)}
    holders = [holder for one, holder in at_work if one is None or is_chosen(one)]
    if as_json:
        print_json(
            {
                "champions": {one.name: asdict(champion) for one, champion in champions.items()},
                "rounds": [asdict(row) for row in rounds],
                "not_ended": [asdict(holder) for holder in holders],
            }
        )
        return
    echo(runs_text(rounds) if rounds else f"no rounds yet in '{history_folder(folder)}'. Run depthmill retrain")
    for holder in holders:
        echo(f"round {holder.about.get('name', '')} has not ended: {holder}. If it was killed, the next round closes it")
    for one, champion in champions.items():
        echo(champion_text(one, champion, folder))


def champion_text(line: Line, champion: Champion, runs: Runs) -> str:
    """Return which training is the champion of a line, by what, and since when."""
    cap = "" if champion.cap_m is None else f" up to {champion.cap_m:g} m"
    radar = "" if champion.radar is None else f", radar {champion.radar}"
    return (
        f"champion of {line.name} {champion.address(runs)}: {champion.metric} {champion.value:.6g}{cap}{radar}, since "
        f"{champion.promoted_utc[:16].replace('T', ' ')} UTC"
    )


def runs_text(rounds: list[Round]) -> str:
    """Return rounds as a table, a line each, with the reason at the end."""
    from flows.command_line.tables import aligned
    from flows.text import duration

    table = [("started (UTC)", "line", "outcome", "units", "manifest", "training", "champion", "challenger", "took", "why")]
    for row in rounds:
        table.append(
            (
                row.started_utc[:19].replace("T", " "),
                Path(row.recipe).stem if row.line is None else row.line,
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
    return aligned(table, right=(3, 6, 7, 8))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
