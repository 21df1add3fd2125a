"""Run work items: the same code for every stage, one scene at a time; a run that was stopped can be repeated."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from pipeline.capability import LIDAR, TRUTH
from pipeline.finding import Finding
from pipeline.mono_depth.model import MonoDepthFactory
from pipeline.plan import Plan
from pipeline.recipe import Recipe
from pipeline.sources import provenance_of
from pipeline.stage import AheadReader, RawReader, StageInput
from pipeline.stage_list import stage_named
from pipeline.types import ALL, ItemResult, WorkItem
from pipeline.wanted_files import WantedFiles
from storage_schemas.errors import DepthmillError
from storage_schemas.layout import UnitData
from storage_schemas.lineage import Identity
from storage_schemas.store import Store, UnitPath

NOTHING_ADVICE = (
    "The stage's own line in the run says more. Look at the pictures of the report, too: calibration, poses, units or the file "
    "format may be wrong"
)

SUSPICIOUS = {
    "files_repeated": (
        "files hold the same bytes as another file of the scene",
        "Fetch these files again, or leave the scene out",
    ),
    "images_with_holes": ("images have a long hole of zeros in their bytes", "Fetch these files again"),
    "maps_of_one_value": (
        "maps say the same depth at every measured pixel",
        "The sensor or a conversion failed there; make these maps again, or leave the scene out",
    ),
    "maps_empty": ("maps have no measured pixel, and others have some", "Check the files, or leave the scene out"),
    "maps_too_near": (
        "maps have no depth beyond 1 m",
        "Expected metres times 256; they are probably in another unit. Write them again",
    ),
    "returns_at_origin": ("radar returns lie at the radar itself", "Fetch these files again"),
}
"""Counts of any stage's units that are there only where something is wrong -> what it is, what to do."""

OnResult = Callable[[ItemResult], None]


@dataclass(frozen=True)
class SceneRequest:
    """The work of one scene as it is sent to a worker: small, picklable, complete.

    Attributes:
        scene: scene name.
        items: items to do, in running order.
        recipe: for the params.
        store_root: where units are read and written.
        raw: reader of raw files.
        depth_model: makes the monocular depth model in the worker, if the recipe names one with weights.
    """

    scene: str
    items: tuple[WorkItem, ...]
    recipe: Recipe
    store_root: str
    raw: RawReader
    depth_model: MonoDepthFactory | None = None

    def failed(self, message: str) -> list[ItemResult]:
        """Return results for a scene whose worker never answered."""
        return [
            _result(item, "ERROR" if number == 0 else "SKIP", 0.0, message if number == 0 else f"{self.items[0].stage} failed")
            for number, item in enumerate(self.items)
        ]


@dataclass
class SceneMemory:
    """Units and shared results that stages of one scene hand to each other, so that none is decoded twice."""

    units: dict[UnitPath, UnitData] = field(default_factory=dict)
    shared: dict[Any, Any] = field(default_factory=dict)

    def forget(self, later: set[UnitPath], *, lidar: bool) -> None:
        """Free units that no later item reads, and the shared LiDAR points once no later stage needs them."""
        self.units = {path: data for path, data in self.units.items() if path in later}
        if not lidar:
            self.shared.clear()


def scene_requests(
    plan: Plan, recipe: Recipe, store: Store, raw: RawReader, *, depth_model: MonoDepthFactory | None = None
) -> list[SceneRequest]:
    """Cut a plan into one request per scene with work, in the plan's order."""
    by_scene: dict[str, list[WorkItem]] = {}
    for item in plan.to_do:
        if item.identity.scene != ALL:
            by_scene.setdefault(item.identity.scene, []).append(item)
    return [SceneRequest(scene, tuple(items), recipe, store.root, raw, depth_model) for scene, items in by_scene.items()]


def run_scene(request: SceneRequest, on_result: OnResult | None = None) -> list[ItemResult]:
    """Run all items of one scene; a failed item makes those that need it SKIP, and the others still run."""
    store, memory = Store(request.store_root), SceneMemory()
    failed: dict[UnitPath, str] = {}
    results: list[ItemResult] = []
    with _reading_ahead(request):
        for number, item in enumerate(request.items):
            later = {path for other in request.items[number + 1 :] for path in other.inputs.values()}
            blocked = next((failed[path] for path in item.inputs.values() if path in failed), None)
            if blocked is not None:
                result = _result(item, "SKIP", 0.0, f"{blocked} failed")
            else:
                keep = item.path in later
                result = run_item(item, request.recipe, store, request.raw, memory, keep=keep, depth_model=request.depth_model)
            if result.status != "OK":
                failed[item.path] = blocked or item.stage
            results.append(result)
            memory.forget(later, lidar=any(stage_named(other.stage).needs == LIDAR for other in request.items[number + 1 :]))
            if on_result is not None:
                on_result(result)
    return results


def _reading_ahead(request: SceneRequest) -> AbstractContextManager[None]:
    """Have the files of a scene fetched in the background, where its source is elsewhere."""
    raw, recipe = request.raw, request.recipe
    if not isinstance(raw, AheadReader):
        return nullcontext()
    stages = [stage_named(item.stage) for item in request.items]
    wanted = [WantedFiles.of([stage.files_of(recipe.stages.params_of(stage), recipe.cameras)]) for stage in stages]
    return raw.reading_ahead(request.scene, wanted)


def run_manifest(plan: Plan, recipe: Recipe, store: Store, raw: RawReader, results: Iterable[ItemResult]) -> list[ItemResult]:
    """Run the items over the whole data set, unless something that they need failed."""
    failed = [result for result in results if result.status != "OK"]
    done = []
    for item in plan.to_do:
        if item.identity.scene != ALL:
            continue
        if failed:
            first = next((result for result in failed if result.status == "ERROR"), failed[0])
            done.append(_result(item, "SKIP", 0.0, f"{first.stage} {first.title} failed"))
        else:
            done.append(run_item(item, recipe, store, raw, SceneMemory(), keep=False, left_out=plan.chosen.left_out))
    return done


def nothing_found(units: Iterable[tuple[Identity, Mapping[str, float]]]) -> list[Finding]:
    """Return a finding for each unit in which a stage found nothing at all, though there is usually something, or what is wrong.

    Args:
        units: what each unit is, and what its stage counted.
    """
    findings = []
    for unit, counts in units:
        where = f"({unit.stage} {unit.camera})"
        findings += [
            Finding(f"{words} {where}", unit.scene, advice=NOTHING_ADVICE)
            for name, words in stage_named(unit.stage).never_zero
            if counts.get(name) == 0
        ]
        findings += [
            Finding(f"{words} {where}", unit.scene, int(counts[name]), advice=advice)
            for name, (words, advice) in SUSPICIOUS.items()
            if counts.get(name)
        ]
    return findings


def run_item(
    item: WorkItem,
    recipe: Recipe,
    store: Store,
    raw: RawReader,
    memory: SceneMemory,
    *,
    keep: bool,
    depth_model: MonoDepthFactory | None = None,
    left_out: Mapping[str, str] | None = None,
) -> ItemResult:
    """Make one unit: read its inputs, call the kernel, check, write, commit.

    Args:
        item: the unit to make.
        recipe: holds the stage's params.
        store: where inputs are read and the unit is written.
        raw: reader of raw files.
        memory: inputs and shared results of the scene.
        keep: keep the result in memory for a later item.
        depth_model: makes the monocular depth model, if the recipe names one with weights.
        left_out: scene that cannot be used -> why; for a unit over the data set.
    """
    start = time.perf_counter()
    stage = stage_named(item.stage)
    try:
        per_dataset = stage.per == "dataset"
        unit = StageInput(
            item.identity.scene,
            item.identity.camera,
            {} if per_dataset else _inputs(item.inputs, store, memory),
            raw,
            memory.shared,
            store=store if per_dataset else None,
            paths=item.inputs,
            depth_model=depth_model,
            left_out=left_out or {},
        )
        made = stage.kernel(unit, recipe.stages.params_of(stage))
        of_files = raw.digest_of(unit.used_files) if unit.used_files else {}
        counts = dict(made.counts)
        if "raw_repeated" in of_files and stage.needs != TRUTH:  # exact depth repeats itself where the car stands still
            counts["files_repeated"] = float(of_files["raw_repeated"])
        provenance = {
            **provenance_of(recipe.source.kind),
            **of_files,
            **made.provenance,
            **stage.provenance,
        }
        seconds = time.perf_counter() - start
        record = store.write_unit(item.identity, made.data, seconds=seconds, counts=counts, provenance=provenance)
        if keep:
            memory.units[item.path] = made.data
        num_bytes = sum(file.num_bytes for file in record.files.values())
        return _result(item, "OK", time.perf_counter() - start, made.message, counts, num_bytes)
    except DepthmillError as error:
        return _result(item, "ERROR", time.perf_counter() - start, str(error))
    except Exception as error:  # the one broad except: a defect in one scene must not stop the others, and is reported
        where = traceback.format_exc(limit=-3)
        return _result(item, "ERROR", time.perf_counter() - start, f"{type(error).__name__}: {error}\n{where}")


def _inputs(paths: Mapping[str, UnitPath], store: Store, memory: SceneMemory) -> dict[str, UnitData]:
    for path in paths.values():
        if path not in memory.units:
            memory.units[path] = store.read_unit(path)
    return {name: memory.units[path] for name, path in paths.items()}


def _result(
    item: WorkItem, status: Any, seconds: float, message: str, counts: Mapping[str, float] | None = None, num_bytes: int = 0
) -> ItemResult:
    scene, camera = item.identity.scene, item.identity.camera
    return ItemResult(item.stage, scene, camera, item.path.fingerprint, status, seconds, message, counts or {}, num_bytes)
