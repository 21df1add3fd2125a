"""Options and arguments that several commands share, so that the same word means the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command_line import completion
from storage_schemas.errors import RecipeError

if TYPE_CHECKING:
    from model.train.family import Family

RecipeFile = Annotated[Path, typer.Argument(help="recipe YAML file", autocompletion=completion.recipes)]
StoreOrRecipe = Annotated[
    str, typer.Argument(help="store path or URL, or a recipe file", autocompletion=completion.recipes_and_stores)
]
UnitChoice = Annotated[
    str | None,
    typer.Argument(
        help="unit key, frame key <scene>/<camera>/<timestamp_us>, or manifest fingerprint", autocompletion=completion.units
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="change a recipe key: stages.clean_horizon.near_m=25 (repeatable)",
        autocompletion=completion.recipe_keys,
    ),
]
ManifestChoice = Annotated[
    str | None,
    typer.Option(help="manifest fingerprint; default: the recipe's, or a store's newest", autocompletion=completion.manifests),
]
SplitChoice = Annotated[str, typer.Option(help="train, val or test", autocompletion=completion.splits)]
Workers = Annotated[int | None, typer.Option(help="worker processes, about 1 GB each; default DEPTHMILL_WORKERS or one per core")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
WithPrefect = Annotated[
    bool,
    typer.Option(
        "--prefect",
        help="run as flows of Prefect; the default where a Prefect API is configured (PREFECT_API_URL or a Prefect profile)",
    ),
]
NoPrefect = Annotated[
    bool,
    typer.Option(
        "--no-prefect",
        help="run as a bare loop; the default where no Prefect API is configured. Results are identical",
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(
        help="make units on a Dask cluster: local:4, local:4:2GiB (memory each), tcp://scheduler:8786 or slurm:<profile>; "
        "default DEPTHMILL_DASK, or worker processes of this machine; results are identical"
    ),
]

Log = Annotated[
    str | None,
    typer.Option(
        help="json: print each finished unit as a line of JSON on standard error too, as in events.jsonl; default DEPTHMILL_LOG "
        "or text"
    ),
]

Checkpoint = Annotated[str, typer.Argument(help="folder or URL of a training, or a checkpoint file")]
Reference = Annotated[
    bool,
    typer.Option(
        "--reference", help="the checkpoint is one of the public code: SemoDepth, MonoDLE or MonoDDLE; its keys say which"
    ),
]
MaxDepth = Annotated[
    float, typer.Option("--max-depth", help="with --reference of SemoDepth: far end of its depth space in metres, 120 or 80")
]
PlugIn = Annotated[bool, typer.Option("--plug-in", help="with --reference of SemoDepth: it has the branch for monocular depth")]

Metric = Annotated[
    str,
    typer.Option(
        help="metric that decides: mae_mm, rmse_mm, imae_per_km, irmse_per_km, abs_rel, sq_rel_m, delta1 ...",
        autocompletion=completion.metrics,
    ),
]
Cap = Annotated[float, typer.Option(help="50, 70 or 80 metres")]
Radar = Annotated[str, typer.Option(help="on or off")]

OwnMetric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="measure that decides, e.g. rmse_mm, Car/3d@0.5/moderate or direct/abs_rel; default: retrain.metric of the recipe",
        autocompletion=completion.metrics,
    ),
]
OwnCap = Annotated[float | None, typer.Option("--cap", help="of depth networks: 50, 70 or 80 metres; default: retrain.cap_m")]
OwnRadar = Annotated[str | None, typer.Option("--radar", help="of depth networks: on or off; default: retrain.radar")]
Margin = Annotated[
    float | None,
    typer.Option(
        min=0, help="improvement a training must reach to become the champion, in the metric's unit; default: retrain.margin"
    ),
]
NeedsInterval = Annotated[
    bool | None,
    typer.Option(
        "--needs-interval/--no-needs-interval",
        help="promote only if the 95 % interval of the difference excludes 0 as well; default: retrain.needs_interval",
        show_default=False,
    ),
]
LeastShare = Annotated[
    float | None,
    typer.Option(
        "--least-share",
        min=0,
        max=1,
        help="share, at least, of what either network was measured on that both must have; default: retrain.least_share",
    ),
]
FineTune = Annotated[
    bool | None,
    typer.Option(
        "--fine-tune/--no-fine-tune",
        help="start from the champion's weights instead of from scratch; default: retrain.fine_tune",
        show_default=False,
    ),
]

OF_DEPTH = ("target", "max_depth", "plug_in", "metric", "cap", "radar")
"""Options that say something of depth networks only."""


def refuse_options(family: Family[Any], context: typer.Context, what: str) -> None:
    """Check that no option was given that says nothing of this family's networks; RecipeError names it.

    Args:
        family: of the network or the evaluations.
        context: of the command.
        what: what the family's thing is, e.g. "checkpoint 'runs/a' is one".
    """
    for name in OF_DEPTH:
        source = context.get_parameter_source(name) if name in context.params else None
        is_given = source is not None and source.name == "COMMANDLINE"
        if is_given and name not in family.options:
            raise RecipeError(
                f"--{name.replace('_', '-')} is of depth networks, and {family.noun} has none: {what}. Leave it out"
            )
