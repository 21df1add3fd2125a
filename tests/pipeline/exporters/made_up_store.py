"""A made-up store with a manifest of a few tiny frames, and readers of what export writes."""

from __future__ import annotations

import hashlib
import io
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from storage_schemas.catalog import MANIFEST, layout_named
from storage_schemas.layout import UnitData, columns_from_rows
from storage_schemas.lineage import Identity
from storage_schemas.manifest import Manifest
from storage_schemas.store import Store, UnitPath

STORES = ("images", "radar_points", "depth_single", "depth_accumulated", "depth_clean")
SCENES = {  # name -> split, camera, (height, width), frames
    "scene-0001": ("train", "CAM_FRONT", (8, 12), 3),
    "scene-0002": ("val", "CAM_FRONT", (8, 12), 2),
    "scene-0003": ("train", "CAM_BACK", (6, 10), 2),
}


class NoRaw:
    """A reader for stores that need none."""

    def read_bytes(self, file):
        raise AssertionError(f"asked for {file}")


class FolderRaw:
    def __init__(self, contents):
        self.contents = contents

    def read_bytes(self, file):
        return self.contents[file]


def jpeg(seed, size):
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def unit_data(layout, size, times, contents, files, *, is_reference):
    rng = np.random.default_rng(len(times))
    times = np.array(times, np.int64)
    count = len(times)
    if layout == "images":
        encoded = np.zeros((count, max(map(len, contents))), np.uint8)
        for k, content in enumerate(contents):
            encoded[k, : len(content)] = np.frombuffer(content, np.uint8)
        arrays = {"num_bytes": np.array([len(content) for content in contents], np.int32), "timestamp_us": times}
        if not is_reference:
            arrays["encoded"] = encoded
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        return UnitData(arrays, {"files": {"file": files, "num_bytes": [len(c) for c in contents], "sha256": digests}})
    if layout == "radar_points":
        per_frame = np.arange(count, dtype=np.int32)  # the first frame has no return
        total = int(per_frame.sum())
        columns = {name: rng.uniform(0, 8, total) for name in ("u_px", "v_px", "depth_m")}
        rest = {name: np.ones(total, np.float32) for name in ("rcs_dbsm", "vx_comp_mps", "vy_comp_mps")}
        of_point = np.repeat(np.arange(count, dtype=np.int32), per_frame)
        return UnitData({**columns, **rest, "sensor": np.zeros(total, np.uint8), "frame_of_point": of_point,
                         "num_points": per_frame, "timestamp_us": times})  # fmt: skip
    steps = rng.integers(0, 65536, (count, *size)).astype(np.uint16)
    steps[:, :2] = 0
    arrays = {"depth_m": steps, "num_measured": np.count_nonzero(steps, axis=(1, 2)).astype(np.int32), "timestamp_us": times}
    for spec in (one for one in layout_named(layout).arrays if one.is_required or one.dims == ("frame",)):
        arrays.setdefault(spec.name, np.zeros(count, spec.dtype))
    return UnitData(arrays)


def made_up_identity(layout, scene, camera):
    place = {"layout": layout, "layout_version": 1, "scene": scene, "camera": camera}
    return Identity(stage="test", stage_version=1, params={}, inputs={}, source=None, **place)


@cache
def _files_of_whole_store(is_reference: bool) -> tuple[dict[str, bytes], Manifest, dict[str, bytes]]:
    with TemporaryDirectory() as folder:
        manifest, raw = _build(Path(folder), SCENES, (), is_reference)
        return (
            {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()},
            manifest,
            raw,
        )


def build(root: Path, scenes=SCENES, *, without=(), is_reference=False) -> tuple[Manifest, dict[str, bytes]]:
    """A store with a manifest; ``without`` holds (scene, store) pairs that are not made. The whole store is computed once."""
    if scenes is not SCENES or without:
        return _build(root, scenes, without, is_reference)
    files, manifest, raw = _files_of_whole_store(is_reference)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return Manifest(Store(root), manifest.path, deepcopy(manifest.samples)), dict(raw)


def _build(root: Path, scenes, without, is_reference) -> tuple[Manifest, dict[str, bytes]]:
    store, rows, raw = Store(root), [], {}
    for number, (scene, (split, camera, size, frames)) in enumerate(scenes.items()):
        times = [1_600_000_000_000_000 + 100_000_000 * number + 500_000 * k for k in range(frames)]
        files = [f"samples/{camera}/n008-log__{camera}__{time}.jpg" for time in times]
        contents = [jpeg(time, size) for time in times]
        raw.update(zip(files, contents, strict=True))
        pins = {}
        for layout in STORES:
            if (scene, layout) in without:
                continue
            identity = made_up_identity(layout, scene, camera)
            data = unit_data(layout, size, times, contents, files, is_reference=is_reference)
            store.write_unit(identity, data, seconds=0.0, counts={})
            pins[f"unit_{layout}"] = identity.fingerprint()
        rows += [
            {"frame_key": f"{scene}/{camera}/{time}", "scene": scene, "camera": camera, "frame": k, "split": split,
             "is_night": False, "sample_token": "t", "sample_data_token": "d", "timestamp_us": time, "file": files[k],
             "height": size[0], "width": size[1], "intrinsic_px": [1.0] * 9, "world_from_cam": [0.0] * 16, **pins}
            for k, time in enumerate(times)
        ]  # fmt: skip
    identity = made_up_identity("manifest", "all", "all")
    data = UnitData(tables={"samples": columns_from_rows(MANIFEST.table("samples"), rows)})
    store.write_unit(identity, data, seconds=0.0, counts={})
    return Manifest(store, UnitPath.of(identity), data.tables["samples"]), raw


def lines(folder: Path, split: str, name: str) -> list[str]:
    long = {"train": "training", "val": "validation"}[split]
    return (folder / long / "nuscenes" / f"nuscenes_{split}_{name}.txt").read_text().splitlines()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the folder's own path cut out of the lists."""
    prefix = str(folder).encode()
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(prefix, b"<out>") if path.suffix == ".txt" else path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip
