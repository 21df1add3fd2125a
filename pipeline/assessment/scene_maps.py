"""Depth maps of single frames: from the store where it has them, else made in memory by the stages' own kernels.

Why    A recipe can be tried on a few frames before hundreds of scenes are made by it, and what was stored is measured as it is
Writes nothing: no unit, no lineage
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from pipeline.assessment.point_readers import PointReader
from pipeline.capability import LIDAR
from pipeline.plan import Plan
from pipeline.recipe import Recipe
from pipeline.stage import StageInput
from pipeline.stage_list import stage_named
from pipeline.types import ALL, WorkItem
from storage_schemas.catalog import DEPTH_ACCUMULATED, DEPTH_CLEAN, DEPTH_INTERPOLATED, DEPTH_SINGLE, FRAMES
from storage_schemas.errors import RecipeError
from storage_schemas.layout import Columns, UnitData
from storage_schemas.store import Store

DEPTH_STORES = (DEPTH_SINGLE.name, DEPTH_ACCUMULATED.name, DEPTH_CLEAN.name, DEPTH_INTERPOLATED.name)
"""Stores that are measured, in the order that they are made."""

STORED_ONLY = ("predict_mono_depth", "align_mono_depth")
"""Stages around the monocular depth model, whose units must be in the store: nothing here runs a network."""


class SceneMaps:
    """The maps of one recipe, scene and camera.

    Args:
        plan: of the recipe.
        recipe: says the params.
        store: where units are read.
        points: reader of the scene's LiDAR files, shared by the recipes that are compared.
        scene: name of the scene.
        camera: channel.
    """

    def __init__(self, plan: Plan, recipe: Recipe, store: Store, points: PointReader, *, scene: str, camera: str) -> None:
        self._recipe, self._store, self._points = recipe, store, points
        self.scene, self.camera = scene, camera
        self._items = {
            item.identity.layout: item
            for item in plan.items
            if item.identity.scene == scene and item.identity.camera in (ALL, camera)
        }
        self.tables = points.scene_tables(scene)
        self._rows = [row for row, name in enumerate(self.tables["keyframes"]["camera"]) if name == camera]

    @property
    def layouts(self) -> tuple[str, ...]:
        """Stores with depth maps that the recipe makes of this view, in the order that they are made."""
        return tuple(name for name in DEPTH_STORES if name in self._items)

    def has(self, layout: str) -> bool:
        """Say whether the recipe makes a store of this view."""
        return layout in self._items

    def is_of_key_sweep(self, layout: str) -> bool:
        """Say whether a store is the key sweep alone, or made of it, so that nothing is left of it once the sweep is held out."""
        return layout == DEPTH_SINGLE.name or DEPTH_SINGLE.name in self._items[layout].inputs

    @property
    def num_frames(self) -> int:
        """Key frames of the camera."""
        return len(self._rows)

    def frame_tables(self, frame: int) -> dict[str, Columns]:
        """Return the scene's tables with one key frame."""
        row = self._rows[frame]
        return {**self.tables, "keyframes": {name: [column[row]] for name, column in self.tables["keyframes"].items()}}

    def arrays(
        self, frame: int, layouts: tuple[str, ...], *, shared: dict[Any, Any], held: frozenset[str] = frozenset()
    ) -> dict[str, Mapping[str, NDArray[Any]]]:
        """Return the arrays of one frame in some stores, without the frame dimension.

        Args:
            frame: number of the key frame.
            layouts: stores that the recipe makes.
            shared: what stages make once for a scene, such as its points in memory; recipes of one scene can share it, because
                stages name there what they make by their params.
            held: LiDAR files that hold no return for anything that is made; with them ``shared`` is of this frame alone.

        Raises:
            RecipeError: something that a network must make is not in the store.
            DepthmillError: a file or unit is missing or broken.
        """
        units = {FRAMES.name: UnitData(tables=self.frame_tables(frame))}
        self._points.held = held
        try:
            return {
                layout: {
                    name: array[0]
                    for name, array in self._unit(layout, frame, units, shared).arrays.items()
                    if self._is_of_frames(layout, name)
                }
                for layout in layouts
            }
        finally:
            self._points.held = frozenset()

    def _unit(self, layout: str, frame: int, units: dict[str, UnitData], shared: dict[Any, Any]) -> UnitData:
        """Return one frame of a unit, and note it for the stages that read it."""
        if layout not in units:
            item = self._items[layout]
            is_stored = item.reason is None and not (self._points.held and self._reads_lidar(layout))
            units[layout] = self._stored(item, frame) if is_stored else self._made(item, frame, units, shared)
        return units[layout]

    def _stored(self, item: WorkItem, frame: int) -> UnitData:
        unit = self._store.open_unit(item.path)
        layout = item.identity.layout
        return UnitData({name: unit.array(name, frame)[None] for name in unit.array_names if self._is_of_frames(layout, name)})

    def _made(self, item: WorkItem, frame: int, units: dict[str, UnitData], shared: dict[Any, Any]) -> UnitData:
        stage = stage_named(item.stage)
        if item.stage in STORED_ONLY:
            raise RecipeError(
                f"{item.identity.layout} of {item.title} is not in the store, and assess runs no monocular depth model. "
                "Run depthmill run with this recipe first"
            )
        inputs = {name: self._unit(name, frame, units, shared) for name in item.inputs}
        raw = self._points if stage.needs == LIDAR else self._points.raw
        unit = StageInput(self.scene, self.camera, inputs, raw, shared, store=self._store, paths=item.inputs)
        return stage.kernel(unit, self._recipe.stages.params_of(stage)).data

    def _reads_lidar(self, layout: str) -> bool:
        item = self._items[layout]
        return stage_named(item.stage).needs == LIDAR or any(self._reads_lidar(name) for name in item.inputs)

    def _is_of_frames(self, layout: str, array: str) -> bool:
        return stage_named(self._items[layout].stage).writes.array(array).dims[:1] == ("frame",)
