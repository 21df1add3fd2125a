"""Depth maps of a recipe made in memory, from all sweeps but some that are held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.capability import LIDAR
from pipeline.stage import StageInput
from pipeline.stage_list import stage_named
from pipeline.stages.accumulate_lidar import chosen_sweeps
from storage_schemas.layout import UnitData


class HeldOutReader:
    """A reader of raw files for which some LiDAR files hold no point; files that were read are kept in memory."""

    def __init__(self, raw: Any) -> None:
        self._raw, self.held = raw, frozenset()
        self._kept: dict[str, Any] = {}

    def __getattr__(self, name):
        return getattr(self._raw, name)

    def read_points(self, file: str):
        if file in self.held:
            return np.zeros((0, 5), np.float32)
        if file not in self._kept:
            self._kept[file] = self._raw.read_points(file)
        return self._kept[file]

    def refuse_cut_sweeps(self, files) -> None:
        return None

    def digest_of(self, files):
        return {}


def maps_of(opened, plan, *, against, neighbours, most):
    by_view = {}
    for item in plan.items:
        by_view.setdefault((item.identity.scene, item.identity.camera), {})[item.identity.layout] = item
    frames = []
    memory = {}
    for (scene, camera), items in by_view.items():
        if camera == "all" or "depth_accumulated" not in items:
            continue
        tables = opened.source.reader().scene_tables(scene)
        number = sum(name == camera for name in tables["keyframes"]["camera"])
        frames += [(scene, camera, k) for k in range(number)]
    if most and len(frames) > most:
        frames = [frames[i * len(frames) // most] for i in range(most)]
    views = {}
    for scene, camera, k in frames:
        views.setdefault((scene, camera), []).append(k)
    for (scene, camera), numbers in views.items():
        items = by_view[scene, camera]
        tables = opened.source.reader().scene_tables(scene)
        raw = HeldOutReader(opened.source.reader())
        if against == "truth":
            truth = opened.store.open_unit(items["depth_truth"].path)
            made = _made(opened, items, tables, camera, scene, raw)
            for layout, data in made.items():
                for k in numbers:
                    yield layout, data.arrays["depth_m"][k], truth.array("depth_m", k)
            continue
        for k in numbers:
            of_frame = _of_frame(tables, camera, k)
            reference, held = reference_of(opened, of_frame, scene, camera, raw, neighbours)
            raw.held = held
            for layout, data in _made(opened, items, of_frame, camera, scene, raw, frame=k).items():
                yield layout, data.arrays["depth_m"][0], reference
            raw.held = frozenset()


def _of_frame(tables, camera, k):
    rows = [n for n, name in enumerate(tables["keyframes"]["camera"]) if name == camera]
    keyframes = {name: [column[rows[k]]] for name, column in tables["keyframes"].items()}
    return {**tables, "keyframes": keyframes}


def _made(opened, items, tables, camera, scene, raw, frame=None):
    units = {"frames": UnitData(tables=tables)}
    shared = {}
    made = {}
    for layout, item in items.items():
        stage = stage_named(item.stage)
        if layout not in ("depth_accumulated", "depth_clean", "depth_interpolated"):
            continue
        inputs = {}
        for name, path in item.inputs.items():
            if name not in units:
                unit = opened.store.read_unit(path)
                units[name] = UnitData({key: v if frame is None else v[frame : frame + 1] for key, v in unit.arrays.items()}, unit.tables)
            inputs[name] = units[name]
        unit = StageInput(scene, camera, inputs, raw, shared)
        units[layout] = made[layout] = stage.kernel(unit, opened.recipe.stages.params_of(stage)).data
    return made


def reference_of(opened, tables, scene, camera, raw, neighbours):
    """The key sweep alone, without moving boxes and without what lies behind its own closed surface; and the held-out files."""
    from pipeline.kernels.boxes import SceneBoxes
    from pipeline.kernels.project_frames import project_frames
    from pipeline.kernels.scene_points import read_scene_points

    unit = StageInput(scene, camera, {"frames": UnitData(tables=tables)}, raw)
    p = opened.recipe.stages.accumulate_lidar
    lidars = chosen_sweeps(unit.sweeps, p.lidar, scene=scene, only_keyframes=p.neighbors == "keyframes")
    keys = [key for ranges in lidars.windows(unit.keyframes, 1, scene=scene) for key in ranges]
    files = set()
    for key in keys:
        span = next(span for span in lidars.spans.values() if key.start in span)
        files |= {lidars.sweeps[n]["file"] for n in range(max(span.start, key.start - neighbours), min(span.stop, key.stop + neighbours))}
    sweeps = [lidars.sweeps[key.start] for key in keys]
    boxes = SceneBoxes(tables["boxes"], moving_mps=p.moving_mps, movable=p.movable)
    height, width = unit.image_size()
    window = [[range(len(sweeps))]]
    every, static = (
        project_frames(read_scene_points(raw, sweeps, boxes, moving=moving), unit.keyframes, window, height=height, width=width).steps[0]
        for moving in ("keep", "drop")
    )
    own = own_surface(every)
    d = static.astype(np.float64) / 256
    behind = (d - own > 1.0) & (d > 1.1 * own)
    return np.where((static == every) & ~behind, static, 0).astype(np.uint16), frozenset(files)


def own_surface(steps, rows=None, columns=None):
    """Depth of the surface that a sparse map closes to: grey closing of inverse depth."""
    from scipy.ndimage import grey_closing

    from os import environ
    window = int(environ.get("CLOSE", 5))
    inverse = np.where(steps > 0, 256.0 / np.maximum(steps, 1), 0.0)
    closed = grey_closing(inverse, size=(window, window), mode="constant")
    return np.where(closed > 0, 1 / np.maximum(closed, 1e-9), 1e9)
