"""A trained network as one ONNX file.

Writes  <out>, whole or not at all
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storage_schemas.errors import OutTakenError, RecipeError
from storage_schemas.files import StoreFiles

if TYPE_CHECKING:
    from depthmill.networks import Model

_NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class WrittenOnnx:
    """What was written.

    Attributes:
        path: of the file.
        num_bytes: of it.
        differences: by output, the largest difference from torch.
        shapes: by input and output.
    """

    path: Path
    num_bytes: int
    differences: dict[str, float]
    shapes: dict[str, tuple[int, ...]]


def parse_size(text: str) -> tuple[int, int]:
    """Return rows and columns of a text such as 352x1216; RecipeError if it is none."""
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise RecipeError(f"--size is '{text}', expected ROWSxCOLUMNS, e.g. 352x1216")
    return int(found[1]), int(found[2])


def check_before_onnx(out: Path) -> None:
    """Check what can be checked before torch is loaded.

    Raises:
        RecipeError: a package of the extra ``onnx`` is missing.
        OutTakenError: there is something at ``out``.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise RecipeError(f"ONNX needs {', '.join(missing)}, not installed here. Run: pip install 'depthmill[onnx]'")
    if out.exists():
        raise OutTakenError(f"'{out}' is there already, and nothing is replaced. Choose another --out")


def write_onnx(model: Model, out: Path, *, size: tuple[int, int] | None) -> WrittenOnnx:
    """Write a network as ONNX, after its answers were compared with torch's.

    Args:
        model: the network.
        out: the file; must not exist.
        size: rows and columns of its images; None = what its configuration says.

    Raises:
        RecipeError: a package is missing, the size does not fit, or networks of this family have no such file.
        OutTakenError: there is something at ``out``.
        StoreError: it cannot be written.
        CheckpointError: ONNX Runtime answers otherwise than torch.
    """
    check_before_onnx(out)
    from model.train.onnx_file import onnx_file
    from model.train.shared_weights import without_paths

    opened = model.opened
    notes = {"producer": "depthmill", "family": model.family.name, "name": opened.name}
    notes["config"] = json.dumps(without_paths(opened.config).model_dump(mode="json"))
    made = onnx_file(model.family.traceable(opened, size), notes)
    StoreFiles(out.absolute().parent).put(out.name, made.content)
    return WrittenOnnx(out, len(made.content), made.differences, made.shapes)
