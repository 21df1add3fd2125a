"""The matches of an evaluation as a file: what two detectors are compared by, scene by scene.

Writes, reads  ``matches.npz`` in an evaluation's folder: the arrays of ``Matches`` by name, and the keys of the frames
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np

from model.train.result_files import DIGESTS_FILE, arrays_as_npz
from model.uvtr.frame_matches import COLUMNS, Matches
from storage_schemas.errors import SourceError, StoreError
from storage_schemas.regular_files import read_regular
from storage_schemas.seals import check_digest

MATCHES_FILE = "matches.npz"


def matches_as_file(matches: Matches) -> bytes:
    """Return the content of the file."""
    return arrays_as_npz({"frames": np.array(matches.frames, np.str_), **{name: getattr(matches, name) for name in COLUMNS}})


def read_matches(folder: Path) -> Matches:
    """Return the matches of an evaluation.

    Raises:
        StoreError: the file is missing or damaged; names it.
    """
    path, digests = folder / MATCHES_FILE, folder / DIGESTS_FILE
    if not path.is_file():
        raise StoreError(f"'{folder}' holds no evaluation of family uvtr ({MATCHES_FILE} is missing). Run depthmill evaluate")
    try:
        content = read_regular(path)
        check_digest(read_regular(digests) if os.path.lexists(digests) else None, path.name, content)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in COLUMNS}
            return Matches(frames=tuple(map(str, arrays["frames"])), **columns)
    except (OSError, ValueError, KeyError, SourceError, zipfile.BadZipFile) as error:
        raise StoreError(f"'{path}' cannot be read: {error}. Delete it, then run depthmill evaluate") from error
