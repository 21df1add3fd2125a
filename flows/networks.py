"""A checkpoint, or two evaluations, on the command line: which family they are of, and which options that family takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.training import refuse_without_torch
from storage_schemas.errors import DepthmillError, RecipeError

if TYPE_CHECKING:
    from model.train.family import Family
    from model.train.family_types import OpenedNetwork

RECIPE_ENDINGS = (".yaml", ".yml")


class Opened(NamedTuple):
    """A network of any family, and its family."""

    family: Family[Any]
    network: OpenedNetwork[Any]


def open_network(checkpoint: Path, data: str, *, reference: bool, max_depth_m: float, plug_in: bool) -> Opened:
    """Load a network of any family and name it.

    Args:
        checkpoint: a training's folder (its best.pt is taken) or a file.
        data: what it will be used on; a checkpoint of the public code does not say which rows it sees, a recipe file does.
        reference: the file is one of the public code; its keys say of which.
        max_depth_m: with ``reference`` of a depth network: far end of its depth space.
        plug_in: with ``reference`` of a depth network: it has the branch for monocular depth.

    Raises:
        WeightsFileError: no such file.
        CheckpointError: it does not fit.
        RecipeError: with ``reference``: the recipe has a mistake, or the file is of depthmill and says itself what it is.
    """
    refuse_without_torch()
    from model.blocks.weights_file import load_state_file
    from model.families import FAMILIES, family_of, load_checkpoint, network_of
    from model.train.family_types import OpenedNetwork, ReferenceOptions

    path = checkpoint / "best.pt" if checkpoint.is_dir() else checkpoint
    name = checkpoint.name if checkpoint.is_dir() else path.stem
    if not reference:
        opened = load_checkpoint(path)
        return Opened(family_of(opened.config), OpenedNetwork(network_of(opened), name, opened.config))
    weights = load_state_file(path)
    if "format" in weights and "config" in weights:
        raise RecipeError(
            f"checkpoint '{path}' is of depthmill and says itself what it is; --reference is for those of the public code. "
            "Leave it out"
        )
    family = next((one for one in FAMILIES if one.is_reference(weights)), FAMILIES.default)
    options = ReferenceOptions(_train_group(data), data, max_depth_m, plug_in)
    return Opened(family, family.open_reference(path, name, options))


def family_of_evaluations(a: Path, b: Path) -> Family[Any]:
    """Return the family that two folders hold evaluations of; a folder that holds none is taken for one of the other's.

    Raises:
        DepthmillError: they are of different families.
    """
    refuse_without_torch()
    from model.families import FAMILIES

    of_a, of_b = (
        next((one for one in FAMILIES if (evaluation_of(folder) / one.evaluation_file).is_file()), None) for folder in (a, b)
    )
    if of_a is not None and of_b is not None and of_a is not of_b:
        raise DepthmillError(
            f"'{a}' is an evaluation of {of_a.evaluation_of} and '{b}' one of {of_b.evaluation_of}, which have no measure in "
            "common. Compare two of one kind"
        )
    return of_a or of_b or FAMILIES.default


def evaluation_of(folder: Path) -> Path:
    """Return the folder of the evaluation of a training, or the folder itself if it is one."""
    return folder / "evaluation" if (folder / "evaluation").is_dir() else folder


def refuse_options(family: Family[Any], given: Iterable[str], what: str) -> None:
    """Check that no option was given that says nothing of this family's networks; RecipeError names it.

    Args:
        family: of the network or the evaluations.
        given: names of the options that stand on the command line and say something of depth networks only.
        what: what the family's thing is, e.g. "checkpoint 'runs/a' is one".
    """
    for name in given:
        if name not in family.options:
            raise RecipeError(
                f"--{name.replace('_', '-')} is of depth networks, and {family.noun} has none: {what}. Leave it out"
            )


def _train_group(data: str) -> dict[str, Any] | None:
    """Return ``train:`` of a recipe file; None for a store or a folder."""
    if not data.endswith(RECIPE_ENDINGS):
        return None
    from pipeline.recipe import load_recipe

    return load_recipe(data).train
