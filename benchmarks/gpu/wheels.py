"""What the parts need beside torch and triton, what of it is missing here, and how to bring it to a machine without a network."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

CARRIED = (
    "pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions", "pydantic-settings", "python-dotenv",
    "zarr", "numcodecs", "donfig", "google-crc32c", "orjson", "simplejpeg", "xxhash", "lightning-fabric", "lightning-utilities",
)  # fmt: skip
"""14 MB that a CUDA image with torch, NumPy, SciPy, numba and PyArrow lacks."""

BASICS = ("numpy", "pillow", "PyYAML", "fsspec", "packaging")
"""26 MB, only where they are missing: another NumPy than the one that a machine's packages were built for breaks them."""

LARGE = ("numba", "llvmlite", "scipy", "pyarrow", "numba-cuda")
"""150 MB that a CUDA image for science has; the parts with a drive need them. numba and llvmlite belong together."""

DISTRIBUTION = {"yaml": "PyYAML", "PIL": "pillow", "google_crc32c": "google-crc32c", "lightning_fabric": "lightning-fabric",
                "numba.cuda": "numba-cuda"}  # fmt: skip
"""Of what is imported under another name."""

BROUGHT_WITH = {
    "pydantic": ("pydantic-core", "annotated-types", "typing-inspection", "typing-extensions"),
    "zarr": ("donfig", "packaging", "typing-extensions"),
    "lightning-fabric": ("lightning-utilities", "packaging", "fsspec", "typing-extensions"),
    "numba": ("llvmlite",),
}
"""What a package cannot be imported without."""

_PIN = r"(?P<name>[^=\s]+)==(?P<version>[^;\s]+)(; python_version (?P<compare><|>=) '(?P<of>[\d.]+)')?"
"""A line of constraints.txt; written out, because a bare machine has no package that parses one."""

PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux1")


def is_importable(module: str) -> bool:
    """Say whether a module is there; what throws while it is looked for is not."""
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:
        return False


def pins(python: str) -> dict[str, str]:
    """Return the versions of constraints.txt for a Python, e.g. 3.12, by normalised name."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [re.fullmatch(_PIN, line.split("#")[0].strip()) for line in lines if "==" in line]
    return {_normal(one["name"]): one["version"] for one in pinned if one and _holds(one["compare"], one["of"], python)}


def _holds(compare: str | None, of: str | None, python: str) -> bool:
    if compare is None or of is None:
        return True
    this, that = (tuple(map(int, version.split("."))) for version in (python, of))
    return this < that if compare == "<" else this >= that


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wheels_of(modules: set[str]) -> list[str]:
    """Return the distributions that bring modules, and what these cannot do without, unless it is here."""
    names: list[str] = []
    for module in sorted(modules):
        name = DISTRIBUTION.get(module, module)
        for each in (name, *(other for other in BROUGHT_WITH.get(name, ()) if not is_importable(other.replace("-", "_")))):
            if each not in names:
                names.append(each)
    return names


def download_line(names: list[str], *, python: str | None = None, machine: str | None = None) -> str:
    """Return the line that downloads wheels on a machine with a network, for this Python or another one."""
    python, machine = python or ".".join(map(str, sys.version_info[:2])), machine or platform.machine()
    version_of = pins(python)
    wanted = [f"{name}=={version_of[_normal(name)]}" if _normal(name) in version_of else name for name in names]
    platforms = " ".join(f"--platform {name}_{machine}" for name in PLATFORMS)
    options = f"--no-deps --only-binary=:all: --implementation cp --python-version {python} {platforms}"
    return f"python3 -m pip download {options} -d wheels {' '.join(wanted)}"


INSTALL_LINE = "python3 -m pip install --no-index --no-deps --target site wheels/*.whl && export PYTHONPATH=site"
"""The line for the GPU machine, in the folder where ``wheels`` is."""


def missing_tools() -> list[str]:
    """Return what is missing beside Python packages, and what that means."""
    found = []
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        found.append("a C compiler (cc, gcc or clang, or CC): Triton and torch.compile build their launchers with it")
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        found.append("Python.h (the package python3-dev): Triton builds its launchers with it")
    return found
