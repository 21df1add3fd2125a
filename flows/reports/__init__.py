"""Pages and pictures. Those of a model family are found through its name, so that no caller branches on the family."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from storage_schemas.plug_ins import loaded_plug_ins

_OF_NO_FAMILY = ("html", "training", "store", "plain")
"""Folders here that are not named after a family; the family of a package may be called like one of them."""


def write_training_page(family: str, folder: Path) -> None:
    """Write report.html of a training of a family, from what is in its folder."""
    _pages_of(family).write_report(folder)


def frame_drawer(family: str) -> Callable[[Any], bytes] | None:
    """Return what makes a JPEG of a family's evaluated or predicted frame; None if the family draws no frames."""
    return getattr(_pages_of(family), "frame_jpeg", None)


def analysis_plots(family: str) -> Callable[[Any], Mapping[str, bytes]] | None:
    """Return what makes the plots of a family's analysis, a file's content by its name; None if the family draws none."""
    return getattr(_pages_of(family), "analysis_plots", None)


def _pages_of(family: str) -> ModuleType:
    """Return the module of a family's pages: ours, that of a package which brings it, or the plain page."""
    name = f"{__name__}.{family}"
    if family.isidentifier() and family not in _OF_NO_FAMILY and importlib.util.find_spec(name) is not None:
        return importlib.import_module(name)
    brought = loaded_plug_ins("depthmill.reports").get(family)
    pages: ModuleType = importlib.import_module(f"{__name__}.plain") if brought is None else brought[1]
    return pages
