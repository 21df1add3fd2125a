"""Each notebook runs from its first cell to its last on a small simulated world."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

import depthmill as dm
from tests.conftest import REPOSITORY

nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed: pip install 'depthmill[notebooks]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'depthmill[notebooks]'")

NOTEBOOKS = REPOSITORY / "notebooks"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives of 3 s, made; one is trained on."""
    folder = tmp_path_factory.mktemp("notebooks")
    source = {"kind": "synthetic", "scenes": 2, "seconds": 3, "image_size": [160, 96], "root": str(folder / "world")}
    train = {
        "network": {"base_channels": 8, "input_downscale": 2},
        "data": {"batch_size": 2},
        "evaluation": {"target": "depth_truth"},
        "max_steps": 4,
    }
    content = {"source": source, "store": str(folder / "store"), "train": train}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    assert dm.run(path, workers=1, report=False).num_failed == 0
    return path


def executed(name: str, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Run a notebook with another recipe in its first cell of code; return the outputs of all cells."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    nbformat.validate(notebook)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert 'recipe = "../demo/recipe.yaml"' in parameters.source
    parameters.source = parameters.source.replace("../demo/recipe.yaml", str(recipe))
    nbclient.NotebookClient(
        notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}
    ).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def num_pictures(outputs: list[dict]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)


def printed(outputs: list[dict]) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.slow
def test_store_notebook_when_run_then_it_plots_frames_and_errors(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = executed("open_a_store.ipynb", recipe, monkeypatch)
    assert num_pictures(outputs) == 5 and re.search(r"mean absolute error \d\.\d{3} m", printed(outputs))
    assert any("xarray.Dataset" in output.get("data", {}).get("text/plain", "") for output in outputs)


@pytest.mark.slow
def test_training_notebook_when_run_then_it_trains_predicts_and_films(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'depthmill[train]'")
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'depthmill[video]'")
    outputs = executed("train_on_the_demo.ipynb", recipe, monkeypatch)
    text = printed(outputs)
    assert num_pictures(outputs) == 2 and "radar moves the depth of a pixel by" in text and "scene.webm: scene-" in text
    assert any("<video" in output.get("data", {}).get("text/html", "") for output in outputs)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_when_committed_then_it_holds_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
