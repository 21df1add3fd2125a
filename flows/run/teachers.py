"""Trained depth teachers for the pipeline: what a plan must know of them, and how a worker loads one.

The pipeline knows no torch and the networks know no pipeline; this file joins them. A plan reads a digest, never the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.settings import Settings
from pipeline.mono_depth.model import MonoDepthError, MonoDepthInput, MonoDepthMap, MonoDepthModel, Sight
from pipeline.mono_depth.weights import maps_digest, weights_digest
from pipeline.recipe import Recipe
from pipeline.stages.predict_mono_depth import LEARNED, STAGE, Params
from storage_schemas.install_command import install_command

if TYPE_CHECKING:
    from model.teachers.learned_map import LearnedMap


def teacher_facts(recipe: Recipe, settings: Settings) -> dict[str, str]:
    """Return what a plan must know beside the recipe: ``weights_sha256`` of a teacher with weights, ``maps_sha256`` of maps.

    Raises:
        RecipeError: the weights or maps are not there, or cannot be read.
    """
    p = recipe.stages.params_of(STAGE)
    if p.teacher == "depth_maps" and p.maps is not None:
        return {"maps_sha256": maps_digest(p.maps, settings.cache_dir)}
    if p.teacher not in LEARNED or p.weights is None:
        return {}
    return {"weights_sha256": weights_digest(p.weights, settings.cache_dir)}


def teacher_factory(recipe: Recipe, settings: Settings) -> LearnedTeacherFactory | None:
    """Return the picklable factory of the recipe's teacher; None if it has none with weights.

    Raises:
        RecipeError: the weights are not there, or cannot be read.
    """
    facts = teacher_facts(recipe, settings)
    if "weights_sha256" not in facts:
        return None
    return LearnedTeacherFactory(
        recipe.stages.params_of(STAGE), facts["weights_sha256"], str(settings.cache_dir), settings.device
    )


@dataclass(frozen=True)
class LearnedTeacherFactory:
    """Loads a teacher in a worker, once a process.

    Attributes:
        params: which one, by which rules.
        weights_sha256: digest of the weights that the plan named its units by.
        cache_folder: where digests are kept.
        accelerator: auto, cpu or cuda.
    """

    params: Params
    weights_sha256: str
    cache_folder: str
    accelerator: str

    def __call__(self) -> MonoDepthModel:
        """Return the teacher.

        Raises:
            MonoDepthError: the weights are not those that were planned with, or torch is not installed.
            RecipeError: they are not there.
            TeacherLoadError: they cannot be loaded.
        """
        return _loaded(self)


@lru_cache(maxsize=1)  # one teacher in memory; a worker asks again for every scene
def _loaded(factory: LearnedTeacherFactory) -> MonoDepthModel:
    p = factory.params
    assert p.weights is not None  # checked by Params
    digest = weights_digest(p.weights, Path(factory.cache_folder))
    if digest != factory.weights_sha256:
        raise MonoDepthError(
            f"teacher weights '{p.weights}' have digest {digest[:16]} here, the run was planned with "
            f"{factory.weights_sha256[:16]}. They were replaced "
            "meanwhile, or this machine has others: copy the same files, then run the same command"
        )
    try:
        return LearnedTeacher(p.teacher, _network(factory))
    except ImportError as error:
        raise MonoDepthError(
            f"teacher {p.teacher} needs {error.name}, which is not installed here. Run: {install_command('mono')}"
        ) from error


def _network(factory: LearnedTeacherFactory) -> Any:
    p = factory.params
    if p.teacher == "dpt":
        from model.teachers.dpt import DptTeacher

        return DptTeacher(
            str(p.weights), short_side_px=p.short_side_px, multiple_px=p.multiple_px, accelerator=factory.accelerator
        )
    from model.teachers.depth_anything_3 import DepthAnything3Teacher

    return DepthAnything3Teacher(
        str(p.weights), process_px=p.da3_process_px, output=p.da3_output, accelerator=factory.accelerator
    )


class LearnedTeacher:
    """A network as the pipeline's ``MonoDepthModel``.

    Args:
        name: as in the recipe.
        network: ``DptTeacher`` or ``DepthAnything3Teacher``.
    """

    sees: frozenset[Sight] = frozenset({"image"})

    def __init__(self, name: str, network: Any) -> None:
        self.name, self._network = name, network

    def predict(self, frame: MonoDepthInput) -> MonoDepthMap:
        """Return the network's map of a frame."""
        arguments = (frame.image_u8,) if self.name == "dpt" else (frame.image_u8, frame.intrinsic_px)
        learned: LearnedMap = self._network.predict(*arguments)
        return MonoDepthMap(learned.value, learned.kind, learned.confidence, learned.is_sky)

    def provenance(self) -> Mapping[str, str]:
        """Return versions and device of the network."""
        versions: Mapping[str, str] = self._network.provenance()
        return versions
