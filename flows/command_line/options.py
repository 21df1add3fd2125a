"""Options and arguments that several commands share, so that the same word means the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command_line import completion
from flows.waiting import be_quiet, say_what_is_awaited
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


def _only_json(value: bool) -> bool:
    if value:
        say_what_is_awaited(None)
    return value


def _quiet(value: bool) -> None:
    if value:
        be_quiet()


AsJson = Annotated[bool, typer.Option("--json", callback=_only_json, help="print JSON instead of text")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=_quiet, expose_value=False, help="show no progress: only the answer, warnings and errors"
    ),
]
Device = Annotated[
    str | None, typer.Option(help="where networks run: auto (a GPU if there is one), cpu or cuda; default DEPTHMILL_DEVICE")
]
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

Checkpoint = Annotated[str, typer.Argument(help="folder or URL of a training, a shared network, or a checkpoint file")]
Reference = Annotated[
    bool,
    typer.Option(
        "--reference", help="the checkpoint is one of the public code: SemoDepth, MonoDLE or MonoDDLE; its keys say which"
    ),
]
MaxDepth = Annotated[
    float, typer.Option("--max-depth", help="with --reference of SemoDepth: far end of its depth space in metres, 120 or 80")
]
PlugIn = Annotated[
    bool,
    typer.Option(
        "--plug-in",
        help="with --reference of SemoDepth: refuse a checkpoint without the branch for monocular depth",
    ),
]

Metric = Annotated[
    str,
    typer.Option(
        help="metric that decides: mae_mm, rmse_mm, imae_per_km, irmse_per_km, abs_rel, sq_rel_m, delta1 ...",
        autocompletion=completion.metrics,
    ),
]
Cap = Annotated[float, typer.Option(help="50, 70 or 80 metres")]
Radar = Annotated[str, typer.Option(help="on or off")]

RuleMetric = Annotated[
    str,
    typer.Option(
        "--metric",
        help="measure that decides, e.g. rmse_mm, Car/3d@0.5/moderate or direct/abs_rel",
        show_default="retrain.metric of the recipe",
        autocompletion=completion.metrics,
    ),
]
RuleCap = Annotated[
    float,
    typer.Option("--cap", help="of depth networks: 50, 70 or 80 metres", show_default="retrain.cap_m of the recipe"),
]
RuleRadar = Annotated[
    str, typer.Option("--radar", help="of depth networks: on or off", show_default="retrain.radar of the recipe")
]
Margin = Annotated[
    float,
    typer.Option(
        min=0,
        help="improvement a training must reach to become the champion, in the metric's unit",
        show_default="retrain.margin of the recipe",
    ),
]
NeedsInterval = Annotated[
    bool,
    typer.Option(
        "--needs-interval",
        help="promote only if the 95 % interval of the difference excludes 0 as well",
        show_default="retrain.needs_interval of the recipe",
    ),
]
LeastShare = Annotated[
    float,
    typer.Option(
        "--least-share",
        min=0,
        max=1,
        help="share, at least, of what either network was measured on that both must have",
        show_default="retrain.least_share of the recipe",
    ),
]
FineTune = Annotated[
    bool,
    typer.Option(
        "--fine-tune",
        help="start from the champion's weights instead of from scratch",
        show_default="retrain.fine_tune of the recipe",
    ),
]

_RULES = {
    "metric": "metric",
    "cap": "cap_m",
    "radar": "radar",
    "margin": "margin",
    "needs_interval": "needs_interval",
    "least_share": "least_share",
    "fine_tune": "fine_tune",
}
"""Options that change a key of ``retrain:``, by their parameter."""


def given_rules(context: typer.Context) -> dict[str, Any]:
    """Return the keys of ``retrain:`` that options of the command change; what is not given stays the recipe's."""
    return {key: context.params[name] for name, key in _RULES.items() if _is_given(context, name)}


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name) if name in context.params else None
    return source is not None and source.name == "COMMANDLINE"


Frames = Annotated[
    str | None,
    typer.Option(
        help="of a detector of one camera: frames whose pictures are wanted, with commas: keys, or the source's own names, "
        "like 000123"
    ),
]
Worst = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="of a detector of one camera: so many pictures of the frames with the most missed and false objects at moderate "
        "difficulty; default: train.evaluation.num_worst",
    ),
]
SpreadPictures = Annotated[
    int | None,
    typer.Option(
        "--pictures",
        min=0,
        help="of a detector: so many pictures of frames spread evenly over the split; default: train.evaluation.num_pictures",
    ),
]

OF_DEPTH = ("target", "max_depth", "plug_in", "metric", "cap", "radar")
"""Options that say something of depth networks only."""


OF_PICTURES = {"frames": "frames", "worst": "worst", "num_pictures": "pictures"}
"""Options that choose frames for pictures, by their parameter."""


def names_of_frames(given: str | None) -> tuple[str, ...]:
    """Return the names of --frames; RecipeError if it is given and names none."""
    names = tuple(name for part in (given or "").split(",") if (name := part.strip()))
    if given is not None and not names:
        raise RecipeError(f"--frames is '{given}', expected names of frames with commas between them. Name some, or leave it out")
    return names


def refuse_options(family: Family[Any], context: typer.Context, what: str) -> None:
    """Check that no option was given that says nothing of this family's networks; RecipeError names it.

    Args:
        family: of the network or the evaluations.
        context: of the command.
        what: what the family's thing is, e.g. "checkpoint 'runs/a' is one".
    """
    for name in OF_DEPTH:
        if _is_given(context, name) and name not in family.options:
            raise RecipeError(
                f"--{name.replace('_', '-')} is of depth networks, and {family.noun} has none: {what}. Leave it out"
            )
    for name, option in OF_PICTURES.items():
        if _is_given(context, name) and option not in family.options:
            raise RecipeError(
                f"--{option} chooses frames for pictures, and family {family.name} does not take it: {what}. Leave it out"
            )


def refuse_picture_options(context: typer.Context, what: str) -> None:
    """Check that no option was given that chooses pictures where none are drawn; RecipeError names it and says ``what`` it is."""
    for name, option in OF_PICTURES.items():
        if _is_given(context, name):
            raise RecipeError(f"--{option} chooses frames for pictures, and none are drawn: {what}. Leave it out")
