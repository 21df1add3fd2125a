"""Packages outside this repository that bring a model family, a source or a stage, found through Python's entry points.

Why    A lab's own drive format or detector lives in its own repository, and is used as if it stood in this one
How    The package names what it brings under ``[project.entry-points."depthmill.families"]`` (or ``sources``, ``stages``);
       CONTRIBUTING.md shows one of each
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from storage_schemas.errors import DepthmillError

Group = Literal["depthmill.families", "depthmill.sources", "depthmill.stages", "depthmill.reports"]

GROUPS: tuple[Group, ...] = ("depthmill.families", "depthmill.sources", "depthmill.stages", "depthmill.reports")


class PlugInError(DepthmillError):
    """A plug-in that cannot be loaded, or whose name is taken."""


@dataclass(frozen=True)
class PlugIn:
    """One thing that a package outside brings.

    Attributes:
        group: what it is.
        name: name of the family, the source's kind, or the stage.
        package: name of the installed package; part of the fingerprints of what it makes.
        version: version of the package; noted in the lineage, part of no fingerprint.
        entry: where its object is, ``module:attribute``.
    """

    group: Group
    name: str
    package: str
    version: str
    entry: EntryPoint

    def load(self) -> Any:
        """Import and return the object.

        Raises:
            PlugInError: importing it failed; names the package and the cause.
        """
        try:
            return self.entry.load()
        except (Exception, SystemExit) as error:  # the code of another package may raise anything while it is imported
            raise PlugInError(
                f"plug-in '{self.name}' ({self.group}) of package {self.package} {self.version} cannot be loaded: "
                f"{type(error).__name__}: {error}. Repair the package, or remove it with pip uninstall {self.package}"
            ) from error


@cache
def plug_ins(group: Group) -> tuple[PlugIn, ...]:
    """Return the plug-ins of a group that are installed, by name; nothing is imported.

    Raises:
        PlugInError: two packages bring the same name.
    """
    by_name: dict[str, PlugIn] = {}
    for entry in entry_points(group=group):
        package = "an unnamed package" if entry.dist is None else entry.dist.name
        plug_in = PlugIn(group, entry.name, package, "" if entry.dist is None else entry.dist.version, entry)
        other = by_name.setdefault(entry.name, plug_in)
        if (other.package, other.entry.value) != (plug_in.package, plug_in.entry.value):
            raise PlugInError(
                f"packages {other.package} and {plug_in.package} both bring '{entry.name}' ({group}). Remove one of them with "
                "pip uninstall"
            )
    return tuple(by_name[name] for name in sorted(by_name))


@cache
def loaded_plug_ins(group: Group, *, own: frozenset[str] = frozenset()) -> dict[str, tuple[PlugIn, Any]]:
    """Return the plug-ins of a group that could be imported, with their objects, by name.

    One that cannot be imported is left out, so that it harms no recipe that does not name it; ``broken_plug_ins`` says why.

    Args:
        group: what is asked for.
        own: names of this repository, which no package may bring.

    Raises:
        PlugInError: a package brings a name of this repository.
    """
    loaded = {}
    for plug_in in plug_ins(group):
        if plug_in.name in own:
            raise PlugInError(
                f"package {plug_in.package} brings '{plug_in.name}' ({group}), which is depthmill's own. Remove it with "
                f"pip uninstall {plug_in.package}, or give it another name"
            )
        try:
            loaded[plug_in.name] = (plug_in, plug_in.load())
        except PlugInError:
            continue
    return loaded


def broken_plug_ins(group: Group) -> dict[str, str]:
    """Return why plug-ins of a group cannot be loaded, by name; empty if all can."""
    reasons = {}
    for plug_in in plug_ins(group):
        try:
            plug_in.load()
        except PlugInError as error:
            reasons[plug_in.name] = str(error)
    return reasons
