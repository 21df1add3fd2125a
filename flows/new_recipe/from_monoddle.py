"""``depthmill init --from-monoddle``: a recipe from a YAML file of MonoDLE or MonoDDLE, with an account of every key of the file.

Reads  the file; the data root that it names, as ``init`` looks at it
Writes the recipe and its schema
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from flows.new_recipe.init import NewRecipe, Written, write_recipe
from model.monoddle.public_configuration.account import PublicTraining, Told, TrainKey, shown
from model.monoddle.public_configuration.translation import translate_public_config
from pipeline.sources.kitti_object.spec import SPEC
from pipeline.sources.recipe_text import Line, recipe_text, scalar
from storage_schemas.awaited import awaited
from storage_schemas.errors import RecipeError
from storage_schemas.regular_files import MAX_RECIPE_BYTES, read_text
from storage_schemas.remote_path import DataPath, RemotePath
from storage_schemas.yaml_text import YamlTextError, parse_yaml

PUBLIC_ROOT = "../../data/KITTI"
"""Where the public code looks for the data where its file names no root, seen from the folder that it is called in."""

MAPS = "DA3_depth_results"
SPLITS = ("train", "val")
"""Lists that the public code reads, whatever others there are."""

DLA34_WEIGHTS = "dla34-ba72cf86.pth"


def write_translated(config: Path, root: str | None, *, out: Path, store: str | None) -> tuple[Written, PublicTraining]:
    """Write the recipe of a public configuration.

    Args:
        config: its YAML file.
        root: folder or URL of the data; None = the one that the file names.
        out: file to write; must not exist.
        store: path or URL of the store; None = ``store`` beside the recipe.

    Raises:
        RecipeError: the file is no such configuration, its data root is nowhere, or the recipe cannot be written.
        SourceError: the data root is no KITTI object set.
    """
    public = translate_public_config(_content(config), where=str(config))
    where = root if root is not None else str(_root_of(config, public.root))
    return write_recipe(where, out=out, store=store, version=None, new=_Translated(config, public)), public


class _Translated(NewRecipe):
    """The lines of a recipe whose source is what ``init`` finds, and whose training is that of a public file."""

    kinds = (SPEC.kind,)

    def __init__(self, config: Path, public: PublicTraining) -> None:
        self._config, self._public = config, public
        self._weights = _imagenet_weights(public.starts_from)

    def head(self) -> list[str]:
        """Return what the opening comment says of the file that was translated."""
        lost = [f"Not taken over: {told_text(one)}" for one in self._public.of("lost")]
        return [f"The training is that of {self._config}, key by key: docs/coming-from-monoddle.md", *lost]

    def lines(self, survey: Sequence[Line], root: DataPath) -> list[Line]:
        """Return the survey's source, store and cameras, and the training of the file."""
        before = next(number for number, (key, _) in enumerate(survey) if key.startswith("stages:"))
        return [*_public_splits(survey[:before]), *self._stage_lines(root), ("", ""), *self._train_lines()]

    def fitted(self, lines: list[Line], image_px: tuple[int, int] | None) -> list[Line]:
        """Check the training, and leave it as the file says, whatever fits this machine; RecipeError if it contradicts itself."""
        with awaited("torch is loaded, to check the training"):
            from model.families import parse_train_config

            try:
                parse_train_config(yaml.safe_load(recipe_text([], lines))["train"], where=str(self._config))
            except RecipeError as error:
                keys = self._public.train.items()
                there = [f"train.{key} is {one.why} in the public file" for key, one in keys if f"train.{key} " in str(error)]
                raise RecipeError("; ".join([str(error), *there])) from error
        return lines

    def warnings(self, root: DataPath) -> list[str]:
        """Return what a training needs and is not here, and what is lost."""
        warnings = [f"not taken over: {told_text(one)}" for one in self._public.of("lost")]
        if self._public.uses_maps and (isinstance(root, RemotePath) or not (root / MAPS).is_dir()):
            what = "is at a URL, and maps are read from a disk" if isinstance(root, RemotePath) else "does not exist"
            warnings.append(
                f"'{root / MAPS}' {what}; the training learns from its depth maps. Set stages.predict_mono_depth.maps to a "
                "folder with them, or name a teacher that makes them: {teacher: depth_anything_3, weights: FOLDER}"
            )
        if self._public.starts_from and self._weights is None:
            warnings.append(
                f"the public code starts from ImageNet weights of {self._public.starts_from}, which it downloads; the recipe "
                "starts from scratch. Set train.imagenet_weights to their file to start as it does"
            )
        return warnings

    def _stage_lines(self, root: DataPath) -> Iterator[Line]:
        yield "stages:", "labels and calibration come with the data: they are read once, strictly, and stored"
        yield "  pack_images: {mode: bytes}", "or reference: the store then holds path, size and digest of an image only"
        if self._public.uses_maps:
            why = (
                "the numbers are taken for metres, as the public code does. maps_scale: focal_300 makes metres of what DA3METRIC "
                "writes, depth x 300 / focal length"
            )
            yield f"  predict_mono_depth: {{teacher: depth_maps, maps: {scalar(str(root / MAPS))}, maps_scale: as_is}}", why
            yield "  align_mono_depth: {method: as_is, sky: none}", "the metres of the maps; what is sky teaches nothing"

    def _train_lines(self) -> Iterator[Line]:
        from model.monoddle.config import MonoDdleTrainConfig

        keys = dict(self._public.train)
        if self._weights is not None:
            keys["imagenet_weights"] = TrainKey(str(self._weights), "the public code starts from them")
        order = list(MonoDdleTrainConfig.model_fields)
        top = sorted({key.split(".")[0] for key in keys}, key=order.index)
        yield "train:", "read by depthmill train only; beside each key the one of the public file that it comes from"
        yield "  family: monoddle", "model.type"
        for name in top:
            yield from _nested(name, {key: value for key, value in keys.items() if key.split(".")[0] == name}, depth=1)


def told_text(one: Told) -> str:
    """Return a key that was translated, in one sentence."""
    return f"{one.key}: {shown(one.value)}" + (f" ({one.why})" if one.why else "")


def _nested(name: str, keys: dict[str, TrainKey], *, depth: int) -> Iterator[Line]:
    """Return the lines of one key, or of a group and what is in it; keys are seen from above ``name``."""
    indent = "  " * depth
    if name in keys:
        yield f"{indent}{name}: {scalar(keys[name].value)}", keys[name].why
        return
    yield f"{indent}{name}:", ""
    inner = {key.partition(".")[2]: value for key, value in keys.items()}
    for child in dict.fromkeys(key.split(".")[0] for key in inner):
        yield from _nested(child, {key: one for key, one in inner.items() if key.split(".")[0] == child}, depth=depth + 1)


def _public_splits(lines: Sequence[Line]) -> list[Line]:
    """Return the lines of a survey with the lists that the public code reads, where there are some of them."""
    splits = yaml.safe_load(recipe_text([], lines))["source"]["splits"]
    chosen = [name for name in splits if name in SPLITS] or splits
    return [(f"  splits: {scalar(chosen)}", why) if key.startswith("  splits:") else (key, why) for key, why in lines]


def _content(config: Path) -> Any:
    try:
        return parse_yaml(read_text(config, most_bytes=MAX_RECIPE_BYTES))
    except FileNotFoundError as error:
        raise RecipeError(f"'{config}' does not exist. Give a .yaml file of MonoDLE's or MonoDDLE's experiments/") from error
    except IsADirectoryError as error:
        raise RecipeError(f"'{config}' is a folder. Give a .yaml file of MonoDLE's or MonoDDLE's experiments/") from error
    except YamlTextError as error:
        raise RecipeError(f"'{config}' {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"'{config}' cannot be read: {error}") from error


def _root_of(config: Path, said: str | None) -> Path:
    """Return the data root that a file means: a relative one is seen from here, from its folder, or from a folder above."""
    named = Path(PUBLIC_ROOT if said is None else said).expanduser()
    folder = config.absolute().parent
    places = [named] if named.is_absolute() else [Path(os.path.normpath(above / named)) for above in _places(folder)]
    if (found := next((place for place in places if place.is_dir()), None)) is not None:
        return found
    what = "names no dataset.root_dir" if said is None else f"names the data root '{said}'"
    tried = " or ".join(f"'{place}'" for place in places[:3])
    raise RecipeError(
        f"'{config}' {what}, and there is no folder {tried}. Name the folder of the data: depthmill init DATA_ROOT "
        f"--from-monoddle {config}"
    )


def _places(folder: Path) -> list[Path]:
    return list(dict.fromkeys([Path.cwd(), folder, *folder.parents]))


def _imagenet_weights(name: str) -> Path | None:
    """Return the file of DLA-34's ImageNet weights that the public code has downloaded here, None if there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    file = Path(os.environ.get("TORCH_HOME") or cache) / "hub" / "checkpoints" / DLA34_WEIGHTS
    return file.absolute() if name == "dla34" and file.is_file() else None
