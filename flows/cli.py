"""The command line. Exit codes: 0 done, 1 some units failed or are damaged, 2 bad recipe or usage, 3 ``plan --check`` found work.

Heavy modules are imported inside the verbs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from storage_schemas.errors import DepthmillError, RecipeError, SourceError

if TYPE_CHECKING:
    from flows.materialize import Opened
    from model.train.config import Machine
    from storage_schemas.manifest import Manifest
    from storage_schemas.store import Store

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From raw drives to radar-camera depth supervision, as one DAG. Start with: depthmill demo",
)

RecipeFile = Annotated[Path, typer.Argument(help="recipe YAML file")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="change a recipe key: stages.clean_horizon.near_m=25 (repeatable)")
]
Workers = Annotated[int | None, typer.Option(help="worker processes, about 1 GB each; default DEPTHMILL_WORKERS or one per core")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
NoPrefect = Annotated[bool, typer.Option("--no-prefect", help="run as a bare loop, without Prefect; results are identical")]

Dask = Annotated[
    str | None,
    typer.Option(
        help="run scenes on a Dask cluster: local:4, local:4:2GiB (memory each), tcp://scheduler:8786 or slurm:<profile>; "
        "results are identical"
    ),
]


def main() -> None:
    """Run the command line; a user's mistake becomes one line of text and an exit code."""
    try:
        app(standalone_mode=True)
    except DepthmillError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, RecipeError | SourceError) else 1)


def _open(recipe_file: Path, overrides: list[str] | None, workers: int | None = None) -> Opened:
    from pydantic import ValidationError

    from flows.materialize import open_recipe
    from flows.settings import Settings
    from pipeline.recipe import load_recipe

    try:
        settings = Settings() if workers is None else Settings(workers=workers)
    except ValueError as error:
        first = (
            error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("settings",), "msg": str(error), "input": ""}
        )
        name = f"DEPTHMILL_{'_'.join(map(str, first['loc'])).upper()}"
        raise RecipeError(f"setting {name} (or its option) is {first['input']!r}: {first['msg']}") from error
    return open_recipe(load_recipe(recipe_file, overrides=overrides or ()), settings)


def _open_store(path: str) -> Store:
    """Open a store that must be there, given by its path, its URL or a recipe."""
    from pipeline.recipe import load_recipe
    from storage_schemas.store import Store

    store = Store(load_recipe(path).store if path.endswith((".yaml", ".yml")) else path)
    if not store.files.names(""):
        raise RecipeError(f"store '{store.root}' does not exist or is empty. Give the path or URL of a store, or a recipe file")
    return store


def _say(data: dict[str, Any], words: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(data, indent=1) if as_json else words)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1))


@app.command()
def plan(
    recipe: RecipeFile,
    overrides: Overrides = None,
    workers: Workers = None,
    as_json: AsJson = False,
    check: Annotated[bool, typer.Option("--check", help="exit with 3 if there is anything to do")] = False,
    units: Annotated[bool, typer.Option("--units", help="name every unit to do")] = False,
) -> None:
    """Say what a run would do and why; nothing is written to the store."""
    from flows.console import plan_text
    from flows.materialize import estimate_seconds

    opened = _open(recipe, overrides, workers)
    found = opened.plan()
    seconds = estimate_seconds(found, opened.runs_folder, opened.settings.workers)
    if as_json:
        _print_json(
            {
                "to_do": [
                    {
                        "stage": item.stage,
                        "scene": item.identity.scene,
                        "camera": item.identity.camera,
                        "unit": item.path.key,
                        "reason": item.reason,
                    }
                    for item in found.to_do
                ],
                "num_units": len(found.items),
                "estimated_seconds": seconds,
            }
        )
    else:
        if units:
            for item in found.to_do:
                typer.echo(f"{item.path.key}  {item.reason}")
        typer.echo(plan_text(found, seconds=seconds, workers=opened.settings.workers))
        if found.to_do and (first := opened.source.preparation()):
            typer.echo(first)
    if check and found.to_do:
        raise typer.Exit(3)


@app.command()
def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    workers: Workers = None,
    no_prefect: NoPrefect = False,
    dask: Dask = None,
    as_json: AsJson = False,
    report: Annotated[bool, typer.Option(help="write report.html beside the run's events")] = True,
) -> None:
    """Do everything that the plan lists; running again does only what is left."""
    from flows.run_verb import run_and_print

    opened = _open(recipe, overrides, workers)
    if run_and_print(opened, no_prefect=no_prefect, as_json=as_json, report=report, dask=dask):
        raise typer.Exit(1)


@app.command()
def status(recipe: RecipeFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what of a recipe is there, which manifest is the newest, and how the last run went."""
    from flows.console import duration
    from flows.run_log import last_summary
    from storage_schemas.manifest import manifest_paths

    opened = _open(recipe, overrides)
    found = opened.plan()
    manifests = [path.fingerprint for path in manifest_paths(opened.store)]
    last = last_summary(opened.runs_folder)
    if as_json:
        _print_json(
            {
                "up_to_date": len(found.items) - len(found.to_do),
                "to_do": len(found.to_do),
                "manifests": manifests,
                "last_run": last,
            }
        )
        return
    typer.echo(f"store     {opened.store.root}")
    typer.echo(f"units     {len(found.items) - len(found.to_do)} of {len(found.items)} up to date")
    wanted = found.manifest
    state = "up to date" if wanted.reason is None else f"to do: {wanted.reason}"
    typer.echo(f"manifest  {wanted.path.fingerprint} ({state}); {len(manifests)} in the store")
    if last:
        typer.echo(
            f"last run  {last['num_ok']} ok, {last['num_errors']} errors, {last['num_skipped']} skipped "
            f"in {duration(last['seconds'])}: {last['folder']}"
        )


@app.command()
def inspect(
    store: Annotated[str, typer.Argument(help="store path or URL, or a recipe file")],
    what: Annotated[
        str | None, typer.Argument(help="unit key, frame key <scene>/<camera>/<timestamp_us>, or manifest fingerprint")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in a store: its units, one unit with its lineage, or one sample."""
    from pipeline.inspect import describe

    found = describe(_open_store(store), what)
    typer.echo(json.dumps(found.data, indent=1) if as_json else found.text)


@app.command()
def verify(
    recipe: RecipeFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="every unit of the store, not only those of the recipe")] = False,
    delete_damaged: Annotated[
        bool, typer.Option("--delete-damaged", help="delete units whose bytes are wrong; depthmill run makes them again")
    ] = False,
) -> None:
    """Read every unit again and compare it with what was written: digests, layouts, fingerprints."""
    from pipeline.verify import all_units, delete_units, verify_units

    opened = _open(recipe, overrides)
    found = opened.plan()
    paths = all_units(opened.store) if everything else [item.path for item in found.items if item.reason is None]
    verdict = verify_units(opened.store, paths)
    if delete_damaged:
        delete_units(opened.store, verdict.damaged)
    if as_json:
        _print_json(
            {
                "num_units": verdict.num_units,
                "num_bytes": verdict.num_bytes,
                "missing": len(found.to_do),
                "faults": list(verdict.faults),
                "damaged": [path.key for path in verdict.damaged],
                "deleted": delete_damaged,
            }
        )
    else:
        from flows.store_text import verdict_text

        typer.echo(verdict_text(verdict, is_deleted=delete_damaged, of_recipe={item.path for item in found.items}))
        if found.to_do:
            typer.echo(f"{len(found.to_do)} units of the recipe are not there yet: depthmill plan says which")
    if verdict.faults:
        raise typer.Exit(1)


@app.command()
def report(
    recipe: RecipeFile,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", help="file to write")] = Path("report.html"),
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page: coverage, images with depth before and after each stage, errors against truth."""
    from pipeline.report import write_report

    opened = _open(recipe, overrides)
    page = write_report(opened.plan(), opened.store, out, title=recipe.stem)
    _say({"report": str(page)}, f"wrote {page}", as_json=as_json)


ManifestChoice = Annotated[str | None, typer.Option(help="manifest fingerprint; default: the recipe's, or a store's newest")]


@app.command()
def train(
    recipe: RecipeFile,
    overrides: Overrides = None,
    manifest: ManifestChoice = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder of the training; default <store>/runs/trainings/<name>")
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart/--resume", help="throw away what a former run left; by default a training goes on where it stopped"
        ),
    ] = False,
    workers: Workers = None,
    no_prefect: NoPrefect = False,
    as_json: AsJson = False,
) -> None:
    """Make what is missing, train on the manifest, evaluate, write the report; the same command goes on after a stop."""
    from flows.train_verb import train_and_print

    opened = _open(recipe, overrides, workers)
    if train_and_print(
        opened, where=str(recipe), manifest=manifest, out=out, restart=restart, no_prefect=no_prefect, as_json=as_json
    ):
        raise typer.Exit(1)


Checkpoint = Annotated[Path, typer.Argument(help="folder of a training, or a checkpoint file")]
Reference = Annotated[bool, typer.Option("--reference", help="the checkpoint is one of the public SemoDepth code")]
MaxDepth = Annotated[float, typer.Option("--max-depth", help="with --reference: far end of its depth space in metres, 120 or 80")]
PlugIn = Annotated[bool, typer.Option("--plug-in", help="with --reference: it has the branch for monocular depth")]


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    recipe: Annotated[str, typer.Argument(help="recipe file, or the path or URL of a store")],
    manifest: ManifestChoice = None,
    split: Annotated[str, typer.Option(help="train, val or test")] = "val",
    target: Annotated[str, typer.Option(help="store of the truth, e.g. depth_single, depth_truth")] = "depth_single",
    out: Annotated[
        Path | None, typer.Option("--out", help="folder for tables and pictures; default: beside the checkpoint")
    ] = None,
    reference: Reference = False,
    max_depth: MaxDepth = 120.0,
    plug_in: PlugIn = False,
    as_json: AsJson = False,
) -> None:
    """Measure a network on a split: the published metrics at 50, 70 and 80 m, by day and night, with and without radar."""
    from flows.evaluate_verb import evaluate_and_print, open_network

    network, name = open_network(checkpoint, reference=reference, max_depth_m=max_depth, plug_in=plug_in)
    pinned, machine = _pinned(recipe, manifest)
    evaluate_and_print(network, name, pinned, machine, split=split, target=target, out=out, as_json=as_json)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="a training, or a folder that evaluate wrote")],
    b: Annotated[Path, typer.Argument(help="another one")],
    metric: Annotated[
        str, typer.Option(help="mae_mm, rmse_mm, imae_per_km, irmse_per_km, abs_rel, sq_rel_m, delta1 ...")
    ] = "mae_mm",
    cap: Annotated[float, typer.Option(help="50, 70 or 80 metres")] = 80.0,
    radar: Annotated[str, typer.Option(help="on or off")] = "on",
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations frame by frame, with a bootstrap interval of the difference."""
    from flows.evaluate_verb import compare_and_print

    compare_and_print(a, b, metric=metric, cap_m=cap, radar=radar, as_json=as_json)


@app.command()
def predict(
    checkpoint: Checkpoint,
    what: Annotated[str, typer.Argument(help="folder with image/ and radar/ (or radar_png/), a recipe file, or a store")],
    out: Annotated[Path, typer.Option("--out", help="folder to write; must not exist or be empty")],
    manifest: ManifestChoice = None,
    split: Annotated[str, typer.Option(help="of a manifest: train, val or test")] = "val",
    pictures: Annotated[bool, typer.Option(help="write pictures beside the depth maps")] = True,
    reference: Reference = False,
    max_depth: MaxDepth = 120.0,
    plug_in: PlugIn = False,
    as_json: AsJson = False,
) -> None:
    """Predict depth: 16-bit PNGs of 1/256 m, and pictures."""
    from flows.evaluate_verb import open_network
    from flows.predict_files import predict_files, predict_manifest
    from flows.settings import Settings
    from flows.training import machine_of_settings

    network, _ = open_network(checkpoint, reference=reference, max_depth_m=max_depth, plug_in=plug_in)
    if (Path(what) / "image").is_dir():
        count = predict_files(
            network, Path(what), out, pictures=pictures, machine=machine_of_settings(Settings(), image_root=None)
        )
    else:
        pinned, machine = _pinned(what, manifest)
        count = predict_manifest(network, pinned, out, split=split, pictures=pictures, machine=machine)
    _say({"folder": str(out), "frames": count}, f"wrote {count} depth maps to {out}", as_json=as_json)


def _pinned(recipe: str, manifest: str | None) -> tuple[Manifest, Machine]:
    """Open a manifest of a recipe or store, and say where networks run."""
    from flows.settings import Settings
    from flows.training import machine_of, machine_of_settings
    from storage_schemas.manifest import open_manifest

    if recipe.endswith((".yaml", ".yml")):
        opened = _open(Path(recipe), None)
        return open_manifest(opened.store, manifest or _own_manifest(opened)), machine_of(opened)
    return open_manifest(_open_store(recipe), manifest), machine_of_settings(Settings(), image_root=None)


@app.command()
def export(
    recipe: Annotated[str, typer.Argument(help="recipe file, or the path or URL of a store")],
    out: Annotated[Path, typer.Option("--out", help="folder to write; must not exist or be empty")],
    layout: Annotated[str, typer.Option(help="semodepth: text manifests, 16-bit PNG depth, .npy radar")] = "semodepth",
    overrides: Overrides = None,
    manifest: ManifestChoice = None,
    as_json: AsJson = False,
) -> None:
    """Write a manifest in the layout that the public training scripts read."""
    from pipeline.exporters.semodepth import export_semodepth
    from storage_schemas.manifest import open_manifest

    _check_layout(layout)
    if recipe.endswith((".yaml", ".yml")):
        opened = _open(Path(recipe), overrides)
        chosen = open_manifest(opened.store, manifest or _own_manifest(opened))
        counts = export_semodepth(chosen, opened.source.reader(), out)
    else:
        counts = export_semodepth(open_manifest(_open_store(recipe), manifest), None, out)
    words = f"wrote {out}: " + ", ".join(f"{count} {split} samples" for split, count in counts.items())
    _say({"folder": str(out), "samples": counts}, words, as_json=as_json)


@app.command(name="import")
def import_(
    folder: Annotated[Path, typer.Argument(help="folder in the public layout")],
    store: Annotated[str, typer.Option(help="store to fill")],
    layout: Annotated[str, typer.Option(help="semodepth")] = "semodepth",
    as_json: AsJson = False,
) -> None:
    """Read a folder in the public layout into a store; the inverse of export."""
    from pipeline.exporters.semodepth import import_semodepth
    from storage_schemas.store import Store

    _check_layout(layout)
    manifest = import_semodepth(folder, Store(store))
    words = f"imported {len(manifest)} samples as manifest {manifest.path.fingerprint} into {store}"
    _say({"store": store, "manifest": manifest.path.fingerprint, "samples": len(manifest)}, words, as_json=as_json)


def _own_manifest(opened: Opened) -> str:
    wanted = opened.plan().manifest
    if wanted.reason is not None:
        raise RecipeError(
            f"the manifest of this recipe is not there yet ({wanted.reason}). Run depthmill run first, or choose --manifest"
        )
    return wanted.path.fingerprint


def _check_layout(layout: str) -> None:
    if layout != "semodepth":
        raise RecipeError(f"layout '{layout}' is unknown; expected: semodepth")


@app.command()
def prune(
    store: Annotated[str, typer.Argument(help="store path or URL, or a recipe file")],
    delete: Annotated[bool, typer.Option("--delete", help="delete them; without it they are only listed")] = False,
    older_than: Annotated[str, typer.Option(help="keep units younger than this: 90m, 24h, 7d, or 0")] = "24h",
    as_json: AsJson = False,
) -> None:
    """List, or delete, the units that neither a manifest nor a run that is going on names."""
    from storage_schemas.prune import delete_prunable, find_prunable, parse_age

    age, opened = parse_age(older_than), _open_store(store)
    if delete:
        found = delete_prunable(opened, older_than=age, on_unit=None if as_json else lambda path: typer.echo(path.key))
    else:
        found = find_prunable(opened, older_than=age)
    if as_json:
        kept = {"young": found.young, "held": tuple(found.held), "unreadable": found.unreadable}
        _print_json(
            {
                "units": [path.key for path in found.units],
                "deleted": delete,
                "kept": {why: [path.key for path in paths] for why, paths in kept.items()},
            }
        )
        return
    from flows.store_text import prune_text

    typer.echo(prune_text(found, is_deleted=delete, older_than=older_than))


@app.command()
def doctor(
    store: Annotated[str | None, typer.Argument(help="store path or URL, or a recipe file, to try writing to")] = None,
    dask: Annotated[str | None, typer.Option(help="address of a Dask scheduler to try, e.g. tcp://head:8786")] = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine: versions, disk, store, Prefect, Dask, devices, and which engine of the scan is used and why."""
    from flows.doctor import diagnose
    from pipeline.recipe import load_recipe

    if store is not None and store.endswith((".yaml", ".yml")):
        store = load_recipe(store).store
    findings = diagnose(store, dask=dask)
    if as_json:
        _print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.is_ok else 'FAIL'}  {finding.about:<22} {finding.says}")
    if not all(finding.is_ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="folder for the demo")] = Path("demo"),
    workers: Workers = None,
    no_prefect: NoPrefect = False,
) -> None:
    """Simulate a small world, run every stage on it, train a small network on it and measure it: two or three minutes."""
    from flows.demo import prepare_demo
    from flows.run_verb import run_and_print
    from flows.train_verb import train_and_print
    from flows.training import missing_for_training

    recipe = prepare_demo(out)
    typer.echo(f"recipe {recipe}")
    opened = _open(recipe, None, workers)
    if run_and_print(opened, no_prefect=no_prefect, as_json=False, report=True):
        raise typer.Exit(1)
    if missing := missing_for_training():
        typer.echo(f"no training: {', '.join(missing)} is not installed. Run: pip install 'depthmill[train]'")
    else:
        train_and_print(opened, where=str(recipe), manifest=None, out=None, restart=False, no_prefect=no_prefect, as_json=False)
    typer.echo(f"Try: depthmill plan {recipe} --set stages.clean_horizon.near_m=25")


Margin = Annotated[
    float, typer.Option(min=0, help="improvement a training must reach to become the champion, in the metric's unit")
]
Metric = Annotated[str, typer.Option(help="metric that decides: mae_mm, rmse_mm, imae_per_km, abs_rel, delta1 ...")]
Cap = Annotated[float, typer.Option(help="50, 70 or 80 metres")]
Radar = Annotated[str, typer.Option(help="on or off")]
NeedsInterval = Annotated[
    bool, typer.Option("--needs-interval", help="promote only if the 95 % interval of the difference excludes 0 as well")
]
FineTune = Annotated[bool, typer.Option("--fine-tune", help="start from the champion's weights instead of from scratch")]


@app.command()
def retrain(
    recipe: RecipeFile,
    overrides: Overrides = None,
    margin: Margin = 0.0,
    metric: Metric = "mae_mm",
    cap: Cap = 80.0,
    radar: Radar = "on",
    needs_interval: NeedsInterval = False,
    fine_tune: FineTune = False,
    workers: Workers = None,
    no_prefect: NoPrefect = False,
    as_json: AsJson = False,
) -> None:
    """If there are new drives or rules: make, pin, train, meet the champion, promote if better. What a schedule does, once."""
    from flows.champion import Rules
    from flows.retrain_verb import retrain_and_print

    retrain_and_print(
        _open(recipe, overrides, workers),
        where=str(recipe.absolute()),
        rules=Rules(margin, metric, cap, radar, needs_interval),
        fine_tune=fine_tune,
        no_prefect=no_prefect,
        as_json=as_json,
    )


@app.command()
def runs(
    store: Annotated[str, typer.Argument(help="store path or URL, or a recipe file")],
    last: Annotated[int, typer.Option(min=1, help="so many of the newest")] = 20,
    as_json: AsJson = False,
) -> None:
    """Print the rounds of retrain, by hand or by schedule: when, why, what came of it; and the champion."""
    from flows.retrain_verb import print_runs
    from flows.settings import Settings

    print_runs(Settings().runs_folder(_open_store(store).root), last=last, as_json=as_json)


@app.command()
def deploy(
    recipe: RecipeFile,
    overrides: Overrides = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="serve from this process until it is stopped; needs no work pool")
    ] = False,
    pool: Annotated[str, typer.Option(help="work pool to register with; made if it is not there")] = "depthmill",
    cron: Annotated[str | None, typer.Option(help="when retrain_and_evaluate looks for work, e.g. '0 3 * * *'")] = None,
    interval: Annotated[float | None, typer.Option(help="or every so many seconds")] = None,
    timezone: Annotated[str, typer.Option(help="of --cron, e.g. Europe/Berlin")] = "UTC",
    name: Annotated[str | None, typer.Option(help="of the deployments; default: the recipe file's")] = None,
    port: Annotated[int, typer.Option(help="with --serve and no PREFECT_API_URL: of the server started beside it")] = 4200,
    margin: Margin = 0.0,
    metric: Metric = "mae_mm",
    cap: Cap = 80.0,
    radar: Radar = "on",
    needs_interval: NeedsInterval = False,
    fine_tune: FineTune = False,
) -> None:
    """Make materialize, reclean, train_and_evaluate and retrain_and_evaluate Prefect deployments, the last on a schedule."""
    import os

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")  # of the flows that it starts: their words belong into Prefect's pages
    from flows.deploy import deployments, register, schedule_of, serve_here

    _open(recipe, overrides)
    parameters = {
        "overrides": overrides or [],
        "margin": margin,
        "metric": metric,
        "cap_m": int(cap) if cap.is_integer() else cap,
        "radar": radar,
        "needs_interval": needs_interval,
        "fine_tune": fine_tune,
    }
    schedule = schedule_of(cron=cron, interval_s=interval, timezone=timezone)
    found = deployments(recipe, name=name or recipe.stem, schedule=schedule, parameters=parameters)
    if serve:
        serve_here(found, port=port, say=typer.echo)
        return
    register(found, pool=pool)
    for one in found:
        typer.echo(f"registered {one.flow_name}/{one.name}")
    typer.echo(f"Next, where the flows shall run: prefect worker start --pool {pool}")
