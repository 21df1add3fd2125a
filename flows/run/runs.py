"""Where the results of a store's runs are: champion, history, trainings, reports, logs.

They are in ``<store>/runs``. With a local store they are written there. With a remote one small files are read and written there
at once, and a training is worked on in a local folder. It is put into the store whenever there is something new of it, so that
any machine can go on with it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage_schemas.errors import RecipeError
from storage_schemas.files import StoreFiles
from storage_schemas.folder_copy import FolderCopy
from storage_schemas.folder_lock import FolderBusyError, HeldFolder, Holder, holder_of, locked_folder
from storage_schemas.remote_lock import HeldKey, holder_of_key, locked_key
from storage_schemas.shown_text import without_secrets

COMPLETE_FILE = "training.json"
LAST_CHECKPOINT = "last.pt"
KEPT_CHECKPOINTS = r"checkpoints/step_\d+\.pt"
"""Of these a training deletes the oldest (train.keep_checkpoints)."""

_RECORDS = ".kept"
_ASIDE = ".uploads"
_FETCHING = "fetching from the store"


class Runs:
    """The runs folder of a store.

    Attributes:
        root: path or URL.
        files: of the root.
        work: local folder where trainings are worked on: the root itself, or one below the cache, the same for every process of
            the machine.
    """

    def __init__(self, root: str, cache_dir: Path) -> None:
        self.files = StoreFiles(root)
        self.root = self.files.root
        self.is_local = self.files.is_local
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        self.work = Path(self.root) if self.is_local else cache_dir.expanduser().absolute() / "runs" / digest
        self._held: dict[str, HeldFolder | HeldKey] = {}

    def training(self, name: str) -> Path:
        """Return the local folder of a training, with what the store has of it; it is not made if there is nothing.

        Raises:
            StoreError: the store cannot be read.
        """
        return self.fetched(f"trainings/{name}")

    def fetched(self, key: str) -> Path:
        """Return the local folder of a key below the root, with what the store has of it."""
        folder = self.work / key
        if self.is_local:
            return folder
        copy = self._copy(key)
        while not copy.is_current():
            try:
                with locked_folder(folder, doing=_FETCHING, if_denied="Choose another DEPTHMILL_CACHE_DIR"):
                    copy.fetch()
            except FolderBusyError:
                holder = holder_of(folder)
                if holder is not None and holder.doing != _FETCHING:
                    return folder  # a training that goes on here: nothing is newer than its own files
                time.sleep(0.1)
        return folder

    def key(self, folder: Path) -> str | None:
        """Return the key of a local folder below the root; None if it lies elsewhere, e.g. was given with --out."""
        path = folder.absolute()
        return path.relative_to(self.work.absolute()).as_posix() if path.is_relative_to(self.work.absolute()) else None

    def address(self, folder: Path) -> str:
        """Return how a folder or file is named for people and records: its path, or its URL where the runs are remote."""
        key = None if self.is_local else self.key(folder)
        return str(folder) if key is None else without_secrets(self.files.path(key))

    def keep(self, folder: Path) -> int:
        """Put what is new in a local folder into the store; return the number of files, 0 where the runs are local.

        Raises:
            FolderBusyError: another process has taken the folder over.
            StoreError: the store cannot be written; the local files stay, and the next call goes on.
        """
        key = None if self.is_local else self.key(folder)
        if key is None:
            return 0
        self.refuse_lost()
        return self._copy(key).keep()

    def has_news(self, folder: Path) -> bool:
        """Say whether a local folder holds what the store lacks; asks nothing of the store."""
        key = None if self.is_local else self.key(folder)
        return key is not None and self._copy(key).has_news()

    def keep_as_it_is_now(self, folder: Path) -> int:
        """Do the same while another thread or process writes into the folder."""
        key = None if self.is_local else self.key(folder)
        if key is None:
            return 0
        aside = self.work / _ASIDE / key / uuid.uuid4().hex
        try:
            snapshot = self._copy(key).snapshot(aside)
            self.refuse_lost()
            return self._copy(key).keep(snapshot)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def discard(self, folder: Path) -> None:
        """Delete in the store what a local folder holds no longer."""
        key = None if self.is_local else self.key(folder)
        if key is not None:
            self._copy(key).discard()

    @contextmanager
    def held(self, name: str, *, doing: str) -> Iterator[HeldFolder | HeldKey]:
        """Let no other process work in a folder for as long as the block lasts; of a training, its newest files are here then.

        Args:
            name: key of the folder: of a training, or of the rounds of a line; "" = the root, which former versions held.
            doing: command and what it is given, for whoever is refused.

        Raises:
            FolderBusyError: another process works in it; says who.
            StoreError: it cannot be written.
        """
        is_training = name.startswith("trainings/")
        if self.is_local:
            refused = "Choose another folder with --out" if is_training else "Give this user write permission on the runs folder"
            with locked_folder(self.work / name, doing=doing, if_denied=refused) as held_folder:
                yield held_folder
            return
        with locked_key(self.files, name, doing=doing) as held:
            self._held[name] = held
            try:
                if not is_training:
                    yield held
                    return
                folder = self.work / name
                with locked_folder(folder, doing=doing, if_denied="Choose another DEPTHMILL_CACHE_DIR"):
                    shutil.rmtree(self.work / _ASIDE / name, ignore_errors=True)  # of a process that was killed
                    copy = self._copy(name)
                    copy.fetch()
                    if copy.has_news():  # of a process that was killed, or could not reach the store at its end
                        copy.keep()
                    yield held
            finally:
                del self._held[name]

    def refuse_lost(self) -> None:
        """Check that no other process has taken over what this one holds: the line of the round, and a training's folder."""
        for held in list(self._held.values()):
            held.refuse_lost()

    def holder(self, name: str = "") -> Holder | None:
        """Return who works in a folder, or was killed there; None if nobody does."""
        return holder_of(self.work / name) if self.is_local else holder_of_key(self.files, name)

    def former_text(self) -> str:
        """Say that a former version left runs of a remote store in ./runs, which nobody looks at; "" if it left none."""
        former = Path.cwd() / "runs"
        if self.is_local or not any((former / name).exists() for name in ("trainings", "champion.json")):
            return ""
        shown = without_secrets(self.root)
        return (
            f"warning: '{former}' has trainings of a former version, which kept them there. They are not looked at: runs are in "
            f"'{shown}' now. Copy them (aws s3 cp --recursive runs {shown}), or set DEPTHMILL_RUNS_DIR=./runs to go on with them"
        )

    def _copy(self, key: str) -> FolderCopy:
        record = self.work / _RECORDS / f"{key}.json"
        return FolderCopy(
            self.files,
            key,
            self.work / key,
            record=record,
            last=(LAST_CHECKPOINT, COMPLETE_FILE),  # the best checkpoint and the records must not be older than the last one
            not_fetched_with={LAST_CHECKPOINT: COMPLETE_FILE},  # a complete training is never gone on with
            forgotten=KEPT_CHECKPOINTS,
        )


def with_local_starts(train: Mapping[str, Any], cache_dir: Path) -> dict[str, Any]:
    """Return a ``train:`` group whose checkpoints to begin with are files of this machine; those of a remote store are fetched.

    Raises:
        RecipeError: a URL is not that of a training.
        StoreError: the store cannot be read.
    """
    starts = {key: train[key] for key in ("start_from", "backbone_from") if "://" in str(train.get(key))}
    return {**train, **{key: str(local_path(place, cache_dir)) for key, place in starts.items()}}


def local_path(place: str | Path, cache_dir: Path) -> Path:
    """Return a path to read a training, or something in it, on this machine; what has a URL is fetched first.

    Args:
        place: a path, which is returned as it is, or ``<store>/runs/trainings/<name>``, or a file or folder below it.
        cache_dir: of the machine.

    Raises:
        RecipeError: the URL is not that of a training, or there is no such training.
        StoreError: the store cannot be read.
    """
    text = str(place)
    if "://" not in text or text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    root, has_trainings, rest = text.rstrip("/").rpartition("/trainings/")
    name, _, below = rest.partition("/")
    if not has_trainings or not name:
        raise RecipeError(
            f"'{without_secrets(text)}' is no training of a store. Write <store>/runs/trainings/<name>, or a path of this machine"
        )
    folder = Runs(root, cache_dir).training(name)
    if not folder.is_dir():
        raise RecipeError(
            f"there is no training '{without_secrets(text)}'. The rounds name theirs: depthmill runs "
            f"{without_secrets(root.removesuffix('/runs'))}"
        )
    return folder / below
