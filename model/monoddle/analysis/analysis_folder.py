"""The folder of an analysis inside an evaluation: by what it is known, and when it may be replaced."""

from __future__ import annotations

import re
from pathlib import Path

from storage_schemas.errors import OutTakenError
from storage_schemas.files import StoreFiles

ANALYSIS_FOLDER = "analysis"

TEXT_FILE = "analysis.md"
"""Written first and last: by it a later analysis knows the folder, even if the former one was killed."""

TITLE = "# Analysis: "
"""How that file begins."""

UNFINISHED = f"{TITLE}not finished\n\nIt is being written, or was stopped. Run depthmill analyse again.\n"
"""What it says until all other files are there."""

_TABLES = "(oracle|oracle_distance|distance|occlusion|height|shift|matches)"
_PLOTS = "(distance|errors|height|occlusion|replaced|replaced_distance|shift_depth|shift_side)"

_OURS = re.compile(rf"{_TABLES}\.csv|(car|pedestrian|cyclist)_{_PLOTS}\.svg")
"""Names of its other files."""


def check_analysis_out(out: Path) -> None:
    """Check that an analysis may be written here: where nothing is, or in place of a former one.

    Raises:
        OutTakenError: it is a file, or a folder that holds something else.
    """
    if out.exists() and not out.is_dir():
        raise OutTakenError(f"'{out}' is a file, expected a folder to write. Choose another --out")
    if out.is_dir() and any(out.iterdir()) and not former_files(out):
        raise OutTakenError(
            f"'{out}' is not empty, and no analysis wrote what is there ({TEXT_FILE} is missing). Choose another --out"
        )


def remove_analysis(evaluation: Path) -> None:
    """Delete the analysis of a former evaluation, which would say of a new one what is not so; StoreError if it cannot be."""
    out = evaluation / ANALYSIS_FOLDER
    for name in former_files(out):
        StoreFiles(out).remove(name)


def former_files(out: Path) -> list[str]:
    """Return the names of an analysis' files in a folder; none where its text is missing."""
    try:
        with (out / TEXT_FILE).open("rb") as stream:
            if stream.read(len(TITLE)) != TITLE.encode():
                return []
    except OSError:
        return []
    return [*sorted(path.name for path in out.iterdir() if _OURS.fullmatch(path.name) and path.is_file()), TEXT_FILE]
