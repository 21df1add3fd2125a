"""A trained network as a folder that can be passed on: weights as safetensors, model card, record and tables.

Reads   a complete training
Writes  <out>/model.safetensors, README.md, training.json, evaluation/table.md and table.tex, digests.json; whole or not at all
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.run.training import refuse_without_torch
from flows.sharing.card import CardFacts, card_text
from storage_schemas.errors import DepthmillError, OutTakenError, RecipeError
from storage_schemas.files import StoreFiles, explain_write_error, folder_written_whole
from storage_schemas.install_command import install_command
from storage_schemas.manifest import open_manifest
from storage_schemas.regular_files import read_regular
from storage_schemas.seals import BrokenSealError, check_digest, read_sealed_json, sealed_digests, sealed_json
from storage_schemas.store import Store, UnitPath

CARD_FILE = "README.md"
RECORD_FILE = "training.json"
DIGESTS_FILE = "digests.json"
WEIGHTS_FILE = "model.safetensors"

_SIMULATED = "simulated"


class SharingError(DepthmillError):
    """A network cannot be shared, or what was shared cannot be used."""


@dataclass(frozen=True)
class Shared:
    """A folder that can be passed on.

    Attributes:
        folder: of it.
        files: names of its files below the folder.
        num_bytes: of all files together.
        data_licence: of the data.
    """

    folder: Path
    files: tuple[str, ...]
    num_bytes: int
    data_licence: str


def refuse_without_sharing() -> None:
    """Check that the extra ``share`` is installed; RecipeError says how to install it."""
    if missing := [name for name in ("safetensors", "huggingface_hub") if importlib.util.find_spec(name) is None]:
        raise RecipeError(f"sharing needs {', '.join(missing)}, not installed here. Run: {install_command('share')}")


def check_new_folder(out: Path) -> None:
    """Check that ``out`` does not exist or is empty; OutTakenError if not."""
    if out.exists() and not out.is_dir():
        raise OutTakenError(f"'{out}' is a file, expected a folder to write. Choose another --out")
    if out.is_dir() and any(out.iterdir()):
        raise OutTakenError(f"'{out}' is not empty, and nothing in it is replaced. Choose another --out")


def share_training(training: Path, out: Path, *, name: str | None = None, data_licence: str | None = None) -> Shared:
    """Write a complete training as a folder that can be passed on.

    Args:
        training: its folder on this machine.
        out: folder to write; must not exist or be empty.
        name: of the model; None = that of ``out``.
        data_licence: licence of the data that it was trained on, as a hub calls it, e.g. ``cc-by-nc-sa-4.0``; None = what is
            known of the data, which is so for simulated drives only.

    Raises:
        RecipeError: there is no such folder, a package is missing, or the licence is not known.
        OutTakenError: ``out`` is not empty.
        StoreError: the training is not complete or damaged, or ``out`` cannot be written.
        CheckpointError: the checkpoint cannot be read.
    """
    refuse_without_sharing()
    check_new_folder(out)
    if not training.is_dir():
        raise RecipeError(f"there is no folder '{training}'. Give the folder of a training, e.g. <store>/runs/trainings/<name>")
    refuse_without_torch()
    from model.families import family_of, load_checkpoint, network_of
    from model.train.loop import read_training
    from model.train.shared_weights import shared_content, without_machine

    record = read_training(training)
    checkpoint = load_checkpoint(training / "best.pt")
    network_of(checkpoint, path=training / "best.pt")  # weights that are not numbers are not passed on
    family, evaluation = family_of(checkpoint.config), training / "evaluation"
    releases = releases_behind(str(record.get("store")), str(record["manifest"]))
    licence = data_licence or _licence_of(releases)
    measures = family.read_measures(training)
    own_record = without_machine(record)
    tables = {
        path.relative_to(training).as_posix(): read_regular(path)
        for pattern in ("table.md", "table.tex")
        for path in sorted(evaluation.glob(f"**/{pattern}"))
    }
    card = card_text(
        CardFacts(
            name=name or out.absolute().name,
            family=family,
            record=own_record,
            measures=measures,
            headline=family.table_columns(checkpoint.config, [family.measures(checkpoint.config)])[0],
            table="\n\n".join(text.decode().strip() for path, text in tables.items() if path.endswith(".md")),
            releases=releases,
            data_licence=licence,
        )
    )
    sealed = {WEIGHTS_FILE: shared_content(checkpoint), RECORD_FILE: sealed_json(own_record), **tables}
    contents = {**sealed, DIGESTS_FILE: sealed_digests(sealed), CARD_FILE: card.encode()}
    _write(out, contents)
    return Shared(out, tuple(contents), sum(map(len, contents.values())), licence)


def _write(out: Path, contents: Mapping[str, bytes]) -> None:
    try:
        with folder_written_whole(out) as folder:
            files = StoreFiles(folder)
            for name, content in contents.items():
                files.put(name, content)
    except OSError as error:
        raise explain_write_error(
            error,
            f"'{out}'",
            if_full="Free some space, then run the same command",
            if_denied="Choose an --out in a folder that you may write to",
            otherwise="Choose another --out",
        ) from error


def check_shared(folder: Path) -> dict[str, Any]:
    """Check that a folder holds a shared network whose files are what was written; the card may have been edited.

    Returns:
        What the training says of itself.

    Raises:
        SharingError: a file is missing or was changed.
    """
    try:
        digests = read_regular(folder / DIGESTS_FILE)
        names = read_sealed_json(digests)
        if not {WEIGHTS_FILE, RECORD_FILE} <= names.keys():
            raise ValueError(f"{DIGESTS_FILE} does not name {WEIGHTS_FILE} and {RECORD_FILE}")
        for name in names:
            _check_file(folder, name, digests)
        return read_sealed_json(read_regular(folder / RECORD_FILE))
    except FileNotFoundError as error:
        raise SharingError(
            f"'{folder}' is no shared network, or not all of it: {Path(str(error.filename or error)).name} is missing. "
            "Write one with depthmill share"
        ) from error
    except (OSError, ValueError) as error:
        raise SharingError(f"shared network '{folder}' cannot be read: {error}. Write or pull it again") from error


def shared_files(folder: Path) -> list[str]:
    """Return the names of all files of a shared network that was checked; the card last, because it may have been deleted."""
    names = [*read_sealed_json(read_regular(folder / DIGESTS_FILE)), DIGESTS_FILE]
    return [*names, CARD_FILE] if (folder / CARD_FILE).is_file() else names


def _check_file(folder: Path, name: str, digests: bytes) -> None:
    try:
        check_digest(digests, name, StoreFiles(folder).get(name))
    except BrokenSealError as error:
        raise BrokenSealError(f"{name}: {error}") from error


def releases_behind(store: str, manifest: str) -> list[str]:
    """Return the data sets that a manifest was made from; empty if its store is not here."""
    try:
        opened = open_manifest(Store(store), manifest)
        layouts: dict[str, UnitPath] = {}
        for unit in sorted(opened.named_units(), key=lambda unit: unit.key):
            layouts.setdefault(unit.layout, unit)
        records = [opened.store.lineage(unit) for unit in layouts.values()]
    except (DepthmillError, OSError):
        return []
    return sorted({record.identity.source.release for record in records if record.identity.source})


def _licence_of(releases: list[str]) -> str:
    if releases and all(release.split("/")[0] == _SIMULATED for release in releases):
        return "mit"
    known = f"it was trained on {', '.join(releases)}" if releases else "its store is not here, so its data is not known"
    raise RecipeError(
        f"the licence of the data is not known: {known}. Say it with --data-licence, e.g. cc-by-nc-sa-4.0 for nuScenes or "
        "cc-by-nc-sa-3.0 for KITTI: a network may be shared only as the terms of its data allow"
    )
