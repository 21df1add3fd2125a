"""Whether what a deployed flow makes is still there when the flow has ended.

A worker of a Prefect work pool runs each flow in a temporary folder and deletes it afterwards, with all that was written there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flows.run.opening import Opened
from storage_schemas.errors import RecipeError
from storage_schemas.files import StoreFiles


class _Place(NamedTuple):
    """A setting that says where results go, its value, and what to write instead."""

    setting: str
    value: str
    remedy: str


def refuse_lost_results(opened: Opened, *, where: str, has_pool: bool) -> None:
    """Check, before a recipe is deployed, that what its flows make outlives them.

    Args:
        opened: the recipe.
        where: name of the recipe file.
        has_pool: the flows will run on workers of a work pool, not in this process.

    Raises:
        RecipeError: store or runs would be lost; names the setting, its value and what to write instead.
    """
    temporary = temporary_folder()
    for place in _places(opened, where):
        files = StoreFiles(place.value)
        if files.root.startswith("memory://"):
            raise RecipeError(f"{place.setting} is '{place.value}', which ends with its process. {place.remedy}")
        if not has_pool or not files.is_local:
            continue
        if _is_relative(place.value):
            raise _relative(place)
        if Path(files.root).resolve().is_relative_to(temporary):
            raise RecipeError(
                f"{place.setting} is '{place.value}', below the folder for temporary files '{temporary}', which is emptied when "
                f"a machine starts. Champion and history would be lost then. {place.remedy}"
            )


def refuse_deleted_folder(opened: Opened, *, where: str) -> None:
    """Check, in a flow that a worker runs, that nothing would be written below the folder that the worker deletes.

    Raises:
        RecipeError: as above; a deployment may be made without ``depthmill deploy``, and the worker has settings of its own.
    """
    if Path.cwd().resolve().is_relative_to(temporary_folder()):
        for place in _places(opened, where):
            if _is_relative(place.value):
                raise _relative(place)


def temporary_folder() -> Path:
    """Return the folder of this machine for what need not last."""
    return Path(tempfile.gettempdir()).resolve()


def _places(opened: Opened, where: str) -> Iterator[_Place]:
    yield _Place(
        f"recipe '{where}': store", opened.recipe.store, "Write a place that stays, e.g. s3://bucket/store or /data/store"
    )
    if opened.settings.runs_dir is not None:
        remedy = "Unset it, so that champion and history are in <store>/runs, or write a whole path or a URL"
        yield _Place("setting DEPTHMILL_RUNS_DIR", opened.settings.runs_dir, remedy)


def _is_relative(place: str) -> bool:
    return StoreFiles(place).is_local and not Path(place.removeprefix("file://")).expanduser().is_absolute()


def _relative(place: _Place) -> RecipeError:
    return RecipeError(
        f"{place.setting} is '{place.value}', which starts at the folder of the flow. A worker of a work pool runs each flow in "
        f"a temporary folder and deletes it, so each round would lose what the former one made. {place.remedy}"
    )
