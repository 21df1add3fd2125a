"""The package timm, which needs torchvision: import it, or say why that fails and what helps.

Why     A torchvision of another build than torch's, e.g. one for CUDA beside torch for the CPU, cannot be imported at all.
        torch then says that an operator of torchvision does not exist, which tells nobody what to do.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from storage_schemas.errors import DepthmillError
from storage_schemas.install_command import install_command


class NoTimmError(DepthmillError):
    """The package timm cannot be imported; says why and what helps."""


def import_timm() -> Any:
    """Return the package timm.

    Raises:
        NoTimmError: it is not installed, or torchvision does not fit torch.
    """
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise NoTimmError(f"{error.name or error} is not installed. Run: {install_command('timm')}") from error
    except (ImportError, RuntimeError, AttributeError) as error:  # the last two where torchvision does not fit torch
        versions = " and ".join(f"{name} {_version(name)}" for name in ("torchvision", "torch"))
        raise NoTimmError(
            f"timm {_version('timm')} cannot be imported: {type(error).__name__}: {error}. {versions} are installed here. Take "
            "both from the same place, for the same device (CPU or CUDA), in versions that belong together"
        ) from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
