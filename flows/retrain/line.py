"""Lines of trainings: those of one recipe and one family, which are compared with each other and never with others.

Each line has a champion and a lock of its own, so that rounds of two lines on one store neither wait for each other nor replace
each other's champion. What they share needs no lock: units are written once, and each training has its own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from storage_schemas.run_history import Round

CHAMPIONS, ROUNDS = "champions", "rounds"
"""Folders below the runs folder: of the champions' files, and of the locks of rounds."""


@dataclass(frozen=True)
class Line:
    """Trainings of one recipe and one family.

    Attributes:
        recipe: name of the recipe file, without folder and ending.
        family: name of the family.
    """

    recipe: str
    family: str

    @staticmethod
    def of(where: str, family: str) -> Line:
        """Return the line of a recipe file."""
        return Line(Path(where).stem, family)

    @staticmethod
    def named(file: str) -> Line:
        """Return the line whose champion's file, without its ending, or whose lock's folder has this name."""
        recipe, _, family = os.fsdecode(unquote_to_bytes(file)).rpartition(".")
        return Line(recipe, family)

    @property
    def name(self) -> str:
        """Return how people name it."""
        return f"{self.recipe}.{self.family}"

    @property
    def champion_key(self) -> str:
        """Return the file that points to its champion, below the runs folder."""
        return f"{CHAMPIONS}/{self._file}.json"

    @property
    def lock_key(self) -> str:
        """Return the folder that a round of it holds, below the runs folder."""
        return f"{ROUNDS}/{self._file}"

    @property
    def _file(self) -> str:
        """Return its name as that of a file: other characters as %XX, so that no two lines share one and none is hidden."""
        return re.sub(r"[^\w.-]|^\.", lambda found: "".join(f"%{byte:02X}" for byte in os.fsencode(found[0])), self.name)

    def has(self, row: Round) -> bool:
        """Say whether a round was of this line; former versions noted the recipe only."""
        return row.line == self.name if row.line is not None else Path(row.recipe).stem == self.recipe
