"""The digest of a depth model's weights, or of its maps: what a plan needs to know, without torch and without reading twice.

Why    Other weights are another model, wherever the files lie; a plan must not read 1.3 GB to see that nothing changed
Reads  a file, or the model files of a folder
Writes <cache>/weights/<name>.json: size, time stamp and digest of each file, good as long as size and time stamp are the same
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.mono_depth.maps import map_files
from storage_schemas.errors import RecipeError
from storage_schemas.files import written_whole
from storage_schemas.regular_files import MAX_WEIGHTS_BYTES, open_regular, read_regular
from storage_schemas.seals import read_sealed_json, sealed_json

MODEL_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".json", ".yaml", ".yml")
"""Suffixes of the files that decide what a model computes: weights and configuration, not pictures and papers."""


def weights_digest(weights: str, cache_folder: Path) -> str:
    """Return the sha256 of a weights file, or of a folder's model files with their names.

    Args:
        weights: path of the file or folder.
        cache_folder: where digests are kept between calls; without write permission there they are computed anew.

    Raises:
        RecipeError: the path does not exist or cannot be read, or a folder holds no model file.
    """
    path = Path(weights).expanduser().absolute()
    try:
        digests = noted_digests(path, _model_files(path), cache_folder)
    except OSError as error:
        raise RecipeError(
            f"teacher weights '{path}' cannot be read: {error.strerror or error}. Give this user read permission, or set "
            "stages.predict_mono_depth.weights to another path"
        ) from error
    return digests[path.name] if path.is_file() else digest_of_all(digests)


def maps_digest(maps: str, cache_folder: Path) -> str:
    """Return the sha256 of all depth maps of a folder with their names; see ``pipeline.mono_depth.maps``.

    Args:
        maps: the folder.
        cache_folder: where digests are kept between calls, as for weights.

    Raises:
        RecipeError: there is no such folder, it holds no map, or one cannot be read.
    """
    path = Path(maps).expanduser().absolute()
    try:
        return digest_of_all(noted_digests(path, map_files(maps), cache_folder))
    except OSError as error:
        raise RecipeError(
            f"depth maps '{path}' cannot be read: {error.strerror or error}. Give this user read permission, or set "
            "stages.predict_mono_depth.maps to another folder"
        ) from error


def digest_of_all(digests: Mapping[str, str]) -> str:
    """Return one digest of files and their names."""
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in sorted(digests.items())).encode()).hexdigest()


def noted_digests(path: Path, files: Mapping[str, Path], cache_folder: Path) -> dict[str, str]:
    """Return the sha256 of files, read again only where size or time stamp differ from the note; OSError if one cannot be read.

    Args:
        path: what the note is kept for.
        files: name -> file.
        cache_folder: where the note is.
    """
    note = cache_folder / "weights" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.json"
    noted = _read_note(note)
    records = {name: _digest_of(file, noted.get(name)) for name, file in files.items()}
    if records != noted:
        _write_note(note, records)
    return {name: str(record["sha256"]) for name, record in records.items()}


def _model_files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise RecipeError(
            f"teacher weights '{path}' do not exist. Copy them there (nothing is downloaded), or set "
            "stages.predict_mono_depth.weights to where they are"
        )
    files = {file.name: file for file in sorted(path.iterdir()) if file.suffix in MODEL_SUFFIXES and file.is_file()}
    if not any(name.endswith((".safetensors", ".bin", ".pt", ".pth")) for name in files):
        raise RecipeError(
            f"teacher weights '{path}': the folder has no file that ends in .safetensors, .bin, .pt or .pth. Give the folder "
            "that holds the model's weights and its config.json"
        )
    return files


def _digest_of(file: Path, noted: dict[str, Any] | None) -> dict[str, Any]:
    status = file.stat()
    facts = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}  # no program sets the last
    if noted is not None and all(noted.get(name) == value for name, value in facts.items()):
        return noted
    with open_regular(file, most_bytes=MAX_WEIGHTS_BYTES) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {**facts, "sha256": digest}


def _read_note(note: Path) -> dict[str, Any]:
    try:
        records = read_sealed_json(read_regular(note), needs_seal=True)
    except (OSError, ValueError):  # a SourceError and a broken seal are ValueErrors
        return {}
    return {name: record for name, record in records.items() if isinstance(record, dict) and "sha256" in record}


def _write_note(note: Path, records: dict[str, Any]) -> None:
    try:
        with written_whole(note, is_flushed=False) as stream:  # atomic: another plan must not read half a note
            stream.write(sealed_json(records))
    except OSError:  # without the cache the digest is computed again, which only costs time
        return
