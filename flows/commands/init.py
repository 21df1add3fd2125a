"""``depthmill init``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import AsJson
from storage_schemas.errors import RecipeError

if TYPE_CHECKING:
    from model.monoddle.public_configuration.account import Told


def init(
    data_root: Annotated[
        str | None,
        typer.Argument(
            help="folder or URL (s3://...) of a nuScenes-format data set, of ZJU-4DRadarCam or of KITTI object; with "
            "--from-monoddle it may be left out",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="recipe file to write; must not exist")] = Path("recipe.yaml"),
    store: Annotated[str | None, typer.Option(help="path or URL of the store; default: store/ beside the recipe")] = None,
    version: Annotated[
        str | None, typer.Option(help="of a nuScenes-format root with several, e.g. v1.0-mini; default: the largest")
    ] = None,
    from_monoddle: Annotated[
        Path | None,
        typer.Option(help="YAML file of MonoDLE or MonoDDLE: the recipe trains what it trains, and every key is accounted for"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at your data and write a recipe for it.

    Every key of the recipe is explained by what was found.
    """
    from flows.new_recipe.init import write_recipe
    from flows.new_recipe.schema import SCHEMA_FILE

    if from_monoddle is not None:
        _init_from_monoddle(from_monoddle, data_root, out=out, store=store, version=version, as_json=as_json)
        return
    if data_root is None:
        raise RecipeError("no data root is named. Name the folder or URL of your data: depthmill init DATA_ROOT")
    written = write_recipe(data_root, out=out, store=store, version=version)
    warnings = "".join(f"warning: {line}\n" for line in written.warnings)
    wrote = f"wrote {written.recipe}, and {SCHEMA_FILE} beside it for editors"
    text = f"{written.summary}\n{warnings}{wrote}\nNext: depthmill plan {written.recipe}"
    answer = {"recipe": str(written.recipe), "found": written.summary, "warnings": list(written.warnings)}
    say(answer, text, as_json=as_json)


def _init_from_monoddle(
    config: Path, data_root: str | None, *, out: Path, store: str | None, version: str | None, as_json: bool
) -> None:
    from flows.command_line.tables import aligned
    from flows.new_recipe.from_monoddle import write_translated
    from flows.new_recipe.schema import SCHEMA_FILE

    if version is not None:
        raise RecipeError("--version is of nuScenes-format data, and --from-monoddle of KITTI object. Leave one of them out")
    written, public = write_translated(config, data_root, out=out, store=store)
    rows = [row for one in public.told for row in _rows_of(one)]
    warnings = "".join(f"warning: {line}\n" for line in written.warnings)
    text = (
        f"{config}: {len(public.told)} keys\n{aligned(rows)}\n{written.summary}\n{warnings}"
        f"wrote {written.recipe}, and {SCHEMA_FILE} beside it for editors\nNext: depthmill plan {written.recipe}"
    )
    answer = {
        "recipe": str(written.recipe),
        "found": written.summary,
        "warnings": list(written.warnings),
        "keys": [one._asdict() for one in public.told],
    }
    say(answer, text, as_json=as_json)


def _rows_of(told: Told) -> list[tuple[str, str]]:
    """Return the lines of a key: what it is here, and below that what differs."""
    from model.monoddle.public_configuration.account import shown

    instead = {
        "taken": "",
        "elsewhere": "nothing to set",
        "not read": "the public code does not read it",
        "lost": "not taken over",
    }
    first = (f"  {told.key}: {shown(told.value)}", told.here or instead[told.fate])
    return [first, ("", f"  {told.why}")] if told.why else [first]
