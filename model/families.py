"""The model families in one list: those of this repository, and those of packages that bring one.

What needs to know all families stands here once more with the list filled in, so that callers need not hand it over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from model.blocks.weights_file import fill_network
from model.mim4d.family import Mim4dFamily
from model.monoddle.family import MonoDdleFamily
from model.semodepth.family import SemoDepthFamily
from model.train import checkpoint, loop
from model.train.checkpoint import Checkpoint
from model.train.config import CommonConfig, Machine
from model.train.family import Family
from model.train.family_types import ExtraPart
from model.train.kept_checkpoints import checkpoint_parts
from model.train.known_families import Families, misfit_of_family
from model.train.loop import OnProgress
from model.uvtr.family import UvtrFamily
from storage_schemas.manifest import Manifest
from storage_schemas.plug_ins import PlugIn, broken_plug_ins, loaded_plug_ins

_OWN = (SemoDepthFamily(), MonoDdleFamily(), Mim4dFamily(), UvtrFamily())


def _brought_by_packages() -> tuple[dict[str, tuple[PlugIn, Family[Any]]], dict[str, str]]:
    """Return the families of other packages that can be used, and why others cannot, by name."""
    usable: dict[str, tuple[PlugIn, Family[Any]]] = {}
    broken = broken_plug_ins("depthmill.families")
    for name, (plug_in, family) in loaded_plug_ins("depthmill.families", own=frozenset(family.name for family in _OWN)).items():
        if reason := misfit_of_family(name, family):
            broken[name] = (
                f"plug-in '{name}' (depthmill.families) of package {plug_in.package} {plug_in.version} cannot be used: {reason}. "
                f"Repair the package, or remove it with pip uninstall {plug_in.package}"
            )
        else:
            usable[name] = plug_in, family
    return usable, broken


_BROUGHT, _BROKEN = _brought_by_packages()

FAMILIES = Families(
    (*_OWN, *(family for _, family in _BROUGHT.values())),
    packages={name: plug_in for name, (plug_in, _) in _BROUGHT.items()},
    broken=_BROKEN,
)


def family_of(config: CommonConfig) -> Family[Any]:
    """Return the family that a configuration belongs to."""
    return FAMILIES.of(config)


def parse_train_config(data: Mapping[str, Any], *, where: str) -> Any:
    """Check the ``train:`` group of a recipe; RecipeError lists every mistake, one a line."""
    return FAMILIES.parse(data, where=where)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of any family; errors as ``model.train.checkpoint.load_checkpoint``."""
    return checkpoint.load_checkpoint(path, FAMILIES)


def load_network(path: str | Path) -> nn.Module:
    """Return the network of a checkpoint of depthmill, in evaluation mode, on the CPU; errors as ``load_checkpoint``."""
    return network_of(load_checkpoint(path), path=path)


def network_of(opened: Checkpoint, *, path: str | Path) -> nn.Module:
    """Return the network of a checkpoint in memory, in evaluation mode, on the CPU; CheckpointError for weights that are NaN."""
    network = family_of(opened.config).network(opened.config)
    fill_network(network, opened.model, path=path)
    return network.eval()


def train(
    config: CommonConfig,
    manifest: Manifest,
    folder: Path,
    *,
    machine: Machine | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Train a configuration of any family; see ``model.train.loop.train``."""
    loop.train(config, manifest, folder, families=FAMILIES, machine=machine, on_progress=on_progress)


def evaluate_training(config: CommonConfig, manifest: Manifest, folder: Path, *, machine: Machine | None = None) -> None:
    """Measure a training of any family; see ``model.train.loop.evaluate_training``."""
    loop.evaluate_training(config, manifest, folder, families=FAMILIES, machine=machine)


def extra_parts(config: CommonConfig) -> dict[str, ExtraPart]:
    """Return what is done after the evaluation, by name and in order: by every family, then by that of the configuration."""
    return checkpoint_parts(config, FAMILIES) | dict(family_of(config).extra_parts(config))
