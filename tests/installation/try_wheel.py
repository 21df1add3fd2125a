"""Install the wheel as a user does, and work with it from an empty folder: ``python try_wheel.py [--python NAME ...]``.

Why    Tests run from a checkout. What is missing in the wheel, or does not fit a Python or a NumPy, only an installation shows
Does   For each Python and NumPy: a new environment, the wheel, then init, run, verify and plan --check on the tiny nuScenes set, and
       with --train also train and evaluate. The digests of all units are the same everywhere, so nothing depends on Python or NumPy
Prints a line for each environment: versions, seconds to install, megabytes, units. Exit code 1 if a command fails or digests differ
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHONS = ("python3.11", "python3.12", "python3.13")
WRITE_DATA = """
import sys, pathlib
sys.path.append(sys.argv[1])  # at the end: what is installed goes before the checkout
from tests.tiny_nuscenes import write_tiny_nuscenes
write_tiny_nuscenes(pathlib.Path("data"))
"""
SMALL = ("train.network.base_channels=8", "train.data.batch_size=2", "train.max_steps=2")


def main() -> int:
    """Try each environment; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--python", nargs="+", default=PYTHONS, help="names or paths; one that does not start is said and left out"
    )
    parser.add_argument("--numpy", nargs="+", default=["2"], help="1.26 or 2; 1.26 has no wheel for Python 3.13")
    parser.add_argument("--train", action="store_true", help="install the extra train as well, and train")
    args = parser.parse_args()
    usable = [python for python in args.python if _starts(python)]
    for python in args.python:
        if python not in usable:
            print(f"{python}: does not start here, left out")
    digests: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="depthmill-wheel-") as scratch:
        folder = Path(scratch)
        wheel = _wheel(usable[0], folder) if usable else folder
        for python in usable:
            for numpy in args.numpy:
                if numpy.startswith("1") and "3.13" in _version(python):
                    continue
                digests.add(_try(python, numpy, wheel, folder, train=args.train))
    if len(digests) > 1:
        print(f"units differ between environments: {len(digests)} digests")
    if not digests:
        print("nothing was tried")
    return 0 if len(digests) == 1 else 1


def _starts(python: str) -> bool:
    try:
        return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _version(python: str) -> str:
    return subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _wheel(python: str, folder: Path) -> Path:
    """Build the wheel of a copy, because a build leaves its folder beside the sources."""
    copy = folder / "sources"
    shutil.copytree(REPOSITORY, copy, ignore=lambda at, names: _not_in_the_wheel(names) if Path(at) == REPOSITORY else [])
    _run([python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(copy)], folder)
    return next(folder.glob("depthmill-*.whl"))


def _not_in_the_wheel(names: list[str]) -> set[str]:
    needed = {"depthmill", "storage_schemas", "pipeline", "flows", "model", "pyproject.toml", "README.md", "LICENSE"}
    return set(names) - needed


def _try(python: str, numpy: str, wheel: Path, folder: Path, *, train: bool) -> str:
    """Install the wheel, work with it, print a line, and return the digest of the units that it made."""
    home = folder / f"{Path(python).name}-numpy{numpy}"
    work, bin_folder = home / "work", home / "venv" / "bin"
    work.mkdir(parents=True)
    began_s = time.monotonic()
    _run([python, "-m", "venv", str(home / "venv")], work)
    extra = "[train]" if train else ""
    pip = [str(bin_folder / "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    _run([*pip, f"{wheel}{extra}", f"numpy=={numpy}.*"], work)
    seconds = time.monotonic() - began_s
    megabytes = sum(file.lstat().st_size for file in (home / "venv").rglob("*") if not file.is_dir()) / 1e6
    environment = _environment(home)
    _run([str(bin_folder / "python"), "-c", WRITE_DATA, str(REPOSITORY)], work, environment)
    depthmill = str(bin_folder / "depthmill")
    for command in _commands(train=train):
        _run([depthmill, *command], work, environment)
    made = _digest(work / "store")
    said = subprocess.run(
        [str(bin_folder / "python"), "-c", "import sys, numpy; print(sys.version.split()[0], numpy.__version__)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    done = "run, train, evaluate" if train else "run"
    print(
        f"Python {said[0]}, numpy {said[1]}: {done}; {seconds:.0f} s to install, {megabytes:.0f} MB, units {made[:16]}",
        flush=True,
    )
    shutil.rmtree(home)
    return made


def _commands(*, train: bool) -> list[list[str]]:
    first = [
        ["init", "data"],
        ["run", "recipe.yaml", "--workers", "1"],
        ["verify", "recipe.yaml"],
        ["plan", "recipe.yaml", "--check"],
    ]
    if not train:
        return first
    changes = [part for change in SMALL for part in ("--set", change)]
    return [
        *first,
        ["train", "recipe.yaml", *changes, "--out", "trained"],
        ["evaluate", "trained", "recipe.yaml", "--out", "measured"],
    ]


def _environment(home: Path) -> dict[str, str]:
    """Return an environment without this checkout, and with folders of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DEPTHMILL_", "PREFECT_"))}
    return kept | {"DEPTHMILL_CACHE_DIR": str(home / "cache"), "PREFECT_HOME": str(home / "prefect"), "DO_NOT_TRACK": "1"}


def _digest(store: Path) -> str:
    """Return one digest of every file of every unit; lineages are left out, because they say when and where a unit was made."""
    units = [lineage.parent for lineage in sorted(store.rglob("lineage.json"))]
    files = [file for unit in units for file in sorted(unit.rglob("*")) if file.is_file() and file.name != "lineage.json"]
    if not files:
        raise SystemExit(f"error: '{store}' holds no unit")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(store)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    sys.exit(main())
