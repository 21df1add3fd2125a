"""``depthmill init``: write a recipe for a data root, every key explained by what was found there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.new_recipe.recognise import recognise
from flows.new_recipe.schema import SCHEMA_FILE, check_schema_target, comment_for, write_schema
from flows.new_recipe.sizing import proposed
from flows.settings import settings_of_machine
from pipeline.chosen_scenes import choose_scenes, wrong_scenes
from pipeline.recipe import parse_recipe, wanted_files
from pipeline.sources import open_source, source_specs
from pipeline.sources.recipe_text import Line, plural, recipe_text, scalar
from pipeline.sources.spec import SourceSpec, Survey
from storage_schemas.awaited import awaited
from storage_schemas.errors import RecipeError
from storage_schemas.remote_path import DataPath, data_path


@dataclass(frozen=True)
class Written:
    """A recipe that was written.

    Attributes:
        recipe: its file.
        summary: what was found, in one line.
        warnings: what is missing and what was put right, a line each.
    """

    recipe: Path
    summary: str
    warnings: tuple[str, ...] = ()


class NewRecipe:
    """What ``init`` makes of a survey; a base whose methods another beginning of a recipe may replace.

    Attributes:
        kinds: kinds of source that it is for; empty = all.
    """

    kinds: tuple[str, ...] = ()

    def head(self) -> list[str]:
        """Return further lines of the opening comment."""
        return []

    def lines(self, survey: Sequence[Line], root: DataPath) -> list[Line]:
        """Return the recipe's lines.

        Args:
            survey: the lines that the survey gives.
            root: of the data.
        """
        return list(survey)

    def warnings(self, root: DataPath) -> list[str]:
        """Return what should be known beside what a plan says of the scenes."""
        return []

    def fitted(self, lines: list[Line], image_px: tuple[int, int] | None) -> list[Line]:
        """Return the lines with a training that fits this machine; ``image_px``: rows and columns, None if not known."""
        train = yaml.safe_load(recipe_text([], lines)).get("train") or {}
        with awaited("torch is loaded, for a training that fits this machine"):
            return proposed(lines, train, image_px)


def write_recipe(root: str | Path, *, out: Path, store: str | None, version: str | None, new: NewRecipe | None = None) -> Written:
    """Look at a data root and write a recipe for it, and beside it the schema by which an editor checks it.

    Args:
        root: folder of the data set, or its URL.
        out: file to write; must not exist.
        store: path or URL of the store; None = ``store`` beside the recipe.
        version: of a nuScenes-format root with several; None = the preferred one.
        new: what the recipe is made of beside the survey; None = the training that is published for the data.

    Raises:
        RecipeError: ``out`` exists or cannot be written, another file has the schema's name, or there is no such version.
        SourceError: the folder is no known data set, its tables are broken, or a run would refuse its scenes.
    """
    new = new or NewRecipe()
    _check_target(out)
    check_schema_target(out.parent / SCHEMA_FILE)
    folder = data_path(str(root), settings_of_machine().cache_dir)
    spec, where = recognise(folder), store or str(out.absolute().parent / "store")
    if new.kinds and spec.kind not in new.kinds:
        raise RecipeError(f"'{root}' is {spec.kind}, expected data of kind {' or '.join(new.kinds)}. Name another data root")
    head = (
        f"Written by depthmill init from what the data root holds ({spec.kind}). All keys, with unit and default: docs/recipe.md"
    )
    with awaited(f"tables and files of {root} are looked at"):
        survey = _look(spec, folder, version)
    lines, warnings = _usable(new.lines(survey.lines(where, _about_store(where)), folder), where=str(out))
    width_height = getattr(survey, "image_size", None)  # of sources whose images have one size
    lines = new.fitted(lines, None if width_height is None else (width_height[1], width_height[0]))
    _write(out, recipe_text([comment_for(SCHEMA_FILE), head, *new.head(), *(f"Note: {line}" for line in warnings), ""], lines))
    write_schema(out.parent / SCHEMA_FILE)
    return Written(out, survey.summary, (*warnings, *new.warnings(folder)))


def _usable(lines: list[Line], *, where: str) -> tuple[list[Line], tuple[str, ...]]:
    """Return the keys of a recipe that a plan accepts, and what the plan would say of its scenes.

    Scenes that cannot be right are left out by name, if there are others.

    Raises:
        DepthmillError: what a plan would refuse the recipe for.
    """
    recipe = parse_recipe(yaml.safe_load(recipe_text([], lines)), where=where)
    source = open_source(recipe.source, settings_of_machine().cache_dir, wanted_files(recipe))
    scenes = [scene for scene in source.scenes() if recipe.scenes is None or scene.name in recipe.scenes]
    wrong = wrong_scenes(recipe, scenes)
    sound = [scene.name for scene in scenes if scene.name not in wrong]
    if wrong and sound:
        first, what = next(iter(wrong.items()))
        why = f"{plural(len(wrong), 'scene')} left out that cannot be right, e.g. {first}: {what}"
        at = next(number for number, (key, _) in enumerate(lines) if key.startswith("cameras:"))
        others = [line for line in lines if not line[0].startswith("scenes:")]
        return _usable([*others[: at + 1], (f"scenes: {scalar(sound)}", why), *others[at + 1 :]], where=where)
    return lines, tuple(choose_scenes(recipe, source.scenes()).lines())


def _look(spec: SourceSpec[Any], root: DataPath, version: str | None) -> Survey:
    if version is not None and not spec.versions_of:
        having = " or ".join(other.versions_of for other in source_specs().values() if other.versions_of)
        raise RecipeError(f"--version is of {having}, '{root}' is {spec.kind}. Leave it out")
    assert spec.survey is not None  # every kind that recognises folders has a survey
    return spec.survey(root, version)


def _about_store(store: str) -> str:
    if "://" in store:
        return "path or fsspec URL"
    return "path or fsspec URL; is there already" if Path(store).exists() else "path or fsspec URL; made by depthmill run"


def _check_target(out: Path) -> None:
    if out.suffix not in (".yaml", ".yml"):
        raise RecipeError(f"cannot write recipe '{out}': its name must end in .yaml. Choose another --out")
    if out.exists():
        raise RecipeError(f"recipe '{out}' is there already and is not overwritten. Choose another --out, or move it away")
    if not out.absolute().parent.is_dir():
        raise RecipeError(
            f"cannot write recipe '{out}': folder '{out.absolute().parent}' does not exist. "
            "Create it (mkdir -p) or choose another --out"
        )


def _write(out: Path, text: str) -> None:
    try:
        with open(out, "x", encoding="utf-8") as stream:
            stream.write(text)
    except UnicodeEncodeError as error:
        out.unlink(missing_ok=True)
        raise RecipeError(
            f"cannot write recipe '{out}': a path in it is not UTF-8 ({error.object[error.start : error.end]!a}). "
            "Rename the folder, or make a link to it"
        ) from error
    except OSError as error:
        raise RecipeError(f"cannot write recipe '{out}': {error.strerror}. Choose another --out") from error
