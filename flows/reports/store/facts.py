"""What the plan, the lineage records and the manifest say about a store, before any pixel is read.

Why    Coverage, volume, timings and provenance are in small records; a report over 850 scenes need not open 850 shards
Reads  the plan's committed units: lineage.json; the manifest's table, or the scene tables where the manifest has no sample
Writes ReportFacts, in memory
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.finding import finding_lines
from pipeline.plan import Plan
from pipeline.run import nothing_found
from pipeline.types import ALL
from storage_schemas.errors import StoreError
from storage_schemas.layout import rows
from storage_schemas.lineage import LineageRecord
from storage_schemas.store import Store, UnitPath

T = TypeVar("T")

PACKAGES = ("depthmill", "python", "numpy", "numba", "zarr", "pyarrow")
"""Names in the lineage's provenance whose versions the report shows."""


@dataclass(frozen=True)
class View:
    """One scene as one camera sees it.

    Attributes:
        scene: scene name.
        camera: camera channel.
        units: layout name -> committed unit.
        counts: layout name -> what its stage counted.
    """

    scene: str
    camera: str
    units: Mapping[str, UnitPath]
    counts: Mapping[str, Mapping[str, float]]

    @property
    def title(self) -> str:
        """Scene and camera."""
        return f"{self.scene} {self.camera}"

    def count(self, layout: str, name: str) -> float | None:
        """Return a number that the unit's stage counted, None where it is not there."""
        return self.counts.get(layout, {}).get(name)


@dataclass(frozen=True)
class StageFacts:
    """One stage over all its committed units.

    Attributes:
        stage: name.
        layout: store it writes.
        version: version of the stage.
        params: its params.
        num_units: committed units.
        num_planned: units in the plan.
        num_frames: frames in them, as the stage counted.
        num_bytes: bytes on disk.
        seconds: wall time of each unit's kernel.
    """

    stage: str
    layout: str
    version: int
    params: Mapping[str, Any]
    num_units: int
    num_planned: int
    num_frames: int
    num_bytes: int
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class ReportFacts:
    """Everything that the report knows without reading pixels.

    Attributes:
        root: the store's root.
        manifest: fingerprint of the manifest; None while units of the recipe are missing.
        num_samples: rows of the manifest.
        splits: split -> samples; scenes instead where the manifest has no sample.
        num_night: scenes recorded at night.
        num_scenes: scenes in the plan.
        views: scenes by camera, in the plan's order.
        stages: in running order.
        commits: commit of the writing process, with a mark if it was dirty -> units.
        versions: package -> versions, joined where they differ.
        releases: data set releases of the source.
        written_utc: times of the first and the last unit.
        warnings: what is missing, what was put right, and units that hold nothing, a line each.
    """

    root: str
    manifest: str | None
    num_samples: int
    splits: Mapping[str, int]
    num_night: int
    num_scenes: int
    views: tuple[View, ...]
    stages: tuple[StageFacts, ...]
    commits: Mapping[str, int]
    versions: Mapping[str, str]
    releases: tuple[str, ...]
    written_utc: tuple[str, str]
    warnings: tuple[str, ...] = ()


def even_choice(values: Sequence[T], limit: int) -> list[T]:
    """Return at most ``limit`` of the values, evenly over their order, the first and the last included."""
    if len(values) <= limit:
        return list(values)
    if limit == 1:
        return [values[0]]
    return [values[round(k * (len(values) - 1) / (limit - 1))] for k in range(limit)]


def gather_facts(plan: Plan, store: Store) -> ReportFacts:
    """Read the records of a plan's committed units.

    Raises:
        StoreError: no unit is there yet, or a record is damaged.
    """
    records = {item.path: store.lineage(item.path) for item in plan.items if item.reason is None}
    if not records:
        raise StoreError(
            f"nothing to report yet: no unit of this recipe is in store '{store.root}'. "
            "Run depthmill run with this recipe first, then depthmill report"
        )
    is_built = plan.manifest.reason is None
    samples = rows(store.open_unit(plan.manifest.path).table("samples")) if is_built else []
    scenes = _scene_rows(store, records, samples)
    splits = Counter(row["split"] or "no split" for row in (samples or scenes.values()))
    written = sorted(record.written_utc for record in records.values())
    return ReportFacts(
        root=store.shown_root,
        manifest=plan.manifest.path.fingerprint if is_built else None,
        num_samples=len(samples),
        splits=dict(splits),
        num_night=sum(bool(row["is_night"]) for row in scenes.values()),
        num_scenes=len(scenes),
        views=_views(plan, records),
        stages=_stages(plan, records),
        commits=dict(Counter(_commit(record.provenance) for record in records.values()).most_common()),
        versions={name: _versions(records, name) for name in PACKAGES},
        releases=tuple(sorted({record.identity.source.release for record in records.values() if record.identity.source})),
        written_utc=(written[0], written[-1]),
        warnings=(*plan.warnings(), *_empty_units(plan, records)),
    )


def _empty_units(plan: Plan, records: Mapping[UnitPath, LineageRecord]) -> list[str]:
    """Return a line for each kind of unit that holds nothing."""
    counted = ((record.identity, record.counts) for record in records.values())
    return finding_lines(nothing_found(counted), len(plan.chosen.scenes))


def _scene_rows(
    store: Store, records: Mapping[UnitPath, LineageRecord], samples: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Split and day or night per scene: from the samples, and from the index of scenes that have none."""
    row_by_scene = {row["scene"]: row for row in samples}
    for path in records:
        if path.layout == "frames" and path.scene not in row_by_scene:
            row_by_scene[path.scene] = rows(store.open_unit(path).table("scene"))[0]
    return row_by_scene


def _views(plan: Plan, records: Mapping[UnitPath, LineageRecord]) -> tuple[View, ...]:
    of_scene = {path.scene: path for path in records if path.layout == "frames"}
    paths_by_view: dict[tuple[str, str], list[UnitPath]] = {}
    for item in plan.items:
        if item.path.camera != ALL and item.path in records:
            paths_by_view.setdefault((item.path.scene, item.path.camera), []).append(item.path)
    views = []
    for (scene, camera), paths in paths_by_view.items():
        units = {path.layout: path for path in paths}
        if scene in of_scene:
            units["frames"] = of_scene[scene]
        views.append(View(scene, camera, units, {path.layout: records[path].counts for path in paths}))
    return tuple(views)


def _stages(plan: Plan, records: Mapping[UnitPath, LineageRecord]) -> tuple[StageFacts, ...]:
    stages = []
    for stage in dict.fromkeys(item.stage for item in plan.items):
        items = [item for item in plan.items if item.stage == stage]
        done = [records[item.path] for item in items if item.path in records]
        identity = items[0].identity
        stages.append(
            StageFacts(
                stage=stage,
                layout=identity.layout,
                version=identity.stage_version,
                params=identity.params,
                num_units=len(done),
                num_planned=len(items),
                num_frames=int(sum(record.counts.get("frames", record.counts.get("keyframes", 0.0)) for record in done)),
                num_bytes=sum(file.num_bytes for record in done for file in record.files.values()),
                seconds=tuple(record.seconds for record in done),
            )
        )
    return tuple(stages)


def _commit(provenance: Mapping[str, str]) -> str:
    commit = provenance.get("commit", "unknown")
    return (commit if commit == "unknown" else commit[:10]) + (" + changes" if provenance.get("is_dirty") == "true" else "")


def _versions(records: Mapping[UnitPath, LineageRecord], package: str) -> str:
    return ", ".join(sorted({record.provenance.get(package, "unknown") for record in records.values()}))
