"""What this machine can do, and what to do about what it cannot."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

PACKAGES = ("numpy", "numba", "zarr", "pyarrow", "dask", "prefect", "nuscenes-devkit")


class Finding(NamedTuple):
    """One line of the doctor: what was looked at, whether it is well, and in words what was found."""

    about: str
    is_ok: bool
    says: str


def diagnose() -> list[Finding]:
    """Look at Python, packages, devices and engines."""
    found = [Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()}, {os.cpu_count()} cores")]
    for package in PACKAGES:
        try:
            found.append(Finding(package, True, version(package)))
        except PackageNotFoundError:
            found.append(Finding(package, False, "not installed. Run: pip install depthmill"))
    if importlib.util.find_spec("torch") is None:
        return [*found, Finding("torch", True, "not installed; only needed to train. Run: pip install 'depthmill[train]'")]
    from model.devices import describe_devices

    found.append(Finding("torch", True, version("torch")))
    for device in describe_devices():
        found.append(Finding(f"device {device.name}", True, device.description))
        best = next(choice.engine for choice in device.engines if choice.is_usable)
        for choice in device.engines:
            state = "used" if choice.engine == best else "usable" if choice.is_usable else "no"
            found.append(Finding(f"  scan {choice.engine}", True, f"{state}: {choice.reason}"))
    return found
