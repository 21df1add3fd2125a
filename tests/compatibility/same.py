"""Compare what two codes wrote and printed, leaving out only what no two runs have alike: times, hosts, commits."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from pipeline.verify import all_units
from storage_schemas.store import Store

VOLATILE = {
    "seconds", "written_utc", "finished_utc", "started_utc", "promoted_utc", "provenance", "commit", "is_dirty", "versions", "estimated_seconds",
}  # fmt: skip
"""Keys of JSON files, and columns of tables, that say when, where or by which commit."""

ADDED = [
    ("warnings", []), ("leftovers", 0), ("leftovers", []), ("derived", []), ("held", []), ("not_ended", None),
    ("precision", "float32"), ("trained_in", "float32"), ("measured_in", "float32"), ("going_on", []), ("preset", "surface"),
]  # fmt: skip
"""Keys that answers have gained since, with what they hold where there is nothing to say; of sound data there is nothing."""

DIFFERS = {
    "without_checksums", "choice", "cpu_threads", "low", "high", "num_scenes", "share_of_frames", "share_of_pixels", "least_share",
    "needs_interval", "record_sha256", "share_of_clips", "share_of_rays",
}  # fmt: skip
"""Keys that differ by intent: units had no checksums, and intervals were drawn by frames (CHANGELOG says so)."""

NEW_ARRAYS = {"class_heat", "heat_classes", "reasons", "num_missed", "num_false", "depth_error_m", "error_of"}
"""Arrays of a detector's pictures.npz that former versions did not write."""

NEW_COORDINATES = {"time", "intrinsic_px", "world_from_cam"}
"""Coordinates that ``open_dataset`` gives since."""

SAID_ANEW = (
    ("nearest return or front surface of each pixel", "nearest return per pixel"),
    ("hang over the horizon or lie behind a surface", "hang over the horizon"),
    (": the nearest of the accumulated LiDAR returns, or their front surface", ", nearest of all accumulated LiDAR returns"),
    ("pixels or boxes the frame was fitted to", "radar pixels the frame was fitted to"),
    (", and depthmill.schema.json beside it for editors", ""),
)
"""What texts say today, and what they said."""

NEW_FILES = ("digests.json", "measured_frames.parquet", "objects.parquet", "cameras.parquet", "depthmill.schema.json")
"""Files that former versions did not write."""

CHANGED_PLACES = ("project_boxes", "align_mono_depth")
"""Stages that ran the other way round: the second may read what the first writes, since maps can be scaled by boxes."""

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d[:-]\d\d([:-]\d\d)?([.-]\d+)?(\+00:00)?(-[0-9a-f]{6}\b)?"  # time stamps and names of runs
    r"|\b\d+(\.\d+)?[ \u00a0\u202f](s|min|h)\b"  # how long something took
)
_SAID_SINCE = re.compile(
    r", computed in float32|Computed in float32\.\n*"
    r"|^\d+ units? of an older depthmill without checksums.*\n|^no interval: .*\n|^best\.pt: chosen and measured.*\n"
    r"|^[a-z][^\n]* \.\.\.\n",  # progress, where something took long
    re.MULTILINE,
)
_INTERVAL = re.compile(r" +(none|\[[-+]\d[^\]]*\]) +")
_MARKUP = re.compile(r"<style.*?</style>|<script.*?</script>", re.DOTALL)
_FRAMES = re.compile(r'<section id="frames".*?</section>', re.DOTALL)
_SINCE = re.compile(r'<section id="analysis".*?</section>', re.DOTALL)
_FIGURE = re.compile(r"data:image/[^\"')]+|[-+]?\d+\.\d+")


def steady_text(text: str) -> str:
    """Return a printed text without times and progress, in former words."""
    for today, former in SAID_ANEW:
        text = text.replace(today, former)
    return _TIME.sub("TIME", _INTERVAL.sub(" INTERVAL ", _SAID_SINCE.sub("", text)))


def steady_json(value: Any) -> Any:
    """Return a JSON value without volatile keys, and without times in its texts."""
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if key not in VOLATILE | DIFFERS and (key, one) not in ADDED}
        return {key: steady_json(one) for key, one in kept.items()}
    if isinstance(value, list):
        return in_former_order([steady_json(one) for one in value])
    return steady_text(value) if isinstance(value, str) else value


def in_former_order(items: list[Any]) -> list[Any]:
    """Return lines, or items of JSON, with those of the stages that changed places as they stood before."""
    at = [number for number, item in enumerate(items) if _stage_of(item) in CHANGED_PLACES]
    before = sorted((items[number] for number in at), key=lambda item: -CHANGED_PLACES.index(_stage_of(item)))
    return [before[at.index(number)] if number in at else item for number, item in enumerate(items)]


def _stage_of(item: Any) -> str:
    if isinstance(item, dict):
        return str(item.get("stage"))
    return next(iter(str(item).split()), "")


def steady_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer of ``commands.py`` without times; JSON is compared as values, other texts as they are."""
    try:
        text = steady_json(json.loads(answer["text"]))
    except ValueError:
        text = in_former_order(steady_text(answer["text"]).splitlines())
    return {**answer, "text": text}


def steady_file(path: Path) -> Any:
    """Return what of a file must be the same whenever it is written.

    Tables and JSON without volatile columns and keys; of a page its pictures and decimal numbers, whatever the words between them;
    of a recipe the keys and values, whatever its comments say; of everything else all bytes. The frames of a detector are drawn anew:
    what they are made of is compared, not how they look.
    """
    if path.suffix == ".json":
        return steady_json(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as stream:
            return [{key: value for key, value in row.items() if key not in VOLATILE} for row in csv.DictReader(stream)]
    if path.suffix == ".yaml":
        return steady_json(yaml.safe_load(path.read_text(encoding="utf-8")))
    if path.suffix in (".md", ".tex", ".txt"):
        return steady_text(path.read_text(encoding="utf-8")).splitlines()
    if path.suffix == ".html":
        page = _SINCE.sub("", _MARKUP.sub("", path.read_text(encoding="utf-8")))
        return sorted(
            _FIGURE.findall(steady_text(_FRAMES.sub(lambda found: "" if "Boxes in space" in found[0] else found[0], page)))
        )  # sections have moved
    if path.name == "pictures.npz":
        with np.load(path) as arrays:
            return {name: (arrays[name].shape, arrays[name].tobytes()) for name in arrays.files if name not in NEW_ARRAYS}
    if path.suffix == ".jpg" and is_of_a_detector(path):
        return "drawn"
    if path.suffix == ".parquet":  # the values, since tables carry a digest now
        table = pq.read_table(path)
        return str(table.schema), repr(table.to_pydict())
    return path.read_bytes()


def is_of_a_detector(picture: Path) -> bool:
    """Say whether a picture lies beside KITTI result files."""
    return any(any((picture.parent.parent / name).glob("*.txt")) for name in ("results", "data"))


def steady_folder(folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what of a folder must be the same, by relative path; ``without`` names files or folders that are left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not set(relative.parts) & {*without, *NEW_FILES}:
            found[str(relative)] = steady_file(path)
    return found


def differing(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the names whose content differs, or that only one side has."""
    both = before.keys() & after.keys()
    return sorted((before.keys() ^ after.keys()) | {name for name in both if before[name] != after[name]})


def stored_values(root: Path) -> dict[str, Any]:
    """Return what every unit of a store says of itself and holds: identity, arrays and tables, whatever the bytes on the disk."""
    store, found = Store(root), {}
    for path in all_units(store):
        data = store.read_unit(path)
        arrays = {name: (str(values.dtype), values.shape, values.tobytes()) for name, values in data.arrays.items()}
        found[path.key] = (store.lineage(path).identity.model_dump(mode="json"), arrays, repr(data.tables))
    return found
