"""The demo: a small recipe over a simulated world, written beside its store so that a newcomer can change it and run again."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from storage_schemas.errors import OutTakenError


def prepare_demo(folder: Path) -> Path:
    """Write the demo recipe with this folder's paths unless it is there already, and return its path."""
    recipe = folder / "recipe.yaml"
    if recipe.is_file():
        return recipe
    text = resources.files("flows").joinpath("recipes/demo.yaml").read_text(encoding="utf-8")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        recipe.write_text(text.replace("{folder}", str(folder.absolute())), encoding="utf-8")
    except OSError as error:
        raise OutTakenError(f"cannot write the demo folder '{folder}': {error.strerror}. Choose another with --out") from error
    return recipe
