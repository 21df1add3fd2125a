"""Print the lowest versions that pyproject.toml allows, as constraints for pip: ``python minimum_versions.py [EXTRA ...]``.

Why    A lower bound that nobody installs is a guess; ``make minimum-versions`` installs all of them and runs tests
Reads  pyproject.toml: the dependencies, and those of the extras named on the command line
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def minimum_of(requirement: str) -> tuple[str, str]:
    """Return the package that a requirement names, and the lowest version it allows.

    Raises:
        ValueError: the requirement has neither ``>=`` nor ``==``, so that it allows any old version.
    """
    wanted, _, _ = requirement.partition(";")
    match = re.fullmatch(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*(.*?)\s*", wanted)
    if match is None:
        raise ValueError(f"requirement '{requirement}' is not understood, expected e.g. 'numpy>=1.26,<2'")
    name, bounds = match.groups()
    lowest = [bound.strip()[2:].strip() for bound in bounds.split(",") if bound.strip()[:2] in (">=", "==")]
    if len(lowest) != 1:
        raise ValueError(f"requirement '{requirement}' has no lower bound. Write the oldest version that works: '{name}>=...'")
    return name, lowest[0]


def is_own_extra(project: Mapping[str, Any], requirement: str) -> bool:
    """Say whether a requirement is the project itself, with an extra that another extra includes."""
    return requirement.startswith(f"{project['name']}[")


def constraints(project: Mapping[str, Any], extras: Iterable[str] = ()) -> list[str]:
    """Return one line ``name==version`` for each dependency of a project and of some of its extras.

    Raises:
        ValueError: a requirement has no lower bound, two ask for different versions of one package, or an extra is unknown.
    """
    requirements, known = list(project["dependencies"]), project.get("optional-dependencies", {})
    for extra in extras:
        if extra not in known:
            raise ValueError(f"there is no extra '{extra}', expected one of: {', '.join(known)}")
        requirements += known[extra]
    versions: dict[str, str] = {}
    for name, version in map(minimum_of, (text for text in requirements if not is_own_extra(project, text))):
        if versions.setdefault(name, version) != version:
            raise ValueError(f"'{name}' has two lower bounds, {versions[name]} and {version}. Make them one")
    return [f"{name}=={version}" for name, version in versions.items()]


if __name__ == "__main__":
    with open(PYPROJECT, "rb") as stream:
        print("\n".join(constraints(tomllib.load(stream)["project"], sys.argv[1:])))
