"""Read a folder in the public text-and-PNG layout into a store; the inverse of export.

Reads  the lists, and every file they name (``semodepth_lists`` says how lines become scenes)
Writes one unit per store, scene and camera, and a manifest that pins them

What the layout does not say stays visibly unknown: tokens are empty strings, intrinsics and poses empty lists, radar
cross-section and velocity NaN, counts of sweeps and points -1. The radar is RADAR_FRONT, which the public layout is made of;
is_night is False, since its column allows no null. D_acc and its cleaned twin exist for train only. No frames unit is made,
since there are no poses to put into it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.exporters.semodepth_files import D_ACC, D_ACC_CLEAN, D_GT, IMAGE, RADAR, ListedStore
from pipeline.exporters.semodepth_lists import ListedFrame, into_units, read_frames
from pipeline.provided_maps import counts_of_maps
from pipeline.types import ALL
from storage_schemas.awaited import counted
from storage_schemas.catalog import MANIFEST, layout_named
from storage_schemas.errors import SourceError
from storage_schemas.image_files import check_pixels, opened_image, refuse_deep_pixels
from storage_schemas.layout import UnitData, columns_from_rows
from storage_schemas.lineage import Identity, SourceRef
from storage_schemas.manifest import Manifest
from storage_schemas.public_files import decode_png, decode_radar
from storage_schemas.store import Store, UnitPath

STAGE_NAME = "import_semodepth"
RELEASE = "semodepth-layout"
VERSION = 1

UNKNOWN_COUNT = -1
"""Stored where the layout does not say a count."""

_FARTHEST = 1e5
"""Neither pixels nor metres of a return are as many."""

_COVERAGE = {D_GT: "coverage_single", D_ACC: "coverage_accumulated", D_ACC_CLEAN: "coverage_clean"}


def import_semodepth(folder: Path, store: Store) -> Manifest:
    """Read a folder in the public layout into a store.

    Units that a former import of the same bytes wrote are not written again.

    Args:
        folder: holds ``training/nuscenes`` or ``validation/nuscenes`` or both.
        store: where units and the manifest are written.

    Raises:
        SourceError: lists of different length, a missing file, depth that is not 16-bit or not of its image's size, radar not
            (n, 3).
        StoreError: the store cannot be written.
    """
    start = time.perf_counter()
    frames = read_frames(folder)
    inputs: dict[str, str] = {}
    row_of_line: dict[tuple[str, int], dict[str, Any]] = {}
    for unit in counted(into_units(frames), "scenes are read"):
        paths = _write_units(folder, unit, store)
        inputs.update({f"{path.layout}/{path.scene}/{path.camera}": path.fingerprint for path in paths.values()})
        for frame, row in zip(unit, _rows(folder, unit, paths, store), strict=True):
            row_of_line[frame.split, frame.line] = row
    samples = [row_of_line[frame.split, frame.line] for frame in frames]
    digest = hashlib.sha256(json.dumps(samples, sort_keys=True).encode()).hexdigest()
    identity = _identity(MANIFEST.name, ALL, ALL, digest, inputs)
    path = UnitPath.of(identity)
    if not store.has(path):
        data = UnitData(tables={"samples": columns_from_rows(MANIFEST.table("samples"), samples)})
        store.write_unit(identity, data, seconds=time.perf_counter() - start, counts={"samples": float(len(samples))})
    return Manifest(store, path, store.open_unit(path).table("samples"))


def _write_units(folder: Path, unit: Sequence[ListedFrame], store: Store) -> dict[ListedStore, UnitPath]:
    """Write the units of one scene and camera, one store in memory at a time; return their paths."""
    paths: dict[ListedStore, UnitPath] = {}
    for listed in unit[0].files:
        start = time.perf_counter()
        contents = [frame.read(listed) for frame in unit]
        lines = [
            f"{_name(folder, frame)} {frame.timestamp_us} {hashlib.sha256(content).hexdigest()}\n"
            for frame, content in zip(unit, contents, strict=True)
        ]
        compared = paths.get(D_ACC) if listed == D_ACC_CLEAN else None
        identity = _identity(
            listed.layout,
            unit[0].scene,
            unit[0].camera,
            hashlib.sha256("".join(lines).encode()).hexdigest(),
            {} if compared is None else {D_ACC.layout: compared.fingerprint},
        )
        paths[listed] = UnitPath.of(identity)
        if not store.has(paths[listed]):
            data = _decode(folder, unit, listed, contents, store, compared)
            counts = {"frames": float(len(unit)), **_counts_of_maps(listed, data)}
            store.write_unit(identity, data, seconds=time.perf_counter() - start, counts=counts)
    return paths


def _counts_of_maps(listed: ListedStore, data: UnitData) -> dict[str, float]:
    """Return what tells maps that cannot be right, as the stages count it that pack a data set's own maps."""
    if listed not in _COVERAGE:
        return {}
    return {"share_measured": float((data.arrays["depth_m"] > 0).mean()), **counts_of_maps(data.arrays["depth_m"])}


def _identity(layout: str, scene: str, camera: str, digest: str, inputs: dict[str, str]) -> Identity:
    return Identity(
        stage=STAGE_NAME,
        stage_version=VERSION,
        layout=layout,
        layout_version=layout_named(layout).version,
        scene=scene,
        camera=camera,
        params={},
        inputs=inputs,
        source=SourceRef(release=RELEASE, digest=digest),
    )


def _name(folder: Path, frame: ListedFrame) -> str:
    """Return an image's path below the folder, or as the list has it where it lies elsewhere."""
    path, root = frame.files[IMAGE], folder.absolute()
    return path.absolute().relative_to(root).as_posix() if path.absolute().is_relative_to(root) else path.as_posix()


def _decode(
    folder: Path,
    unit: Sequence[ListedFrame],
    listed: ListedStore,
    contents: Sequence[bytes],
    store: Store,
    compared: UnitPath | None,
) -> UnitData:
    times = np.array([frame.timestamp_us for frame in unit], np.int64)
    if listed == IMAGE:
        return _images(folder, unit, contents, times)
    if listed == RADAR:
        returns = [decode_radar(content, where=frame.where(listed)) for frame, content in zip(unit, contents, strict=True)]
        for frame, points in zip(unit, returns, strict=True):
            _refuse_absurd(points, where=frame.where(listed))
        return _radar(returns, times)
    steps = np.stack(
        [
            decode_png(content, height=frame.size[0], width=frame.size[1], where=frame.where(listed))
            for frame, content in zip(unit, contents, strict=True)
        ]
    )
    arrays: dict[str, NDArray[Any]] = {
        "depth_m": steps,
        "num_measured": np.count_nonzero(steps, axis=(1, 2)).astype(np.int32),
        "timestamp_us": times,
    }
    unknown = np.full(len(unit), UNKNOWN_COUNT, np.int32)
    if listed == D_ACC:
        arrays.update(num_sweeps=unknown, num_points=unknown.astype(np.int64))
    if listed == D_ACC_CLEAN:
        arrays.update(
            num_candidates=unknown,
            num_by_mono=unknown,
            num_by_window=unknown,
            num_dropped=unknown if compared is None else _num_dropped(steps, store, compared),
        )
    return UnitData(arrays=arrays)


def _refuse_absurd(points: NDArray[np.float64], *, where: str) -> None:
    """Raise SourceError for a return (n, 3) that no radar gives: not finite, behind the camera, or farther than any."""
    with np.errstate(invalid="ignore"):
        is_wrong = ~(np.abs(points) < _FARTHEST).all(axis=1) | ~(points[:, 2] > 0)
    if is_wrong.any():
        raise SourceError(
            f"{where} has {int(is_wrong.sum())} returns like {points[is_wrong][0].tolist()}, expected finite u and "
            "v in pixels and a depth above 0 in metres. Export it again, or leave such returns out"
        )


def _num_dropped(cleaned: NDArray[np.uint16], store: Store, compared: UnitPath) -> NDArray[np.int32]:
    """Count per frame the pixels that D_acc measured and the cleaned map does not."""
    accumulated = store.open_unit(compared)
    counts = [np.count_nonzero((accumulated.array("depth_m", frame) > 0) & (steps == 0)) for frame, steps in enumerate(cleaned)]
    return np.array(counts, np.int32)


def _images(folder: Path, unit: Sequence[ListedFrame], contents: Sequence[bytes], times: NDArray[np.int64]) -> UnitData:
    for frame, content in zip(unit, contents, strict=True):
        with opened_image(content, what=frame.where(IMAGE), remedy="Copy it again") as image:
            refuse_deep_pixels(image, what=frame.where(IMAGE))
        check_pixels(content, what=frame.where(IMAGE), remedy="Copy it again")
    sizes = [len(content) for content in contents]
    encoded = np.zeros((len(contents), max(sizes)), np.uint8)
    for number, content in enumerate(contents):
        encoded[number, : len(content)] = np.frombuffer(content, np.uint8)
    files = {
        "file": [_name(folder, frame) for frame in unit],
        "num_bytes": sizes,
        "sha256": [hashlib.sha256(content).hexdigest() for content in contents],
    }
    arrays: dict[str, NDArray[Any]] = {"encoded": encoded, "num_bytes": np.array(sizes, np.int32), "timestamp_us": times}
    return UnitData(arrays=arrays, tables={"files": files})


def _radar(returns: Sequence[NDArray[np.float64]], times: NDArray[np.int64]) -> UnitData:
    num_points = np.array([len(points) for points in returns], np.int32)
    joined = np.concatenate(returns)
    unknown = np.full(len(joined), np.nan, np.float32)
    return UnitData(
        arrays={
            "u_px": joined[:, 0].copy(),
            "v_px": joined[:, 1].copy(),
            "depth_m": joined[:, 2].copy(),
            "rcs_dbsm": unknown,
            "vx_comp_mps": unknown,
            "vy_comp_mps": unknown,
            "sensor": np.zeros(len(joined), np.uint8),
            "frame_of_point": np.repeat(np.arange(len(returns), dtype=np.int32), num_points),
            "num_points": num_points,
            "timestamp_us": times,
        }
    )


def _rows(folder: Path, unit: Sequence[ListedFrame], paths: dict[ListedStore, UnitPath], store: Store) -> list[dict[str, Any]]:
    """Return the manifest rows of one scene and camera; a list that is missing leaves nulls."""
    counts: dict[str, list[Any]] = {}
    num_pixels = unit[0].size[0] * unit[0].size[1]
    for listed, path in paths.items():
        opened = store.open_unit(path)
        if listed in _COVERAGE:
            counts[_COVERAGE[listed]] = (opened.array("num_measured") / num_pixels).tolist()
        if listed == D_ACC_CLEAN:
            counts["num_dropped"] = [None if count == UNKNOWN_COUNT else count for count in opened.array("num_dropped").tolist()]
        if listed == RADAR:
            counts["num_radar_points"] = opened.array("num_points").tolist()
    pinned = {layout_named(listed.layout).pin: path.fingerprint for listed, path in paths.items()}
    return [
        {
            "frame_key": f"{frame.scene}/{frame.camera}/{frame.timestamp_us}",
            "scene": frame.scene,
            "camera": frame.camera,
            "frame": number,
            "split": frame.split,
            "is_night": False,
            "sample_token": "",
            "sample_data_token": "",
            "timestamp_us": frame.timestamp_us,
            "file": _name(folder, frame),
            "height": frame.size[0],
            "width": frame.size[1],
            "intrinsic_px": [],
            "world_from_cam": [],
            **{name: values[number] for name, values in counts.items()},
            **pinned,
        }
        for number, frame in enumerate(unit)
    ]
