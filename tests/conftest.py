from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # with it, each process that a test starts compiles all that it imports
sys.dont_write_bytecode = False
gc.set_threshold(20_000, 10, 10)

import hypothesis
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.leftover_processes import watch_this_run
from tests.tiny_nuscenes import write_tiny_nuscenes

watch_this_run()

NEEDS_DEVKIT = "nuscenes-devkit is not installed: on Python 3.11 or 3.12, pip install -e '.[devkit]'"
"""Why a test is skipped that compares with the devkit; for ``pytest.importorskip``."""

hypothesis.settings.register_profile("no clock", deadline=None)  # a busy machine is no fault of an example
hypothesis.settings.load_profile("no clock")

# Prefect reads it once, when a test module imports it while tests are collected: before any fixture
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "600")


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what lives as long as the process: modules and tests, half a million objects.

    It looked at all of them again and again, for a tenth of the time of all tests. What a test makes is still collected.
    """
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Give all back to the garbage collector, so that libraries find nothing left of theirs at the end."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _kernels_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let only one of pytest-xdist's workers compile a kernel."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        from tests.kernels_once import compile_once

        compile_once(tmp_path_factory.getbasetemp().parent)


@pytest.fixture(scope="session", autouse=True)
def _commands_once() -> Iterator[None]:
    """Build the command line once: Typer builds all commands anew for each call, which takes longer than many a call."""
    import typer.main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the shared real data; the test is skipped where it is not there."""
    folder = Path(os.environ.get("DEPTHMILL_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("real data not found: put the shared folder beside the repository or set DEPTHMILL_SHARED")
    return folder


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep caches and Prefect's state out of the user's home, and passwords of one test out of the next.

    A command that is not told how many processes it may start works in its own: to start one takes longer than a tiny scene.
    """
    home = tmp_path_factory.getbasetemp() / "home"
    monkeypatch.setenv("DEPTHMILL_CACHE_DIR", str(home / "cache"))
    monkeypatch.setenv("DEPTHMILL_WORKERS", "1")
    monkeypatch.setenv("PREFECT_HOME", str(home / "prefect"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "600")  # a busy machine is no fault of a test
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PREFECT_LOGGING_TO_API_ENABLED", "false")
    monkeypatch.setattr("storage_schemas.shown_text._known_secrets", set())
    monkeypatch.setattr("storage_schemas.install_command._origin", dict)  # as from an index, wherever the tests run
    monkeypatch.setattr("flows.waiting.PATIENCE_S", 3600.0)  # no line more because a machine is busy


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny nuScenes database that tests must not change."""
    return write_tiny_nuscenes(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_store(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny database with every stage run: 2 frames to train on, 2 to validate on, 36x64. Tests must not change it."""
    from flows.run.bare_loop import BareLoop
    from flows.run.making import make_units
    from flows.run.opening import open_recipe
    from flows.settings import Settings
    from pipeline.recipe import parse_recipe

    folder = tmp_path_factory.mktemp("tiny-store")
    recipe = {"source": {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}, "store": str(folder / "store")}
    opened = open_recipe(parse_recipe(recipe, where="test"), Settings(workers=1, cache_dir=folder / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    assert made.num_failed == 0
    return folder / "store"


@pytest.fixture
def copied_store(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of ``tiny_store`` where ``write_recipe`` looks for its store; the test may change it."""
    return shutil.copytree(tiny_store, tmp_path / "store")


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train and measure on the CPU, without loader workers."""
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")


@pytest.fixture(scope="session")
def tiny_kitti_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny KITTI object set with every stage run and a plane with boxes as the teacher: 4 frames to train on, 2 to validate on.

    Tests must not change it.
    """
    from flows.run.bare_loop import BareLoop
    from flows.run.making import make_units
    from flows.run.opening import open_recipe
    from flows.settings import Settings
    from pipeline.recipe import parse_recipe
    from tests.tiny_kitti import write_tiny_kitti

    folder = tmp_path_factory.mktemp("tiny-kitti")
    recipe = {
        "source": {"kind": "kitti_object", "root": str(write_tiny_kitti(folder / "raw")), "splits": ["train", "val"]},
        "store": str(folder / "store"),
        "cameras": ["CAM_2"],
        "stages": {"predict_mono_depth": {"teacher": "plane_and_boxes"}, "align_mono_depth": {"method": "as_is", "sky": "none"}},
    }
    opened = open_recipe(parse_recipe(recipe, where="test"), Settings(workers=1, cache_dir=folder / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    assert made.num_failed == 0
    return folder / "store"


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe over a nuScenes root with the store below tmp_path."""

    def write(root: Path, **changes: object) -> Path:
        recipe: dict[str, object] = {
            "source": {"kind": "nuscenes", "root": str(root), "version": "v1.0-mini"},
            "store": str(tmp_path / "store"),
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write


@pytest.fixture
def depthmill(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run the command line in this process; return its exit code and all it printed."""

    def run(*args: object) -> tuple[int, str]:
        from flows.cli import main

        monkeypatch.setattr(sys, "argv", ["depthmill", *map(str, args)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capfd.readouterr()
        return code, captured.out + captured.err

    return run


@pytest.fixture
def depthmill_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own."""

    def run(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from flows.cli import main; main()", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=REPOSITORY, **kwargs)

    return run
