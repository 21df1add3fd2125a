"""Whether a Prefect API is configured, found as Prefect itself finds it, but without importing Prefect.

Why    A run of a few units on a laptop shall not wait for a Prefect server. On a machine that has one, every run shall be seen in
       its pages. To import Prefect takes two to three seconds, which a run without it saves
How    Prefect 3 looks in this order, and the first that sets the address counts: environment, ``.env``, ``prefect.toml`` and
       ``pyproject.toml`` of the working folder, the active profile of ``profiles.toml``. A test compares each with Prefect's own
       answer
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from storage_schemas.errors import RecipeError

API_URL = "PREFECT_API_URL"
_TEST_MODES = ("PREFECT_TEST_MODE", "PREFECT_UNIT_TEST_MODE", "PREFECT_TESTING_UNIT_TEST_MODE", "PREFECT_TESTING_TEST_MODE")
_OWN_PROFILES = {"local": {API_URL: "http://127.0.0.1:4200/api"}}
"""What Prefect brings itself; it counts where there is neither PREFECT_HOME nor ``~/.prefect/profiles.toml``."""


def uses_prefect(*, prefect: bool, no_prefect: bool) -> bool:
    """Decide whether a command is carried out by Prefect: as asked, or else if an API is configured.

    Args:
        prefect: ``--prefect`` was given.
        no_prefect: ``--no-prefect`` was given.

    Raises:
        RecipeError: both were given.
    """
    if prefect and no_prefect:
        raise RecipeError("--prefect and --no-prefect contradict each other, expected one of them. Leave one out")
    return prefect or (not no_prefect and configured_api() is not None)


def configured_api() -> str | None:
    """Return the address of the Prefect API that this process would use; None if none is configured.

    Raises:
        RecipeError: ``prefect.toml`` or ``pyproject.toml`` cannot be read, which Prefect refuses as well.
    """
    return next((address for address in _addresses() if address is not None), None) or None  # empty: none, as Prefect takes it


def _addresses() -> Iterator[str | None]:
    yield _in_environment(os.environ)
    yield _in_environment(_dotenv())
    yield _text_at(_toml(Path("prefect.toml")), "api", "url")
    yield _text_at(_toml(Path("pyproject.toml")), "tool", "prefect", "api", "url")
    if not any(os.environ.get(name) for name in _TEST_MODES):
        yield _in_profile()


def _in_environment(variables: Mapping[str, str | None]) -> str | None:
    """Return the address among variables; Prefect does not tell upper from lower case."""
    return next((value for name, value in variables.items() if name.upper() == API_URL), None)


def _dotenv() -> dict[str, str | None]:
    return dotenv_values(".env") if Path(".env").is_file() else {}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise RecipeError(f"'{path.absolute()}' cannot be read, and may hold settings of Prefect: {error}. Correct it") from error


def _text_at(table: Any, *keys: str) -> str | None:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, str) else None


def _in_profile() -> str | None:
    """Return the address that the active profile sets."""
    path = _profiles_path()
    if path is None:
        table: dict[str, Any] = {"profiles": _OWN_PROFILES}
    else:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # Prefect takes none if there is no file, and of a broken one it warns
            table = {}
    active = os.environ.get("PREFECT_PROFILE") or table.get("active")
    return None if not active else _text_at(table.get("profiles"), str(active), API_URL)


def _profiles_path() -> Path | None:
    """Return the file of profiles; None if Prefect would take the one that it was installed with."""
    named = (
        os.environ.get("PREFECT_PROFILES_PATH")
        or _dotenv().get("PREFECT_PROFILES_PATH")
        or _text_at(_toml(Path("prefect.toml")), "profiles_path")
        or _text_at(_toml(Path("pyproject.toml")), "tool", "prefect", "profiles_path")
    )
    if named:
        return Path(named)
    home = os.environ.get("PREFECT_HOME")
    path = Path(home or Path.home() / ".prefect") / "profiles.toml"
    return path if home or path.exists() else None
