"""Checkpoints that a training keeps beside the last and the best one, and what each of them measures.

Why     The last and the best checkpoint say nothing of the way there. Several are needed for a curve on another split, or to
        choose one afterwards.
How     One is written every so many epochs and after the last step. Then the oldest go, until as many are left as are wanted.
        Only a checkpoint of this very training is ever deleted or replaced: its configuration and its manifest say so.
        How many are kept and measured decides no result. So it is no part of a training's name, and may change on the way.
Writes  below a training's folder: checkpoints/step_<step>.pt; checkpoints/step_<step>/evaluation/, as the family writes it;
        checkpoints/evaluated.json, and the same as checkpoints/table.md
"""

from __future__ import annotations

import math
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from model.blocks.weights_file import fill_network
from model.devices import network_device
from model.errors import CheckpointError
from model.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.train.config import CommonConfig, Machine
from model.train.family import Family
from model.train.family_types import ExtraPart
from model.train.known_families import Families, UnknownOptionsError
from model.train.plain_evaluation import plain_table
from storage_schemas.files import StoreFiles
from storage_schemas.manifest import Manifest
from storage_schemas.regular_files import read_regular
from storage_schemas.seals import read_sealed_json, sealed_json

CHECKPOINTS_FOLDER = "checkpoints"
EVALUATED_FILE = "evaluated.json"
TABLE_FILE = "table.md"
_NAME = re.compile(r"step_(\d{7,})\.pt")


def keep_checkpoint(checkpoint: Checkpoint, folder: Path, *, most: int, families: Families) -> None:
    """Write a checkpoint beside those kept before, then delete the oldest until no more than ``most`` up to its step are left.

    Those of later steps stay: a training that goes on from a former checkpoint writes them again.

    Raises:
        CheckpointError: the file to be written is there and is not of this training.
        StoreError: it cannot be written.
    """
    refuse_foreign_checkpoints(checkpoint.config, checkpoint.manifest, folder, families)
    save_checkpoint(checkpoint, _path(folder, checkpoint.step))
    own = kept_steps(checkpoint.config, checkpoint.manifest, folder, families)
    for step in [step for step in own if step <= checkpoint.step][:-most]:
        _path(folder, step).unlink(missing_ok=True)


def kept_steps(config: CommonConfig, manifest: str, folder: Path, families: Families) -> list[int]:
    """Return the steps of the checkpoints that a training has kept, the first step first."""
    return [step for step, path in _named(folder) if _is_of(path, config, manifest, families)]


def refuse_foreign_checkpoints(config: CommonConfig, manifest: str, folder: Path, families: Families) -> None:
    """Check that no file of another training stands where a training keeps its checkpoints; CheckpointError names it."""
    for _, path in _named(folder):
        if not _is_of(path, config, manifest, families):
            raise CheckpointError(
                f"'{path}' is not a checkpoint of this training, which would replace or keep it as its own. Nothing was changed. "
                "Move it away, or choose another folder with --out"
            )


def lacks_checkpoints(config: CommonConfig, folder: Path) -> bool:
    """Say whether checkpoints are asked for and a folder has none, e.g. that of a training that ended before they were."""
    return config.checkpoint_every_epochs is not None and not _named(folder)


def checkpoint_parts(config: CommonConfig, families: Families) -> dict[str, ExtraPart]:
    """Return the evaluation of the kept checkpoints, by name, if a configuration asks for it."""
    if not config.evaluate_checkpoints:
        return {}

    def is_due(config: CommonConfig, folder: Path) -> bool:
        return not (named := _named(folder)) or [row["file"] for row in _rows(folder)] != [path.name for _, path in named]

    def run(config: CommonConfig, manifest: Manifest, folder: Path, machine: Machine) -> None:
        evaluate_checkpoints(config, manifest, folder, families=families, machine=machine)

    return {"evaluate_checkpoints": ExtraPart(is_due, run, lambda folder: {"checkpoints": _rows(folder)})}


def evaluate_checkpoints(config: CommonConfig, manifest: Manifest, folder: Path, *, families: Families, machine: Machine) -> None:
    """Measure every kept checkpoint as the best one is measured; those that were measured before a stop are not measured again.

    Raises:
        CheckpointError: no checkpoint was kept, or one is damaged or of another training.
    """
    family, fingerprint = families.of(config), manifest.path.fingerprint
    refuse_foreign_checkpoints(config, fingerprint, folder, families)
    if not (named := _named(folder)):
        raise CheckpointError(
            f"training '{folder}' is complete and has kept no checkpoint that could be measured: it ran without "
            "train.checkpoint_every_epochs. Train again with --restart, or set train.evaluate_checkpoints to false"
        )
    device, kept = network_device(machine.accelerator), {path.name for _, path in named}
    rows = [row for row in _rows(folder) if row["file"] in kept]
    for step, path in named:
        if any(row["file"] == path.name for row in rows):
            continue
        checkpoint = load_checkpoint(path, families)
        network = family.network(config)
        fill_network(network, checkpoint.model, path=path)
        family.evaluate(network.to(device).eval(), manifest, config, machine, device, folder=path.with_suffix(""))
        measured = family.read_measures(path.with_suffix(""))
        numbers = {name: value for name, value in measured.items() if math.isfinite(value)}  # JSON has no NaN
        rows.append({"file": path.name, "step": step, **numbers})
        rows.sort(key=lambda row: int(row["step"]))
        StoreFiles(folder / CHECKPOINTS_FOLDER).put(EVALUATED_FILE, sealed_json({"rows": rows}))
    title = f"Checkpoints of {folder.name} on {family.split(config)} of manifest {fingerprint}"
    StoreFiles(folder / CHECKPOINTS_FOLDER).put(TABLE_FILE, _table(rows, family, config, title=title).encode())


def _table(rows: list[dict[str, Any]], family: Family[Any], config: CommonConfig, *, title: str) -> str:
    """Return what the family's tables show of each checkpoint."""
    measures = family.measures(config)
    columns = [measures[name] for name in family.table_columns(config, [measures])[0] if name in measures]
    shown = [
        {
            "step": str(row["step"]),
            **{column.head: f"{row[column.name]:.{column.decimals}f}" if column.name in row else "-" for column in columns},
        }
        for row in rows
    ]
    return plain_table(shown, title=title)


def _path(folder: Path, step: int) -> Path:
    return folder / CHECKPOINTS_FOLDER / f"step_{step:07d}.pt"


def _named(folder: Path) -> list[tuple[int, Path]]:
    """Return every file or link with the name of a kept checkpoint and its step, the first step first."""
    found = ((_NAME.fullmatch(path.name), path) for path in (folder / CHECKPOINTS_FOLDER).glob("step_*.pt"))
    return sorted((int(name[1]), path) for name, path in found if name is not None)


def _is_of(path: Path, config: CommonConfig, manifest: str, families: Families) -> bool:
    """Say whether a file is a checkpoint of a training; its weights are not read."""
    if path.is_symlink() or not path.is_file():
        return False
    texts = _first_texts(path)
    if texts.get("manifest") != manifest:
        return False
    try:
        return families.read(texts["config"]).model_dump(mode="json") == config.model_dump(mode="json")
    except (KeyError, UnknownOptionsError):
        return False


def _first_texts(path: Path) -> dict[str, str]:
    """Return the texts that a checkpoint begins with by their keys, none if the file is no checkpoint; no code of it is run."""
    texts: dict[str, str] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as stream:
                for key, value in _pairs_of_texts(stream):
                    texts.setdefault(key, value)
                    if {"config", "manifest"} <= texts.keys():
                        break
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile, EOFError):
        return {}
    return texts


def _pairs_of_texts(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    former = ""
    for _, argument, _ in pickletools.genops(stream):
        if isinstance(argument, str):
            yield former, argument
            former = argument


def _rows(folder: Path) -> list[dict[str, Any]]:
    """Return what was measured; nothing where the file is missing or damaged, for then it is measured again."""
    try:
        rows = read_sealed_json(read_regular(folder / CHECKPOINTS_FOLDER / EVALUATED_FILE), needs_seal=True)["rows"]
        return [{**row, "file": str(row["file"]), "step": int(row["step"])} for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return []
