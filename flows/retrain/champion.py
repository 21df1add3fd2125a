"""The champion: the best training so far of a line, and a small file that points to it.

Former versions had one champion a store, in ``<runs>/champion.json``. It belongs to the line whose recipe promoted it, as the
history says, and whose family its training has. Whichever line does the next round moves it to where that line looks for it, byte
for byte.

Reads   <runs>/champions/<recipe>.<family>.json, <runs>/champion.json
Writes  <runs>/champions/<recipe>.<family>.json, atomically; the pointer moves, and no training is ever deleted
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.retrain.line import CHAMPIONS, Line
from flows.run.runs import Runs
from storage_schemas.errors import DepthmillError, StoreError
from storage_schemas.run_history import read_round
from storage_schemas.seals import read_sealed_json, sealed_json

FORMER_FILE = "champion.json"
"""Where former versions kept the champion of a whole store."""

_UNKNOWN = "champion"
"""Stands for the recipe of a former version's champion whose round is not in the history."""


class ChampionError(DepthmillError):
    """A champion that cannot be found, measured or replaced."""


@dataclass(frozen=True)
class Champion:
    """What the file says.

    Attributes:
        training: folder of the training; relative to the runs folder if it lies in it, so that a moved store keeps it.
        manifest: fingerprint of the manifest it was trained on.
        metric: metric by which it was promoted.
        cap_m: its cap in metres; None of a family without depth maps.
        radar: its radar state; None likewise.
        value: its mean over all frames then.
        promoted_utc: when.
        round: name of the round that promoted it.
    """

    training: str
    manifest: str
    metric: str
    cap_m: float | None
    radar: str | None
    value: float
    promoted_utc: str
    round: str

    def folder(self, runs: Runs) -> Path:
        """Return the local folder of its training, with what a remote store has of it; StoreError if that cannot be read."""
        name = self._name()
        return runs.work / self.training if name is None else runs.training(name)

    def address(self, runs: Runs) -> str:
        """Return path or URL of its training; nothing is fetched."""
        return runs.address(runs.work / self.training)

    def record(self, runs: Runs) -> dict[str, Any]:
        """Return what its training says of itself; nothing is fetched but that. StoreError if it is missing or damaged."""
        from model.train.loop import COMPLETE_FILE, read_training

        if runs.is_local or Path(self.training).is_absolute():
            return read_training(runs.work / self.training)
        key = f"{self.training}/{COMPLETE_FILE}"
        try:
            return read_sealed_json(runs.files.get(key))
        except (FileNotFoundError, ValueError) as error:
            raise StoreError(f"'{runs.files.path(key)}' cannot be read: {error}. Bring it back") from error

    def _name(self) -> str | None:
        """Return the name of its training; None if it lies outside of the runs folder."""
        parts = Path(self.training).parts
        return parts[1] if len(parts) == 2 and parts[0] == "trainings" else None


def read_champion(runs: Runs, line: Line) -> Champion | None:
    """Return the champion of a line; None if there is none yet. One of a former version counts for the line it belongs to.

    Raises:
        ChampionError: the file is damaged, or the training that it names is not there.
    """
    champion = _read(runs, line.champion_key)
    if champion is None and (former := _read(runs, FORMER_FILE)) is not None and _owner(runs, former, line) == line:
        return former
    return champion


def read_champions(runs: Runs) -> dict[Line, Champion]:
    """Return the champions of all lines, by name of the line; ChampionError as ``read_champion``."""
    names = [name.removesuffix(".json") for name in runs.files.names(CHAMPIONS) if name.endswith(".json")]
    champions = {line: champion for line in map(Line.named, names) if (champion := _read(runs, line.champion_key)) is not None}
    former = _read(runs, FORMER_FILE)
    if former is not None:
        champions.setdefault(_owner(runs, former, None) or Line(_UNKNOWN, _family(runs, former)), former)
    return dict(sorted(champions.items(), key=lambda item: item[0].name))


def file_of(runs: Runs, line: Line) -> str:
    """Return path or URL of the file that points to a line's champion, for error texts."""
    is_former = not runs.files.exists(line.champion_key) and runs.files.exists(FORMER_FILE)
    return runs.files.path(FORMER_FILE if is_former else line.champion_key)


def has_former(runs: Runs) -> bool:
    """Say whether there is a champion of a former version."""
    return runs.files.exists(FORMER_FILE)


def take_over_former(runs: Runs, asking: Line) -> str:
    """Move the champion of a former version to the line that it belongs to; the caller holds the runs folder.

    The file is written to its new place first: whoever is killed in between leaves both, with the same bytes.

    Returns:
        What must be known; "" if nothing.

    Raises:
        ChampionError: the file is damaged, and the line that asks has no other champion.
    """
    try:
        former = _read(runs, FORMER_FILE)
    except ChampionError:
        if runs.files.exists(asking.champion_key):
            return ""
        raise
    if former is None:
        return ""
    owner, content = _owner(runs, former, asking), runs.files.get(FORMER_FILE)
    if owner is None:
        return ""
    with suppress(FileNotFoundError):
        if runs.files.get(owner.champion_key) != content:
            return (
                f"'{runs.files.path(FORMER_FILE)}', which a former depthmill wrote, is not used: line {owner.name} has its "
                f"champion in '{runs.files.path(owner.champion_key)}'. Delete one of the two"
            )
    runs.files.put(owner.champion_key, content)
    runs.files.remove(FORMER_FILE)
    return ""


def write_champion(runs: Runs, line: Line, champion: Champion, *, instead_of: Champion | None) -> None:
    """Point to a new champion.

    Args:
        runs: of the store.
        line: whose champion it is.
        champion: the new one; its folder may be given absolute.
        instead_of: the one it was compared with.

    Raises:
        ChampionError: another round has changed the champion since.
        FolderBusyError: another round has taken the line over.
    """
    runs.refuse_lost()
    now = read_champion(runs, line)
    if now != instead_of:
        current, expected = (holder.training if holder else "none" for holder in (now, instead_of))
        raise ChampionError(
            f"the champion in '{file_of(runs, line)}' has become '{current}' while '{champion.training}' was compared with "
            f"'{expected}'. Run the same command again: it only compares"
        )
    folder = Path(champion.training).absolute()
    content = {**asdict(champion), "training": runs.key(folder) or str(folder)}
    runs.files.put(line.champion_key, sealed_json(content))


def _read(runs: Runs, key: str) -> Champion | None:
    """Return the champion that a file points to; None if there is no such file."""
    files = runs.files
    try:
        champion = Champion(**read_sealed_json(files.get(key)))
        _check_values(champion)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ChampionError(
            f"'{files.path(key)}' is damaged: {error}. Delete it: the next round's training becomes the champion"
        ) from error
    for name in ("best.pt", "training.json"):
        if not _has(runs, champion, name):
            raise ChampionError(
                f"'{files.path(key)}' names a champion whose '{champion.address(runs)}/{name}' does not exist. Bring that folder "
                "back, or delete the file: the next round's training becomes the champion"
            )
    return champion


def _owner(runs: Runs, former: Champion, asking: Line | None) -> Line | None:
    """Return the line of a former version's champion; None if it cannot be said.

    Where its round is not in the history, only its family is known: then it belongs to the line of that family that asks first.
    """
    family, row = _family(runs, former), read_round(runs.files.path("history"), former.round)
    if row is not None:
        return Line.of(row.recipe, family)
    return asking if asking is not None and asking.family == family else None


def _family(runs: Runs, champion: Champion) -> str:
    config = champion.record(runs).get("config")
    return str(config.get("family", "")) if isinstance(config, dict) else ""


def _has(runs: Runs, champion: Champion, name: str) -> bool:
    if Path(champion.training).is_absolute():
        return (Path(champion.training) / name).is_file()
    return runs.files.exists(f"{champion.training}/{name}")


def _check_values(champion: Champion) -> None:
    numbers, absent = ("cap_m", "value"), ("cap_m", "radar")
    for name, value in asdict(champion).items():
        if value is None and name in absent:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float if name in numbers else str):
            raise TypeError(f"{name} is {value!r}, expected a {'number' if name in numbers else 'text'}")
