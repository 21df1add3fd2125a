"""What every kind of source must have, asked of the list and of nothing else."""

from __future__ import annotations

import ast
import dataclasses
import importlib
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from pipeline.recipe import load_recipe, parse_recipe
from pipeline.sources import OWN_SOURCES, open_source, source_specs
from pipeline.stage_list import STAGES
from storage_schemas.errors import RecipeError
from tests.conftest import REPOSITORY
from tests.tiny_kitti import write_tiny_kitti
from tests.tiny_nuscenes import write_tiny_nuscenes
from tests.tiny_zju import write_tiny_zju

WRITE_TINY = {"nuscenes": write_tiny_nuscenes, "kitti_object": write_tiny_kitti, "zju_4dradarcam": write_tiny_zju}
ON_DISK = [spec for spec in OWN_SOURCES if spec.looked_for]


@pytest.fixture(scope="module")
def tiny_folders(tmp_path_factory) -> dict[str, Path]:
    return {kind: write(tmp_path_factory.mktemp(kind) / "data") for kind, write in WRITE_TINY.items()}


@pytest.mark.parametrize("spec", OWN_SOURCES, ids=lambda spec: spec.kind)
def test_spec_when_it_is_in_the_list_then_its_folder_has_the_same_files_as_its_neighbours(spec):
    for name in ("config", "source", "spec"):
        assert importlib.import_module(f"pipeline.sources.{spec.kind}.{name}").__file__
    assert importlib.import_module(f"pipeline.sources.{spec.kind}.spec").SPEC is spec
    assert bool(spec.survey) == (REPOSITORY / "pipeline" / "sources" / spec.kind / "init.py").is_file()


@pytest.mark.parametrize("spec", OWN_SOURCES, ids=lambda spec: spec.kind)
def test_config_when_a_key_is_unknown_or_changed_then_refused(spec):
    assert spec.config.model_config["extra"] == "forbid"
    assert spec.config.model_config["frozen"]


def test_list_when_asked_for_folders_then_every_tiny_set_is_tried():
    assert {spec.kind for spec in ON_DISK} == set(WRITE_TINY)
    assert tuple(source_specs())[: len(OWN_SOURCES)] == tuple(spec.kind for spec in OWN_SOURCES)


@pytest.mark.parametrize("kind", WRITE_TINY)
def test_folder_when_it_is_of_one_kind_then_no_other_recognises_it(kind, tiny_folders, tmp_path):
    assert [spec.kind for spec in OWN_SOURCES if spec.recognise(tiny_folders[kind])] == [kind]
    assert not any(spec.recognise(tmp_path) for spec in OWN_SOURCES)


@pytest.mark.parametrize("kind", WRITE_TINY)
def test_recipe_when_init_wrote_it_then_it_loads_and_its_scenes_offer_what_the_spec_says(kind, tiny_folders, depthmill, tmp_path):
    out = tmp_path / "recipe.yaml"
    code, text = depthmill("init", tiny_folders[kind], "--out", out)
    assert code == 0, text
    recipe = load_recipe(out)
    assert (recipe.source.kind, recipe.source.root) == (kind, str(tiny_folders[kind]))
    scenes = open_source(recipe.source, tmp_path / "cache").scenes()
    assert scenes
    assert all(scene.offers and set(scene.offers) <= source_specs()[kind].offers for scene in scenes)


def test_world_when_simulated_then_its_scenes_offer_what_the_spec_says(tmp_path):
    sweeps = {"index_windows": {"enabled": True, "frames": "sweep"}}
    recipe = parse_recipe({"source": {"kind": "synthetic"}, "store": "s", "stages": sweeps}, where="test")
    scenes = open_source(recipe.source, tmp_path).scenes()
    assert [set(scene.offers) for scene in scenes] == [set(source_specs()["synthetic"].offers)] * len(scenes)


def test_stages_when_they_need_something_then_some_source_offers_it():
    offered = frozenset[str]().union(*(spec.offers for spec in OWN_SOURCES))
    assert {stage.needs for stage in STAGES if stage.needs is not None} <= offered


def test_recipe_when_the_source_knows_better_then_it_fills_keys_and_leaves_what_is_said():
    source = {"kind": "kitti_object", "root": "r"}
    filled = parse_recipe({"source": source, "store": "s", "stages": {"pack_images": {"mode": "bytes"}}}, where="test")
    assert (filled.cameras, filled.stages.build_manifest.drop_last_keyframe) == (("CAM_2",), False)
    stages = {"build_manifest": {"drop_last_keyframe": True}}
    said = parse_recipe({"source": source, "store": "s", "stages": stages, "cameras": ["CAM_0"]}, where="test")
    assert (said.cameras, said.stages.build_manifest.drop_last_keyframe) == (("CAM_0",), True)


@pytest.mark.parametrize("kind", [["nuscenes"], {"a": 1}, 3, None])
def test_recipe_when_its_kind_is_no_word_then_says_which_kinds_there_are(kind):
    with pytest.raises(
        RecipeError, match=r"source.kind is .*, expected one of: nuscenes, synthetic, zju_4dradarcam, kitti_object"
    ):
        parse_recipe({"source": {"kind": kind}, "store": "s"}, where="test")


class _WithoutKind(BaseModel):
    root: str


class _WithoutSweeps(BaseModel):
    kind: Literal["nuscenes"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": _WithoutKind}, r"source 'nuscenes': _WithoutKind must have the key kind: Literal\['nuscenes'\]"),
        ({"kind": "other"}, r"source 'other': NuScenesConfig must have the key kind: Literal\['other'\]"),
        ({"config": _WithoutSweeps}, r"_WithoutSweeps must have the key camera_sweeps, as it offers them"),
        ({"looked_for": ""}, r"looked_for and survey go together, one of them is missing"),
        ({"survey": None}, r"looked_for and survey go together, one of them is missing"),
    ],
)
def test_spec_when_it_does_not_hold_together_then_says_what_is_missing(changes: dict[str, Any], said):
    with pytest.raises(TypeError, match=said):
        dataclasses.replace(source_specs()["nuscenes"], **changes)


def test_code_when_it_lies_outside_the_sources_then_it_names_no_kind():
    kinds = {spec.kind for spec in OWN_SOURCES}
    named = []
    for folder in ("depthmill", "storage_schemas", "pipeline", "model", "flows"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            if path.is_relative_to(REPOSITORY / "pipeline" / "sources"):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in kinds:
                    named.append(f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.value}")
    assert not named
