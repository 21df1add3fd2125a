"""What depthmill wrote into a training's folder, so that nothing else is ever deleted from it.

Why    A folder given with --out may hold a user's files, and a file named last.pt or steps.csv may be anybody's.
How    A file is depthmill's if its bytes are those that ``written.json`` names, or if its content says so: the keys of a
       checkpoint, the columns of a record. Files that grow while a training runs, and what a killed one leaves, are known by
       content alone; so are the files of former versions, which wrote no ``written.json``. A link is never depthmill's.
       Once an evaluation has come to its end, only what ``written.json`` names is known of it.
Reads, writes  <training>/written.json
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from storage_schemas.errors import DepthmillError, StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.folder_lock import LOCK_FILE
from storage_schemas.regular_files import read_regular

WRITTEN_FILE = "written.json"
_WRITTEN_KEY = "depthmill wrote these files, by SHA-256"
_UNFINISHED_KEY = "and more, which a killed process could not name"
_PARTS = ("evaluation", "champion", "probe", "checkpoints", "tensorboard")
"""Folders that trainings write into."""

_KEPT = re.compile(r"checkpoints/step_\d+/")
"""Beginning of what an evaluation of a kept checkpoint writes."""

_HEAD_BYTES = 1 << 16


def _is_checkpoint(head: bytes) -> bool:
    """Say whether bytes begin a checkpoint, also one with a flipped bit: its first keys and its configuration come first."""
    marks = (b"data.pkl", b"format", b"manifest", b"model_state_dict", b'"family":', b'"accumulate":')
    return sum(mark in head for mark in marks) >= len(marks) - 1


def _is_record(head: bytes) -> bool:
    line = head.split(b"\n", 1)[0].strip()
    return line.startswith(b"step,epoch,samples,") and line.endswith(b",lr,seconds")


def _is_evaluation_record(head: bytes) -> bool:
    from model.families import FAMILIES

    line = head.split(b"\n", 1)[0].strip().decode("utf-8", "replace").split(",")
    return any(line == ["step", *family.evaluation_columns] for family in FAMILIES)


def _is_training(head: bytes) -> bool:
    keys = (b'"name"', b'"config"', b'"manifest"', b'"num_steps"', b'"finished_utc"')
    return head.lstrip().startswith(b"{") and sum(key in head for key in keys) >= 4


def _has(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda head: all(mark in head for mark in marks)


_CORE: Mapping[str, Callable[[bytes], bool]] = {
    "last.pt": _is_checkpoint,
    "best.pt": _is_checkpoint,
    "steps.csv": _is_record,
    "evaluations.csv": _is_evaluation_record,
    "training.json": _is_training,
    WRITTEN_FILE: _has(_WRITTEN_KEY.encode()),
}
"""Files that every training writes, and how each is known."""

_OTHERS: Mapping[str, Callable[[bytes], bool]] = {
    r"(checkpoints/)?\.(last|best|step_\d+)\.pt\.[0-9a-f]{32}": lambda head: not head or b"data.pkl" in head[:512],  # half of one
    r"checkpoints/step_\d+\.pt": _is_checkpoint,
    r"checkpoints/evaluated\.json": _has(b'"rows"', b'"record_sha256"'),
    r"checkpoints/table\.md": _has(b"|"),
    r"tensorboard/events\.out\.tfevents\.[^/]+": _has(b"brain.Event:2"),
    r"loggers\.json": _has(b'"place"', b'"run"'),
    r"report\.html": _has(b"<!doctype html>", b"depthmill report"),
    r"(evaluation|champion)/(.+/)?(frames|ranges|measured_frames|objects)\.parquet": _has(b"PAR1"),
    r"(evaluation|champion)/digests\.json": _has(b'"record_sha256"'),
    r"(evaluation|champion|probe)/(.+/)?table\.md": _has(b"|"),
    r"(evaluation|champion)/(.+/)?table\.tex": _has(rb"\begin{table}"),
    r"evaluation/(.+/)?(strips|pictures|rendered_views)\.npz": _has(b"PK\x03\x04", b".npy"),
    r"(evaluation|champion)/average_precision\.csv": _has(b"category,metric,overlap"),
    r"(evaluation|champion)/(rendering|clips|rows)\.csv": _has(b","),
    r"(evaluation|champion)/results/[^/]+\.txt": lambda head: len(head.split(b"\n", 1)[0].split()) in (0, 16),
    r"probe/probes\.json": _has(b'"rows"'),
}
"""Other files by a pattern of their path; used where ``written.json`` does not know them."""


class ForeignFilesError(DepthmillError):
    """A folder holds files that depthmill did not write where a training would write."""


@contextmanager
def noted_files(folder: Path) -> Iterator[None]:
    """Note the digests of all files that are written into a training's folder within the block, which holds its lock."""
    before = {path: _stamp(path) for path in _files(folder)}
    written = _written(folder)
    _note(folder, written, {_UNFINISHED_KEY: True})
    yield
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if before.get(path) != _stamp(path) and name not in _CORE and not name.startswith(("tensorboard/", "report.html")):
            written[name] = _digest(path)
    _note(folder, written)


def _note(folder: Path, written: Mapping[str, str], more: Mapping[str, bool] | None = None) -> None:
    content = {_WRITTEN_KEY: dict(sorted(written.items())), **(more or {})}
    StoreFiles(folder).put(WRITTEN_FILE, json.dumps(content, indent=1).encode())


def holds_training(folder: Path) -> bool:
    """Say whether depthmill has begun a training in a folder.

    Raises:
        ForeignFilesError: a file that a training would replace was not written by depthmill.
    """
    present = [name for name in _CORE if os.path.lexists(folder / name)]
    written = _written(folder)
    foreign = [folder / name for name in present if not _is_own(folder, folder / name, written)]
    _refuse_foreign(folder, [*foreign, *_misplaced(folder, written, is_complete="training.json" in present)])
    return bool(present)


def clear_training(folder: Path) -> list[str]:
    """Delete what depthmill wrote into a training's folder, and folders that are empty then.

    Returns:
        What stays, because depthmill did not write it: paths below the folder.

    Raises:
        ForeignFilesError: a file that a training would replace is not depthmill's, or was changed since; nothing was deleted.
        StoreError: a file cannot be deleted.
    """
    written = _written(folder)
    own: list[Path] = []
    kept: list[Path] = []
    for path in _files(folder):
        (own if _is_own(folder, path, written) else kept).append(path)
    foreign = [path for path in kept if path.relative_to(folder).as_posix() in {*_CORE, *written}]
    _refuse_foreign(folder, sorted({*foreign, *_misplaced(folder, written, is_complete=False)}))
    own.sort(key=lambda path: path.name == WRITTEN_FILE)  # last: after a kill the rest is known by it
    try:
        for path in own:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot delete '{error.filename}': {error.strerror}. Delete it, or choose another --out") from error
    parents = {parent for path in own for parent in path.relative_to(folder).parents[:-1]}
    for parent in sorted(parents, reverse=True):
        with suppress(OSError):  # not empty: it holds a user's files
            (folder / parent).rmdir()
    kept_names = sorted(path.relative_to(folder).as_posix() for path in kept)
    if kept_names:  # so that the folder is known for a training's before its first step
        _note(folder, {})
    return kept_names


def _is_own(folder: Path, path: Path, written: Mapping[str, str]) -> bool:
    """Say whether depthmill wrote a file, by its content."""
    name = path.relative_to(folder).as_posix()
    if path.is_symlink() or not path.is_file():
        return False
    proof = _CORE.get(name)
    if proof is None and name in written:
        return _digest(path) == written[name]
    within = _KEPT.sub("", name)  # the evaluation of a kept checkpoint is one like the training's
    if proof is None and within.startswith(_PARTS[:3]) and _names_all(folder):
        return False
    if proof is None:
        proof = next((other for pattern, other in _OTHERS.items() if re.fullmatch(pattern, within)), None)
    return proof is not None and proof(_head(path))


def _misplaced(folder: Path, written: Mapping[str, str], *, is_complete: bool) -> list[Path]:
    """Return what stands where a training would write and is not depthmill's: no folder, a link, a user's file."""
    if is_complete:  # nothing will be written
        return []
    wrong = [folder / name for name in _PARTS if os.path.lexists(folder / name) and not (folder / name).is_dir()]
    wrong += [folder / name for name in _PARTS[:4] if (folder / name).is_dir() and (folder / name).is_symlink()]
    alone = [folder / name for name in ("report.html", "loggers.json")]
    return wrong + [path for path in alone if os.path.lexists(path) and not _is_own(folder, path, written)]


def _refuse_foreign(folder: Path, paths: list[Path]) -> None:
    if paths:
        names = ", ".join(f"'{path.relative_to(folder)}'" for path in sorted(paths)[:5])
        names += f" and {len(paths) - 5} more" if len(paths) > 5 else ""
        raise ForeignFilesError(
            f"folder '{folder}' holds {names} with a content that depthmill did not write, and a training would replace that. "
            "Nothing was deleted. Move it away, or choose another folder with --out"
        )


def _files(folder: Path) -> list[Path]:
    """Return every file and link below a folder but the lock; links are not followed."""
    paths = []
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        paths += [Path(parent, name) for name in (*names, *links) if not name.startswith(LOCK_FILE)]
    return sorted(paths)


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(_HEAD_BYTES)
    except OSError:
        return b""


def _digest(path: Path) -> str:
    from model.train.config import sha256_of

    return sha256_of(path)


def _written(folder: Path) -> dict[str, str]:
    """Return the digests that ``written.json`` names; empty without one, or if it is damaged."""
    written = _note_of(folder).get(_WRITTEN_KEY)
    return {str(name): str(digest) for name, digest in written.items()} if isinstance(written, dict) else {}


def _names_all(folder: Path) -> bool:
    """Say whether ``written.json`` names every file of the evaluations."""
    note = _note_of(folder)
    return _WRITTEN_KEY in note and _UNFINISHED_KEY not in note


def _note_of(folder: Path) -> dict[str, Any]:
    try:
        note = json.loads(read_regular(folder / WRITTEN_FILE))
    except (OSError, ValueError, RecursionError):  # a SourceError is a ValueError
        return {}
    return note if isinstance(note, dict) else {}
