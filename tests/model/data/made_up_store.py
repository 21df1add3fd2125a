"""A small store written unit by unit, so that every number in it is known: scenes of random frames, and a manifest over them."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage_schemas.catalog import DEPTH_CLEAN, IMAGES, MANIFEST, RADAR_POINTS, layout_named
from storage_schemas.layout import UnitData, columns_from_rows
from storage_schemas.lineage import Identity
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.store import Store, UnitPath

DEPTH_STORES = ("depth_clean", "depth_single", "depth_mono")


@dataclass
class MadeUpStore:
    """What was written: the manifest, and per frame key the arrays that went in."""

    manifest: Manifest
    image_files: dict[str, bytes] = field(default_factory=dict)
    depth: dict[tuple[str, str], NDArray[np.uint16]] = field(default_factory=dict)
    radar: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    confidence: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


def write_store(
    root: str | Path,
    *,
    frames: tuple[int, ...] = (5, 7, 4),
    height: int = 18,
    width: int = 26,
    split: str = "train",
    without: dict[str, tuple[str, ...]] | None = None,
    sizes: dict[str, tuple[int, int]] | None = None,
    image_root: Path | None = None,
    accumulated: Literal["none", "plain", "with confidence"] = "none",
) -> MadeUpStore:
    """Write scenes of the given numbers of frames.

    Args:
        root: of the store.
        frames: frames of each scene.
        height: rows.
        width: columns.
        split: of every scene.
        without: stores that a scene lacks.
        sizes: (height, width) of a scene's images, where it differs.
        image_root: write image files there and only refer to them.
        accumulated: whether there is a store depth_accumulated, and with confidence.
    """
    store, made = Store(root), MadeUpStore(None)  # type: ignore[arg-type]
    rows: list[dict[str, Any]] = []
    inputs: dict[str, str] = {}
    for number, count in enumerate(frames):
        scene = f"scene-{number:04d}"
        lacking = (without or {}).get(scene, ())
        rng = np.random.default_rng(number)
        high, wide = (sizes or {}).get(scene, (height, width))
        keys = [f"{scene}/CAM_FRONT/{10**15 * (number + 1) + 500_000 * k}" for k in range(count)]
        units = {
            "images": _images(rng, keys, high, wide, image_root, made),
            **{name: _depth(rng, name, keys, height, width, made) for name in DEPTH_STORES},
            "radar_points": _radar(rng, keys, height, width, made),
        }
        if accumulated != "none":
            units["depth_accumulated"] = _accumulated(units["depth_clean"], keys, made, has_confidence=accumulated != "plain")
        pins = {}
        for name, data in units.items():
            if name not in lacking:
                identity = _identity(name, scene)
                store.write_unit(identity, data, seconds=0.0, counts={})
                pins[f"unit_{name}"] = inputs[f"{name}/{scene}/CAM_FRONT"] = identity.fingerprint()
        rows += [_row(key, k, high, wide, split, is_night=number % 2 == 1, pins=pins) for k, key in enumerate(keys)]
    samples = columns_from_rows(MANIFEST.table("samples"), rows)
    store.write_unit(_identity("manifest", "all", inputs), UnitData(tables={"samples": samples}), seconds=0.0, counts={})
    made.manifest = open_manifest(store)
    return made


def remove_unit(manifest: Manifest, frame_key: str, layout: str) -> UnitPath:
    """Prune the unit that holds a frame's data of one store; return its path."""
    row = next(row for row in manifest.rows() if row["frame_key"] == frame_key)
    path = manifest.unit_of(row, layout)
    assert path is not None
    manifest.store.files.remove_tree(path.key)
    return path


def _identity(layout: str, scene: str, inputs: dict[str, str] | None = None) -> Identity:
    return Identity(
        stage="made_up", stage_version=1, layout=layout, layout_version=layout_named(layout).version, scene=scene,
        camera="all" if scene == "all" else "CAM_FRONT", params={}, inputs=inputs or {}, source=None,
    )  # fmt: skip


def _row(key: str, frame: int, height: int, width: int, split: str, *, is_night: bool, pins: dict[str, str]) -> dict[str, Any]:
    scene, camera, time_us = key.split("/")
    return {
        "frame_key": key, "scene": scene, "camera": camera, "frame": frame, "split": split, "is_night": is_night,
        "sample_token": key, "sample_data_token": key, "timestamp_us": int(time_us), "file": _file(key), "height": height,
        "width": width, "intrinsic_px": [20.0, 0.0, 13.5, 0.0, 21.0, 8.25, 0.0, 0.0, 1.0],
        "world_from_cam": np.eye(4).reshape(-1).tolist(), **pins,
    }  # fmt: skip


def _file(key: str) -> str:
    return f"samples/CAM_FRONT/{key.replace('/', '_')}.jpg"


def _times(keys: list[str]) -> NDArray[np.int64]:
    return np.array([int(key.rsplit("/", 1)[1]) for key in keys])


def _images(
    rng: np.random.Generator, keys: list[str], height: int, width: int, image_root: Path | None, made: MadeUpStore
) -> UnitData:
    contents = []
    for key in keys:
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(stream, "JPEG", quality=95)
        contents.append(stream.getvalue())
        made.image_files[key] = contents[-1]
        if image_root is not None:
            (image_root / _file(key)).parent.mkdir(parents=True, exist_ok=True)
            (image_root / _file(key)).write_bytes(contents[-1])
    sizes = [len(content) for content in contents]
    arrays: dict[str, NDArray[Any]] = {"num_bytes": np.array(sizes, np.int32), "timestamp_us": _times(keys)}
    if image_root is None:
        arrays["encoded"] = np.zeros((len(keys), max(sizes)), np.uint8)
        for frame, content in enumerate(contents):
            arrays["encoded"][frame, : len(content)] = np.frombuffer(content, np.uint8)
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    files = {"file": [_file(key) for key in keys], "num_bytes": sizes, "sha256": digests}
    assert IMAGES.table("files")
    return UnitData(arrays=arrays, tables={"files": files})


def _depth(rng: np.random.Generator, name: str, keys: list[str], height: int, width: int, made: MadeUpStore) -> UnitData:
    share = {"depth_single": 0.05, "depth_clean": 0.4, "depth_mono": 1.0}[name]
    shape = (len(keys), height, width)
    steps = np.where(rng.random(shape) < share, rng.integers(256, 60 * 256, shape), 0).astype(np.uint16)
    if name == "depth_single":
        steps[0] = 0  # a frame without any measurement is not stored at all
    made.depth.update({(key, name): one for key, one in zip(keys, steps, strict=True)})
    arrays: dict[str, NDArray[Any]] = {
        "depth_m": steps,
        "num_measured": np.count_nonzero(steps, axis=(1, 2)).astype(np.int32),
        "timestamp_us": _times(keys),
    }
    if name == DEPTH_CLEAN.name:
        for counter in ("num_candidates", "num_by_mono", "num_by_window", "num_dropped"):
            arrays[counter] = np.zeros(len(keys), np.int32)
    return UnitData(arrays=arrays)


def _accumulated(clean: UnitData, keys: list[str], made: MadeUpStore, *, has_confidence: bool) -> UnitData:
    arrays = {name: clean.arrays[name] for name in ("depth_m", "num_measured", "timestamp_us")}
    arrays |= {"num_sweeps": np.ones(len(keys), np.int32), "num_points": np.ones(len(keys), np.int64)}
    if has_confidence:
        rng = np.random.default_rng(len(keys))
        arrays["confidence"] = rng.integers(0, 256, arrays["depth_m"].shape, dtype=np.uint8)
        made.confidence.update(zip(keys, arrays["confidence"], strict=True))
    return UnitData(arrays=arrays)


def _radar(rng: np.random.Generator, keys: list[str], height: int, width: int, made: MadeUpStore) -> UnitData:
    counts = rng.integers(0, 9, len(keys))
    total = int(counts.sum())
    points = np.stack([rng.uniform(1, width - 1, total), rng.uniform(1, height - 1, total), rng.uniform(2, 150, total)], axis=1)
    for k, (key, stop) in enumerate(zip(keys, np.cumsum(counts), strict=True)):
        made.radar[key] = points[stop - counts[k] : stop]
    dtypes = {spec.name: spec.dtype for spec in RADAR_POINTS.arrays}
    arrays: dict[str, NDArray[Any]] = {
        name: np.zeros(total, dtypes[name]) for name in ("rcs_dbsm", "vx_comp_mps", "vy_comp_mps", "sensor")
    }
    arrays.update({"u_px": points[:, 0], "v_px": points[:, 1], "depth_m": points[:, 2]})
    arrays["frame_of_point"] = np.repeat(np.arange(len(keys), dtype=np.int32), counts)
    arrays.update({"num_points": counts.astype(np.int32), "timestamp_us": _times(keys)})
    return UnitData(arrays=arrays)
