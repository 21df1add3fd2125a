"""Use a trained network: measure it, predict with it, compare two evaluations; each of whatever family it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.run.opening import is_recipe, open_store, open_with_settings, own_manifest
from flows.run.training import machine_of, machine_of_settings, refuse_without_torch
from flows.settings import Settings
from pipeline.recipe import load_recipe
from storage_schemas.errors import DepthmillError, RecipeError
from storage_schemas.manifest import Manifest, open_manifest

if TYPE_CHECKING:
    from model.train.config import Machine
    from model.train.family import Family
    from model.train.family_types import Answer, OpenedNetwork


class FamilyNetwork(NamedTuple):
    """A network of any family, and its family."""

    family: Family[Any]
    network: OpenedNetwork[Any]


def open_network(checkpoint: Path, data: str, *, reference: bool, max_depth_m: float, plug_in: bool) -> FamilyNetwork:
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
        return FamilyNetwork(family_of(opened.config), OpenedNetwork(network_of(opened), name, opened.config))
    weights = load_state_file(path)
    if "format" in weights and "config" in weights:
        raise RecipeError(
            f"checkpoint '{path}' is of depthmill and says itself what it is; --reference is for those of the public code. "
            "Leave it out"
        )
    family = next((one for one in FAMILIES if one.is_reference(weights)), FAMILIES.default)
    options = ReferenceOptions(_train_group(data), data, max_depth_m, plug_in)
    return FamilyNetwork(family, family.open_reference(path, name, options))


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


def open_pinned(recipe: str, manifest: str | None) -> tuple[Manifest, Machine]:
    """Open a manifest of a recipe or store, and say where networks run.

    Raises:
        RecipeError: the recipe's own manifest is not made yet, or there is no such store.
        ManifestError: there is no such manifest.
    """
    if is_recipe(recipe):
        opened = open_with_settings(Path(recipe), None)
        return open_manifest(opened.store, manifest or own_manifest(opened)), machine_of(opened)
    return open_manifest(open_store(recipe), manifest), machine_of_settings(Settings(), image_root=None)


def evaluate_network(
    opened: FamilyNetwork, recipe: str, *, manifest: str | None, split: str, target: str, out: Path | None
) -> Answer:
    """Measure a network on a split and write the evaluation.

    Args:
        opened: the network.
        recipe: a recipe file or a store.
        manifest: fingerprint of another manifest than the recipe's own or the store's newest.
        split: train, val or test.
        target: store of the truth, of a depth network.
        out: folder of tables and pictures; None = beside the checkpoint's name, here.

    Raises:
        RecipeError: there is no such split or target.
        ManifestError: there is no such manifest, or its frames lack a store.
        StoreError: the folder cannot be written.
    """
    from flows.reports import frame_drawer

    pinned, machine = open_pinned(recipe, manifest)
    return opened.family.evaluate_checkpoint(
        opened.network,
        pinned,
        machine,
        split=split,
        target=target,
        folder=out or Path(f"evaluation-{opened.network.name}-{pinned.path.fingerprint}-{split}"),
        draw=frame_drawer(opened.family.name),
    )


def predict_frames(opened: FamilyNetwork, what: str, out: Path, *, manifest: str | None, split: str, pictures: bool) -> int:
    """Predict on a split of a recipe or store, or on a folder of images; return the number of frames written.

    Args:
        opened: the network, of a family that predicts.
        what: a recipe file, a store, or a folder of images.
        out: folder to write; must not exist or be empty.
        manifest: fingerprint of another manifest than the recipe's own or the store's newest.
        split: train, val or test.
        pictures: write pictures too.

    Raises:
        SourceError: an image or what belongs to it is missing or broken.
        ManifestError: there is no such manifest or split, or its frames lack a store.
        StoreError: ``out`` is not empty or cannot be written.
    """
    from flows.reports import frame_drawer

    family, network = opened
    draw = frame_drawer(family.name) if pictures else None
    if family.takes_folder(Path(what)):
        machine = machine_of_settings(Settings(), image_root=None)
        return family.predict_folder(network, Path(what), out, draw=draw, machine=machine)
    pinned, machine = open_pinned(what, manifest)
    return family.predict_split(network, pinned, out, split=split, draw=draw, machine=machine)


def _train_group(data: str) -> dict[str, Any] | None:
    """Return ``train:`` of a recipe file; None for a store or a folder."""
    return load_recipe(data).train if is_recipe(data) else None
