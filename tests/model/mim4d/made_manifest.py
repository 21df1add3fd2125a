"""Manifests for tests of clips, made by the stages that a clip needs and no other; and points seen by a camera."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from pipeline.geometry import transform_points
from pipeline.plan import Plan, make_plan
from pipeline.recipe import Recipe, parse_recipe
from pipeline.run import run_manifest, run_scene, scene_requests
from pipeline.sources import open_source
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.store import Store

SIX = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
NEEDED = (
    "index_frames",
    "index_camera_sweeps",
    "index_windows",
    "index_objects",
    "pack_images",
    "project_lidar",
    "pack_truth",
    "build_manifest",
)


def made(recipe: Recipe, cache) -> Manifest:
    """Run the stages that a clip needs, and no other, and return the manifest of them."""
    source, store = open_source(recipe.source, cache), Store(recipe.store)
    source.prepare()
    items = [item for item in make_plan(recipe, source, store).items if item.stage in NEEDED]
    inputs = {item.path.key.rsplit("/", 1)[0]: item.path for item in items[:-1]}
    identity = items[-1].identity.model_copy(update={"inputs": {name: path.fingerprint for name, path in inputs.items()}})
    plan = Plan((*items[:-1], dataclasses.replace(items[-1], identity=identity, inputs=inputs)))
    results = [result for one in scene_requests(plan, recipe, store, source.reader()) for result in run_scene(one)]
    results += run_manifest(plan, recipe, store, source.reader(), results)
    assert {result.status for result in results} == {"OK"}, [result.message for result in results]
    return open_manifest(store)


def recipe_of(source: dict, store, cameras, *, num_frames: int, drop_last: bool = False, **windows: object) -> Recipe:
    stages = {
        "index_windows": {"enabled": True, "num_frames": num_frames, **windows},
        "build_manifest": {"drop_last_keyframe": drop_last},
    }
    data = {"source": source, "store": str(store), "cameras": list(cameras), "stages": stages}
    return parse_recipe(data, where="test")


def projected(points: np.ndarray, cam_from_rig: torch.Tensor, intrinsics: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (n, 2) and depths (n) of points (n, 3) of a rig frame."""
    in_cam = transform_points(cam_from_rig.numpy().astype(float), points)
    image = in_cam @ intrinsics.numpy().astype(float).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return image[:, :2] / image[:, 2:], in_cam[:, 2]
