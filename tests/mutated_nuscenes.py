"""One small sound nuScenes-format scene, every way to spoil one thing of it, and what depthmill says of each.

The scene has three key frames with CAM_FRONT, LIDAR_TOP (11 sweeps, rings in turn as nuScenes has them) and RADAR_FRONT.
A run of all its stages is kept in memory, so that a mutation costs 0.1 s or less.
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import math
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from flows.run.opening import open_recipe
from flows.settings import Settings
from pipeline.finding import finding_lines
from pipeline.plan import Plan
from pipeline.recipe import parse_recipe
from pipeline.run import SceneMemory, nothing_found, run_item
from pipeline.types import ALL
from storage_schemas.catalog import layout_named
from storage_schemas.errors import DepthmillError
from storage_schemas.layout import check, rows
from storage_schemas.store import UnitPath
from tests.tiny_nuscenes import write_tiny_nuscenes

VERSION = "v1.0-mini"
SCENE = "scene-0061"
RINGS = 32
HUGE = 2**70
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 5\n"

Tables = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Mutation:
    """One thing spoiled.

    Attributes:
        name: table or file, and what was done to it, e.g. ``ego_pose[3].translation[0] = NaN``.
        table: the table, "" for files of sensors.
        field: the field, "" for whole records and files.
        action: what was done, a word of ``Workspace``'s or of a value.
        where: number of the record, or kind of the file.
        apply: does it to a workspace.
    """

    name: str
    table: str
    field: str
    action: str
    where: str
    apply: Callable[[Workspace], None]


@dataclass(frozen=True)
class Outcome:
    """What depthmill made of a mutated set.

    Attributes:
        error: text of errors, "" if every unit was made.
        warnings: counted lines.
        numbers: all numbers of all units; None if there is an error.
        crash: a traceback, "" = none.
    """

    error: str
    warnings: tuple[str, ...]
    numbers: Any
    crash: str = ""


class Workspace:
    """A data root that is spoiled and put right again.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "raw"
        self.cache = folder / "cache"
        write_tiny_nuscenes(self.root, (SCENE,), version=VERSION)
        self.tables: Tables = {path.stem: json.loads(path.read_text()) for path in self._version.glob("*.json")}
        self._make_like_nuscenes()
        self.files = sorted(str(path.relative_to(self.root)) for path in self.root.glob("s*/*/*"))
        self._frames: Any = None
        self.sound = self.run()
        assert not self.sound.error and not self.sound.warnings and not self.sound.crash, self.sound

    @property
    def _version(self) -> Path:
        return self.root / VERSION

    def _make_like_nuscenes(self) -> None:
        """Take CAM_BACK out, and give LiDAR sweeps rings in turn and whole intensities, as nuScenes has them."""
        shutil.rmtree(self.root / "samples" / "CAM_BACK")
        gone = {one["token"] for one in self.tables["sample_data"] if "CAM_BACK" in one["filename"]}
        calibrations = {one["calibrated_sensor_token"] for one in self.tables["sample_data"] if one["token"] in gone}
        keep = {
            "sample_data": lambda one: one["token"] not in gone,
            "ego_pose": lambda one: one["token"] not in gone,
            "calibrated_sensor": lambda one: one["token"] not in calibrations,
            "sensor": lambda one: one["channel"] != "CAM_BACK",
        }
        for name, is_kept in keep.items():
            self.tables[name] = [one for one in self.tables[name] if is_kept(one)]
            self.write_table(name, self.tables[name])
        for path in self.root.glob("s*/LIDAR_TOP/*"):
            points = np.fromfile(path, "<f4").reshape(-1, 5)
            points = points[: len(points) // RINGS * RINGS]
            points[:, 3] = np.rint(points[:, 3])
            points[:, 4] = np.arange(len(points)) % RINGS
            path.write_bytes(points.tobytes())

    def write_table(self, name: str, records: Any) -> None:
        """Write one table."""
        self.put(f"{VERSION}/{name}.json", json.dumps(records).encode())

    def put(self, file: str, content: bytes) -> None:
        """Write one file."""
        (self.root / file).write_bytes(content)

    def spoiled(self, mutation: Mutation) -> Outcome:
        """Return what depthmill says of a mutated set."""
        with self.holding(mutation):
            return self.run(are_files_sound=bool(mutation.table))

    @contextmanager
    def holding(self, mutation: Mutation) -> Iterator[None]:
        """Spoil the set, and put it right again."""
        file = f"{VERSION}/{mutation.table}.json" if mutation.table else mutation.where
        path, sound = self.root / file, (self.root / file).read_bytes()
        try:
            mutation.apply(self)
            yield
        finally:
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
            path.write_bytes(sound)

    def run(self, *, are_files_sound: bool = False) -> Outcome:
        """Plan and run all stages in memory."""
        shutil.rmtree(self.cache, ignore_errors=True)
        data = {
            "source": {"kind": "nuscenes", "root": str(self.root), "version": VERSION},
            "store": str(self.cache / "store"),
            "cameras": ["CAM_FRONT"],
            "stages": {"accumulate_lidar": {"num_sweeps": 5, "moving": "drop"}, "project_boxes": {"enabled": True}},
        }
        try:
            opened = open_recipe(parse_recipe(data, where="test"), Settings(workers=1, cache_dir=self.cache))
            plan = opened.plan()
            raw = opened.source.reader()
            scenes = [scene.name for scene in plan.chosen.scenes]
            frames = {scene: _numbers_of_frames(raw.scene_tables(scene)) for scene in scenes}
        except DepthmillError as error:
            return Outcome(str(error), (), None)
        except Exception:
            return Outcome("", (), None, traceback.format_exc())
        frames_numbers = [*frames.values()]
        if are_files_sound and frames_numbers == self._frames:  # stages depend on nothing else
            return Outcome("", tuple(plan.warnings()), self.sound.numbers)
        if self._frames is None:
            self._frames = frames_numbers
        return _run_in_memory(plan, opened.recipe, raw, frames_numbers)


class _NoStore:
    """Checks units and forgets them."""

    def write_unit(self, identity: Any, data: Any, **_: Any) -> SimpleNamespace:
        check(layout_named(identity.layout), data, where=UnitPath.of(identity).key)
        return SimpleNamespace(files={})  # of the record, a run reads the sizes of files


def _run_in_memory(plan: Plan, recipe: Any, raw: Any, frames: Any) -> Outcome:
    memory, results, failed = SceneMemory(), [], set()
    for item in plan.items:
        if item.identity.scene == ALL:
            continue
        if failed.intersection(item.inputs.values()):
            failed.add(item.path)
            continue
        result = run_item(item, recipe, _NoStore(), raw, memory, keep=True)
        results.append((item, result))
        if result.status != "OK":
            failed.add(item.path)
    errors = [result.message for _, result in results if result.status == "ERROR"]
    if errors:
        text = "\n".join(errors)
        return Outcome(text, (), None, text if "Traceback" in text else "")
    counts = [(item.identity, result.counts) for item, result in results]
    warnings = [*plan.warnings(), *finding_lines(nothing_found(counts), len(plan.chosen.scenes))]
    units = {
        path.layout: (
            _arrays(data),
            {name: _without(columns, "file", "instance_token", "sha256", "num_bytes") for name, columns in data.tables.items()},
        )
        for path, data in memory.units.items()
        if path.layout != "frames"
    }
    return Outcome("", tuple(warnings), (units, frames))


def _arrays(data: Any) -> dict[str, Any]:
    """Return the bytes of a unit's arrays; images as their pixels, whatever stands behind them in the file."""
    arrays = {name: (array.shape, array.tobytes()) for name, array in data.arrays.items()}
    if "encoded" in arrays:
        del arrays["num_bytes"]
        arrays["encoded"] = [_pixels(encoded.tobytes()) for encoded in data.arrays["encoded"]]
    return arrays


def _pixels(content: bytes) -> bytes:
    try:
        return np.asarray(Image.open(io.BytesIO(content))).tobytes()
    except (OSError, SyntaxError):
        return content


def _without(columns: Any, *names: str) -> dict[str, Any]:
    """Return columns but these; of q and -q, which are one rotation, the same."""
    return {
        name: [_one_of_two(value) for value in values] if name.endswith("_wxyz") else list(values)
        for name, values in columns.items()
        if name not in names
    }


def _one_of_two(rotation: list[float]) -> list[float]:
    first = next((number for number in rotation if number), 1.0)
    return [number + 0.0 if first > 0 else 0.0 - number for number in rotation]


def _numbers_of_frames(tables: Any) -> Any:
    """Return what the index says, without words and tokens; which boxes are of one object is kept."""
    keyframes = _without(tables["keyframes"], "file", "sample_token", "sample_data_token")
    sweeps = _without(tables["sweeps"], "file")
    boxes = sorted(rows(tables["boxes"]), key=lambda box: (box["sample_index"], box["center_m"], box["size_wlh_m"]))
    objects: dict[str, int] = {}
    numbers = [
        (
            objects.setdefault(box["instance_token"], len(objects)),
            _without({k: [v] for k, v in box.items()}, "annotation_token", "instance_token"),
        )
        for box in boxes
    ]
    scene = _without(tables["scene"], "scene", "description")
    return json.dumps([keyframes, sweeps, numbers, scene])


# --- tables --------------------------------------------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "null": None,
    "NaN": math.nan,
    "0": 0,
    "-1": -1,
    "1e300": 1e300,
    "2**70": HUGE,
    "text": "nonsense",
    "empty text": "",
    "empty list": [],
    "true": True,
    "object": {"a": 1},
}
ELEMENTS: dict[str, Any] = {"null": None, "NaN": math.nan, "0": 0, "1e300": 1e300, "2**70": HUGE, "text": "x"}


def mutations(space: Workspace) -> list[Mutation]:
    """Return every mutation of tables and files, in a fixed order."""
    return [*_of_tables(space), *_of_times(space), *_of_files(space)]


def _of_tables(space: Workspace) -> Iterator[Mutation]:
    for table, records in sorted(space.tables.items()):
        for number in _chosen(table, records):
            record = records[number]
            for field, value in record.items():
                yield from _of_field(table, number, field, value)
            yield _change(table, "", "removed record", str(number), lambda all, n=number: all.pop(n))
            yield _change(table, "", "duplicated record", str(number), lambda all, n=number: all.append(copy.deepcopy(all[n])))
            for wrong in (None, 5, [], {}, "text"):
                yield _change(
                    table, "", f"record = {wrong!r}", str(number), lambda all, n=number, wrong=wrong: all.__setitem__(n, wrong)
                )
        for one, other in itertools.pairwise(_chosen(table, records)):
            for field in records[one]:
                if records[one][field] != records[other][field]:
                    yield _change(
                        table, field, "swapped", f"{one}, {other}", lambda all, a=one, b=other, f=field: _swap(all[a], all[b], f)
                    )
        for label, records_instead in (("no record", []), ("an object", {}), ("null", None), ("a number", 5), ("text", "text")):
            yield Mutation(
                f"{table} = {label}",
                table,
                "",
                "replaced",
                label,
                lambda space, t=table, r=records_instead: space.write_table(t, r),
            )


def _chosen(table: str, records: list[dict[str, Any]]) -> list[int]:
    """Return numbers of records: of each channel the first, one in the middle and the last; of small tables all."""
    if len(records) <= 8:
        return list(range(len(records)))
    radar = [number for number, one in enumerate(records) if number >= 14]
    return sorted({0, 1, 5, 10, 11, 12, *radar})


def _of_field(table: str, number: int, field: str, value: Any) -> Iterator[Mutation]:
    for label, wrong in VALUES.items():
        if not _is_same(wrong, value):
            yield _change(table, field, label, str(number), lambda all, n=number, f=field, w=wrong: all[n].__setitem__(f, w))
    yield _change(table, field, "removed", str(number), lambda all, n=number, f=field: all[n].pop(f))
    for path, old in _elements(value):
        is_number = isinstance(old, int | float)
        of_element = {**ELEMENTS, **({"negative": -old - (old == 0), "+ 2": old + 2} if is_number else {})}
        for label, wrong in of_element.items():
            if not _is_same(wrong, old):
                yield _change(
                    table,
                    f"{field}{list(path)}",
                    label,
                    str(number),
                    lambda all, n=number, f=field, p=path, w=wrong: _set(all[n][f], p, w),
                )
    if isinstance(value, list) and value:
        yield _change(table, field, "one longer", str(number), lambda all, n=number, f=field: all[n][f].append(0.0))
        yield _change(table, field, "one shorter", str(number), lambda all, n=number, f=field: all[n][f].pop())


def _is_same(wrong: Any, value: Any) -> bool:
    return type(wrong) is type(value) and wrong == value


def _elements(value: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    for number, element in enumerate(value if isinstance(value, list) else ()):
        if isinstance(element, list):
            yield from (((number, *path), inner) for path, inner in _elements(element))
        else:
            yield (number,), element


def _set(inside: list[Any], path: tuple[int, ...], value: Any) -> None:
    for number in path[:-1]:
        inside = inside[number]
    inside[path[-1]] = value


def _swap(one: dict[str, Any], other: dict[str, Any], field: str) -> None:
    one[field], other[field] = other[field], one[field]


def _change(table: str, field: str, action: str, where: str, change: Callable[[Any], object]) -> Mutation:
    def apply(space: Workspace) -> None:
        records = copy.deepcopy(space.tables[table])
        change(records)
        space.write_table(table, records)

    of_field = f".{field}" if field else ""
    return Mutation(f"{table}[{where}]{of_field}: {action}", table, field, action, where, apply)


def _of_times(space: Workspace) -> Iterator[Mutation]:
    """Times in other units or with an offset, of one table, of one channel, of one record."""
    scales = {"seconds": 1e-6, "milliseconds": 1e-3, "nanoseconds": 1e3}
    offsets = {"+ 1 s": 10**6, "+ 1 h": 3600 * 10**6, "- 0.2 s": -200_000, "+ 30 ms": 30_000}
    changes = {name: lambda t, f=factor: int(t * f) for name, factor in scales.items()}
    changes |= {name: lambda t, by=by: t + by for name, by in offsets.items()}
    changes["whole seconds"] = lambda t: t // 10**6 * 10**6
    for label, of_time in changes.items():
        for table in ("sample", "sample_data", "ego_pose"):
            yield _times(table, label, "all", of_time, lambda one: True)
            yield _times(table, label, "the second", of_time, lambda one, t=table: one is space.tables[t][1])
        for channel in ("CAM_FRONT", "LIDAR_TOP", "RADAR_FRONT"):
            yield _times("sample_data", label, channel, of_time, lambda one, c=channel: c in one["filename"])


def _times(table: str, label: str, which: str, of_time: Callable[[int], int], is_meant: Callable[[Any], bool]) -> Mutation:
    def apply(space: Workspace) -> None:
        new = [{**one, "timestamp": of_time(one["timestamp"])} if is_meant(one) else one for one in space.tables[table]]
        space.write_table(table, new)

    return Mutation(f"{table}[{which}].timestamp: in {label}", table, "timestamp", label, which, apply)


# --- files ---------------------------------------------------------------------------------------------------------------


def _of_files(space: Workspace) -> Iterator[Mutation]:
    chosen = [
        name
        for channel in ("samples/LIDAR_TOP", "sweeps/LIDAR_TOP", "samples/CAM_FRONT", "samples/RADAR_FRONT")
        for name in [one for one in space.files if one.startswith(channel)][:3]
    ]
    tables = [f"{VERSION}/{name}.json" for name in sorted(space.tables)]
    for file in (*chosen, *tables):
        content = (space.root / file).read_bytes()
        table = Path(file).stem if file in tables else ""
        for label, new in _contents(space, file, content):
            if new != content:
                yield Mutation(f"{file}: {label}", table, "", label, file, lambda space, f=file, new=new: space.put(f, new))
        for label, make in _KINDS.items():
            yield Mutation(
                f"{file}: {label}", table, "", label, file, lambda space, f=file, make=make: _replace(space.root / f, make)
            )


def _contents(space: Workspace, file: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(len(content))
    size = len(content)
    yield "emptied", b""
    yield "Git LFS pointer", LFS
    yield "text", b"<html>not found</html>\n"
    for cut in sorted(
        {1, 4, *rng.integers(1, size, 6).tolist(), size // 2, size - 1, size - 20, size - 640} & set(range(1, size))
    ):
        yield f"cut to {cut}", content[:cut]
    for block in range(4096, size, 4096):
        yield f"cut to {block} (block)", content[:block]
        yield f"zeros from {block} on", content[:block] + bytes(size - block)
        yield f"zeros in the block at {block}", content[:block] + bytes(min(4096, size - block)) + content[block + 4096 :]
    middle = size // 2
    yield "zeros in the middle", content[: middle - 50] + bytes(100) + content[middle + 50 :]
    yield "zeros at all", bytes(size)
    yield "twice", content * 2
    yield "zeros appended", content + bytes(4096)
    for count in (1, 8, 100):
        for _ in range(3):
            noisy = np.frombuffer(content, np.uint8).copy()
            noisy[rng.integers(0, size, count)] ^= (1 << rng.integers(0, 8, count)).astype(np.uint8)
            yield f"{count} bits flipped", noisy.tobytes()
    yield "noise", rng.integers(0, 256, size, dtype=np.uint8).tobytes()
    if file in space.files:
        channel = file.split("/")[1]
        others = [one for one in space.files if one != file]
        same = next(one for one in reversed(others) if f"/{channel}/" in one)
        yield "that of another time", (space.root / same).read_bytes()
        for other in ("LIDAR_TOP", "CAM_FRONT", "RADAR_FRONT"):
            if other != channel:
                yield f"a file of {other}", (space.root / next(one for one in others if other in one)).read_bytes()


_KINDS: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: None,
    "a folder": os.mkdir,
    "a FIFO": os.mkfifo,
    "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nowhere": lambda path: path.symlink_to("/nowhere/at/all"),
}


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)
