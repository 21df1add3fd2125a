"""Errors that a user can cause: each names the thing, the value, what was expected and what to do next."""

from __future__ import annotations

from storage_schemas.shown_text import shown

LONGEST_TEXT = 8_000
"""Characters of an error; a name of a megabyte in it would hide what is wrong."""


class DepthmillError(ValueError):
    """Base of every error that is shown to the user as text and not as a traceback; its text has no passwords, see ``shown``."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(_short(shown(arg)) if isinstance(arg, str) else arg for arg in args))


def _short(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} characters left out) ... {text[-half:]}"


class LayoutError(DepthmillError):
    """Arrays or tables that do not follow the layout of their store."""


class StoreError(DepthmillError):
    """A store that cannot be read or written: path, permission, disk space, damaged bytes."""


class StoreAccessError(StoreError):
    """A store that does not answer or refuses access. Its content is unknown, so nothing in it counts as damaged."""


class NewerLayoutError(StoreError):
    """A unit written by a newer depthmill than this one."""


class OutTakenError(StoreError):
    """A file or folder to write that cannot be taken: something else is there already, or its folder is not there."""


class UnknownLayoutError(StoreError):
    """A store that this depthmill does not know: the package whose stage writes it is not installed here."""


class UnitNotFoundError(StoreError):
    """A unit that has no commit mark (never written, half-written, or pruned)."""


class ManifestError(DepthmillError):
    """A manifest that cannot be found or does not fit the store."""


class ManifestNotFoundError(ManifestError):
    """A store has no manifest, or none of the name that was given."""


class SourceError(DepthmillError):
    """Raw data (tables, point clouds, images) that is missing or broken."""


class RecipeError(DepthmillError):
    """A recipe with a typo, a wrong type or a value out of bounds."""
