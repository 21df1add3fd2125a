"""The table of an ablation: mean and spread of every variant over its seeds, and its difference to the first, seed by seed.

Why    Two trainings with one seed begin alike and see the frames in one order, so their difference varies less than either of
       them does; how many of the seeds are better tells more than the means where there are three of them
Source standard deviation of a sample (divided by n - 1); a seed is better, worse or equal, and equal is not better
Reads  <runs>/trainings/<name>/training.json and evaluation/
Writes table.md and results.csv (a row for each variant and seed) into the ablation's folder
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.ablation.ablation import Ablation, Run
from storage_schemas.errors import DepthmillError, StoreError
from storage_schemas.files import StoreFiles

if TYPE_CHECKING:
    from model.train.measures import Measure

TABLE_FILE = "table.md"
RESULTS_FILE = "results.csv"
NOTHING = "-"

_TITLE = "# Ablation "


class Spread(NamedTuple):
    """Values of one measure over seeds.

    Attributes:
        mean: of them.
        deviation: standard deviation of the sample; None for a single value.
        num_seeds: how many they are.
    """

    mean: float
    deviation: float | None
    num_seeds: int


class Difference(NamedTuple):
    """A variant against the first one, over the seeds that both have.

    Attributes:
        spread: of variant minus first.
        num_better: seeds with which the variant is better; equal is not.
    """

    spread: Spread
    num_better: int


@dataclass(frozen=True)
class Result:
    """What one variant has reached with one seed.

    Attributes:
        variant: its name.
        run: its training.
        record: training.json; None if it is not complete.
        values: what was measured, by name of the measure; empty if it is not complete.
        error: why it failed in this run of the command; None if it did not.
    """

    variant: str
    run: Run
    record: Mapping[str, Any] | None
    values: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def status(self) -> str:
        """Return complete, failed, begun or to do."""
        return "failed" if self.error is not None else self.run.state


def spread_of(values: Sequence[float]) -> Spread | None:
    """Return mean and spread; None without values."""
    if not values:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def difference_of(first: Mapping[int, float], other: Mapping[int, float], *, is_higher_better: bool) -> Difference | None:
    """Return other - first over the seeds that both have; None if they share no seed."""
    differences = [other[seed] - first[seed] for seed in other if seed in first]
    spread = spread_of(differences)
    num_better = sum(difference > 0 if is_higher_better else difference < 0 for difference in differences)
    return None if spread is None else Difference(spread, num_better)


def results_of(ablation: Ablation, errors: Mapping[Path, str]) -> list[Result]:
    """Read every training that is complete, variant by variant.

    Args:
        ablation: the plan.
        errors: why trainings failed, by folder.

    Raises:
        StoreError: a complete training's record or evaluation is damaged.
    """
    from model.families import family_of
    from model.train.loop import is_complete, read_training

    results, read = [], dict[Path, tuple[Mapping[str, Any], Mapping[str, float]]]()
    for name in ablation.variants:
        for run in ablation.runs[name].values():
            if is_complete(run.folder) and run.folder not in read:
                try:
                    read[run.folder] = read_training(run.folder), family_of(run.config).read_measures(run.folder)
                except StoreError as error:
                    raise StoreError(
                        f"{run.title} is damaged: {error}. Or delete '{run.folder}' and run the same command: that one is then "
                        "trained again"
                    ) from error
            record, values = read.get(run.folder, (None, {}))
            results.append(Result(name, run, record, values, errors.get(run.folder)))
    return results


def values_by_seed(results: Sequence[Result], variant: str, measure: Measure) -> dict[int, float]:
    """Return the values of one measure of a variant, by the seeds that have one."""
    return {row.run.seed: row.values[measure.name] for row in results if row.variant == variant and measure.name in row.values}


def table_text(ablation: Ablation, results: Sequence[Result], *, is_whole: bool) -> str:
    """Return the table as Markdown.

    Args:
        ablation: the plan.
        results: of ``results_of``.
        is_whole: with the details and the list of trainings, for the file.
    """
    from model.families import family_of

    config = next(iter(ablation.trainings)).config
    split = family_of(config).split(config)
    seeds = ", ".join(map(str, ablation.seeds))
    blocks = [
        f"{_TITLE}{ablation.name}",
        f"Recipe `{ablation.where}`; {split} of manifest {ablation.manifest} in store `{ablation.store}`.",
        f"Mean ± standard deviation over seed{'s' if len(ablation.seeds) > 1 else ''} {seeds}.",
        _spread_table(ablation, results, ablation.columns.headline, with_count=True),
    ]
    if len(ablation.variants) > 1:
        blocks += [
            f"Difference to {ablation.first}, seed by seed; in brackets with how many seeds it is better:",
            _difference_table(ablation, results, ablation.columns.headline),
        ]
    blocks += ["\n".join(f"- {note}" for note in _notes(ablation, results))]
    if is_whole:
        for title, measures in ablation.columns.details.items():
            blocks += [f"## {title}", _spread_table(ablation, results, measures, with_count=False)]
        blocks += ["## What was changed", _changes_table(ablation), "## Trainings", _trainings_table(results)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def results_csv(ablation: Ablation, results: Sequence[Result]) -> str:
    """Return a row for each variant and seed: what it is, where it is, which data it saw, and every measure of the table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = ("num_steps", "train_frames", "val_frames", "seconds", "commit", "is_dirty")
    writer.writerow(
        ["variant", "seed", "status", "manifest", "training", *facts, *(measure.name for measure in ablation.columns.all)]
    )
    for result in results:
        record = result.record or {}
        writer.writerow(
            [result.variant, result.run.seed, result.status, ablation.manifest, result.run.address]
            + [record.get(fact, "") for fact in facts]
            + [result.values.get(measure.name, "") for measure in ablation.columns.all]
        )
    return text.getvalue()


def write_ablation(ablation: Ablation, results: Sequence[Result]) -> None:
    """Write table.md and results.csv, each atomically; StoreError if the folder cannot be written."""
    files = StoreFiles(ablation.folder)
    files.put(RESULTS_FILE, results_csv(ablation, results).encode())
    files.put(TABLE_FILE, table_text(ablation, results, is_whole=True).encode())


def refuse_other_folder(folder: Path) -> None:
    """Check that writing will replace a former table only; DepthmillError if files of these names are something else."""
    table = folder / TABLE_FILE
    is_ours = table.is_file() and table.read_text(encoding="utf-8", errors="replace").startswith(_TITLE)
    existing = [name for name in (TABLE_FILE, RESULTS_FILE) if (folder / name).exists()]
    if existing and not is_ours:
        raise DepthmillError(
            f"'{folder / existing[0]}' is there and is not of an ablation, so it is not replaced. Choose another folder with "
            "--out"
        )


def as_json(ablation: Ablation, results: Sequence[Result]) -> dict[str, Any]:
    """Return the same as data: what was planned, every training, and per variant the numbers of the table."""
    return {
        "name": ablation.name,
        "folder": ablation.address,
        "store": ablation.store,
        "manifest": ablation.manifest,
        "seeds": list(ablation.seeds),
        "variants": [
            {
                "name": name,
                "changes": dict(changes),
                "same_as": ablation.same_as.get(name),
                "measures": {measure.name: _measure_json(ablation, results, name, measure) for measure in ablation.columns.all},
            }
            for name, changes in ablation.variants.items()
        ],
        "trainings": [
            {
                "variant": result.variant,
                "seed": result.run.seed,
                "status": result.status,
                "error": result.error,
                "folder": result.run.address,
                "measures": {measure.name: result.values.get(measure.name) for measure in ablation.columns.all},
            }
            for result in results
        ],
    }


def _measure_json(ablation: Ablation, results: Sequence[Result], variant: str, measure: Measure) -> dict[str, Any]:
    spread = spread_of(list(values_by_seed(results, variant, measure).values()))
    against_first = None if variant == ablation.first else _difference(ablation, results, variant, measure)
    difference = None if against_first is None else {**against_first.spread._asdict(), "num_better": against_first.num_better}
    return {**({} if spread is None else spread._asdict()), "difference": difference}


def _difference(ablation: Ablation, results: Sequence[Result], variant: str, measure: Measure) -> Difference | None:
    first, other = (values_by_seed(results, name, measure) for name in (ablation.first, variant))
    return difference_of(first, other, is_higher_better=measure.is_higher_better)


def _spread_table(ablation: Ablation, results: Sequence[Result], measures: Sequence[Measure], *, with_count: bool) -> str:
    rows = []
    for name in ablation.variants:
        spreads = [spread_of(list(values_by_seed(results, name, measure).values())) for measure in measures]
        cells = [_spread_text(spread, measure) for spread, measure in zip(spreads, measures, strict=True)]
        num_trained = sum(result.variant == name and result.record is not None for result in results)
        rows.append([name, *cells, *([f"{num_trained} of {len(ablation.seeds)}"] if with_count else [])])
    return _markdown(["variant", *(measure.head for measure in measures), *(["trained"] if with_count else [])], rows)


def _difference_table(ablation: Ablation, results: Sequence[Result], measures: Sequence[Measure]) -> str:
    rows = []
    for name in list(ablation.variants)[1:]:
        cells = []
        for measure in measures:
            difference = _difference(ablation, results, name, measure)
            count = "" if difference is None else f" ({difference.num_better} of {difference.spread.num_seeds})"
            cells.append(_spread_text(None if difference is None else difference.spread, measure, sign="+") + count)
        rows.append([name, *cells])
    return _markdown(["variant", *(measure.head for measure in measures)], rows)


def _spread_text(spread: Spread | None, measure: Measure, *, sign: str = "") -> str:
    if spread is None:
        return NOTHING
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.{measure.decimals}f}"
    return f"{spread.mean:{sign}.{measure.decimals}f}{deviation}"


def _changes_table(ablation: Ablation) -> str:
    rows = [
        [name, ", ".join(f"{key}: {value}" for key, value in changes.items()) or "nothing"]
        for name, changes in ablation.variants.items()
    ]
    return _markdown(["variant", "keys of train:"], rows, num_texts=2)


def _trainings_table(results: Sequence[Result]) -> str:
    rows = []
    for result in results:
        name, run, record = result.variant, result.run, result.record or {}
        frames = f"{record['train_frames']} / {record['val_frames']}" if result.record else NOTHING
        rows.append([name, str(run.seed), result.status, f"`{run.address}`", str(record.get("num_steps", NOTHING)), frames])
    return _markdown(["variant", "seed", "state", "training", "steps", "frames trained / measured"], rows, num_texts=4)


def _notes(ablation: Ablation, results: Sequence[Result]) -> list[str]:
    """Return what a reader must know to read the numbers rightly."""
    from model.families import family_of

    notes = [f"{name} is the same training as {other}" for name, other in ablation.same_as.items()]
    if len(ablation.seeds) == 1:
        notes.append("one seed: there is no spread, and a difference may be chance")
    missing = [result for result in results if result.record is None]
    notes += [f"{result.variant}, seed {result.run.seed}: {result.status}{_first_line(result.error)}" for result in missing]
    for measure in ablation.columns.headline:
        names = [
            f"{result.variant}, seed {result.run.seed}"
            for result in results
            if result.record is not None and measure.name not in result.values
        ]
        if names:
            notes.append(f"nothing to measure {measure.name} on: {'; '.join(names)}")
    measured = [result.record for result in results if result.record is not None]
    for key, remark in (("val_frames", "were measured on different numbers of frames"), ("commit", "are of different commits")):
        values = sorted({str(record.get(key)) for record in measured})
        if len(values) > 1:
            notes.append(f"the trainings {remark}: {', '.join(values)}")
    configs = {name: next(iter(runs.values())).config for name, runs in ablation.runs.items()}
    for key in family_of(next(iter(configs.values()))).keys_that_decide:
        value_of_variant = {name: _value_at(config, key) for name, config in configs.items()}
        if len(set(value_of_variant.values())) > 1:
            listed = ", ".join(f"{name} {value}" for name, value in value_of_variant.items())
            notes.append(f"the variants are not measured alike, {key} differs: {listed}")
    return notes


def _value_at(config: Any, key: str) -> Any:
    """Return the value of a dotted key; None if there is no such key."""
    for part in key.split("."):
        config = getattr(config, part, None)
    return config


def _first_line(error: str | None) -> str:
    return "" if error is None else f": {error.splitlines()[0]}"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], *, num_texts: int = 1) -> str:
    """Return a Markdown table whose columns stand under each other as text too; the first columns are texts, then numbers."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (heads, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(heads))]
    rule = ["-" * width if i < num_texts else "-" * (width - 1) + ":" for i, width in enumerate(widths)]

    def line(row: Sequence[str]) -> str:
        padded = (
            f"{cell:<{width}}" if i < num_texts else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    return "\n".join(map(line, (cells[0], rule, *cells[1:])))
