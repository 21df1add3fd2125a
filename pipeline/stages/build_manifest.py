"""Build the manifest: one row per training sample, pinning the units it is made of.

Why A training run that pins a manifest can always name, and read again, exactly the bytes that it was trained on
Reads  every unit of the recipe (indices and per-frame counts only)
Writes manifest.samples
Source docs/method/pipeline.md#manifest: key frames in scene order, the last of every scene left out
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import Field

from pipeline.poses import world_from_cam
from pipeline.splits import SPLITS, SplitChoice, remark_on_rule
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec
from pipeline.types import ALL
from storage_schemas.catalog import BOXES, DEPTH_CLEAN, FRAMES, LAYOUTS, MANIFEST, RADAR_POINTS, layout_named
from storage_schemas.layout import UnitData, columns_from_rows, rows
from storage_schemas.store import Store, StoredUnit, UnitPath

PINNED = tuple(layout for layout in LAYOUTS if layout.is_pinned)
"""Our own stores that a manifest row names a unit of; those of plug-in stages are pinned like them."""

_COVERAGE = {"depth_single": "coverage_single", "depth_accumulated": "coverage_accumulated", "depth_clean": "coverage_clean"}


class Params(StageParams):
    """Which key frames become samples, and in which split."""

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType({"splits": SplitChoice()})

    drop_last_keyframe: bool = Field(
        default=True,
        description="leave out the last key frame of every scene (nuScenes convention; false for zju_4dradarcam, kitti_object)",
    )
    splits: SplitChoice = Field(
        default=SplitChoice(),
        description="which scenes are train, val and test, of any source: lists ({train: [scene-a], val: [scene-b]}) or a rule "
        "({share: {train: 0.8, val: 0.2}, seed: 0}). Left out: as the source says",
    )


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Collect the rows of all scenes; the order of ``unit.paths`` is the order of the manifest."""
    if unit.store is None:
        raise AssertionError("the runner gives a stage over the data set its store")
    by_scene: dict[str, dict[str, UnitPath]] = {}
    by_camera: dict[tuple[str, str], dict[str, UnitPath]] = {}
    for path in unit.paths.values():
        if path.camera == ALL:
            by_scene.setdefault(path.scene, {})[path.layout] = path
        else:
            by_camera.setdefault((path.scene, path.camera), {})[path.layout] = path
    samples: list[dict[str, Any]] = []
    num_left_out = num_incomplete = 0
    for (scene, camera), paths in by_camera.items():
        scene_samples, left_out, incomplete = _scene_rows(unit.store, camera, {**by_scene[scene], **paths}, p)
        samples.extend(scene_samples)
        num_left_out += left_out
        num_incomplete += incomplete
    counts = {"samples": float(len(samples)), "scenes": float(len(by_scene))}
    for split in SPLITS:
        counts[split] = float(sum(row["split"] == split for row in samples))
    stores = sorted({path.layout for path in unit.paths.values()})
    spec = MANIFEST.table("samples").with_open_columns(layout.pin for layout in map(layout_named, stores) if layout.is_pinned)
    per_split = [f"{counts[split]:.0f} {split}" for split in SPLITS if counts[split]]
    nouns = ((len(samples), "sample"), (len(by_scene), "scene"))
    message = " of ".join(f"{count} {noun}{'s' if count != 1 else ''}" for count, noun in nouns)
    message += f": {', '.join(per_split)}" if per_split else ""
    if num_in_none := sum(not row["split"] for row in samples):
        message += f"; {num_in_none} in no split"
    if num_left_out:
        message += f"; {num_left_out} left out as last key frame of their scene"
    if remark := remark_on_rule(p.splits, list(by_scene)):
        message += f"; {remark}"
    for count, name, words in (
        (num_incomplete, "frames_left_out", "left out that lack a file"),
        (len(unit.left_out), "scenes_left_out", f"{'scenes' if len(unit.left_out) != 1 else 'scene'} left out for want of files"),
    ):
        if count:
            counts[name] = float(count)
            message += f"; {count} {words}"
    provenance = {"left_out": "; ".join(f"{scene}: {why}" for scene, why in unit.left_out.items())} if unit.left_out else {}
    return StageResult(UnitData(tables={"samples": columns_from_rows(spec, samples)}), counts, message, provenance)


def _scene_rows(store: Store, camera: str, paths: dict[str, UnitPath], p: Params) -> tuple[list[dict[str, Any]], int, int]:
    """Return the rows of one scene and camera, how many frames are left out as the last, and how many as incomplete."""
    index = store.open_unit(paths[FRAMES.name])
    scene = rows(index.table("scene"))[0]
    keyframes = [row for row in rows(index.table("keyframes")) if row["camera"] == camera]
    per_frame = _counts_per_frame(store, paths)
    split = p.splits.split_of(scene["scene"], of_source=scene["split"])
    pinned = {layout_named(store).pin: path.fingerprint for store, path in paths.items()}
    samples = []
    for frame, keyframe in enumerate(keyframes):
        if p.drop_last_keyframe and keyframe["sample_index"] == scene["num_keyframes"] - 1:
            continue
        num_pixels = keyframe["height"] * keyframe["width"]
        row = {
            **keyframe,
            "frame_key": f"{scene['scene']}/{camera}/{keyframe['timestamp_us']}",
            "scene": scene["scene"],
            "frame": frame,
            "split": split,
            "is_night": scene["is_night"],
            "world_from_cam": world_from_cam(keyframe).reshape(-1).tolist(),
            **pinned,
        }
        for name, values in per_frame.items():
            row[name] = values[frame] / num_pixels if name.startswith("coverage") else values[frame]
        samples.append(row)
    return samples, len(keyframes) - len(samples), scene["num_keyframes"] - len(keyframes)


def _counts_per_frame(store: Store, paths: dict[str, UnitPath]) -> dict[str, list[Any]]:
    values_of_column: dict[str, list[Any]] = {}
    for layout, column in _COVERAGE.items():
        if layout in paths:
            values_of_column[column] = store.open_unit(paths[layout]).array("num_measured").tolist()
    if DEPTH_CLEAN.name in paths:
        values_of_column["num_dropped"] = store.open_unit(paths[DEPTH_CLEAN.name]).array("num_dropped").tolist()
    if RADAR_POINTS.name in paths:
        values_of_column["num_radar_points"] = store.open_unit(paths[RADAR_POINTS.name]).array("num_points").tolist()
    if BOXES.name in paths:
        values_of_column["num_boxes"] = _num_boxes(store.open_unit(paths[BOXES.name]))
    return values_of_column


def _num_boxes(unit: StoredUnit) -> list[int | None]:
    """Return the annotated objects of each frame; None for a frame that nobody annotated."""
    boxes = unit.table("boxes")
    num_of_frame = Counter(frame for frame, kind in zip(boxes["frame"], boxes["category"], strict=True) if kind != "DontCare")
    return [num_of_frame[row["frame"]] if row["is_annotated"] else None for row in rows(unit.table("calibration"))]


STAGE = StageSpec(
    "build_manifest",
    version=1,
    reads=(FRAMES, *PINNED),
    optional=PINNED,
    writes=MANIFEST,
    params=Params,
    kernel=kernel,
)
