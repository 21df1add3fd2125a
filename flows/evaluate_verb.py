"""What ``depthmill evaluate`` and ``depthmill compare`` do."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.training import refuse_without_torch
from storage_schemas.errors import RecipeError
from storage_schemas.evaluation import read_evaluation
from storage_schemas.manifest import Manifest

if TYPE_CHECKING:
    from model.semodepth.net import SemoDepth
    from model.train.config import Machine


def open_network(checkpoint: Path, *, reference: bool, max_depth_m: float, plug_in: bool) -> tuple[SemoDepth, str]:
    """Load a network and name it.

    Args:
        checkpoint: a training's folder (its best.pt is taken) or a file.
        reference: the file is one of the public code.
        max_depth_m: with ``reference``: far end of its depth space.
        plug_in: with ``reference``: it has the branch for monocular depth.

    Raises:
        WeightsFileError: no such file.
        CheckpointError: it does not fit.
    """
    refuse_without_torch()
    from model.semodepth.reference import load_reference
    from model.train.checkpoint import load_network

    path = checkpoint / "best.pt" if checkpoint.is_dir() else checkpoint
    name = checkpoint.name if checkpoint.is_dir() else path.stem
    return load_reference(path, max_depth_m=max_depth_m, plug_in=plug_in) if reference else load_network(path), name


def evaluate_and_print(
    network: SemoDepth,
    name: str,
    manifest: Manifest,
    machine: Machine,
    *,
    split: str,
    target: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure a network and print its table.

    Raises:
        RecipeError: split or target do not exist.
    """
    from pydantic import ValidationError

    from model.devices import network_device
    from model.train.config import EvaluationConfig
    from model.train.evaluate import evaluate, network_predict, write_evaluation_folder

    try:
        config = EvaluationConfig.model_validate({"split": split, "target": target})
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"--{first['loc'][0]} is {first['input']!r}: {first['msg']}") from error
    device = network_device(machine.accelerator)
    folder = out or Path(f"evaluation-{name}-{manifest.path.fingerprint}-{split}")
    evaluation = evaluate(
        network_predict(network.to(device), precision="bfloat16" if device.type == "cuda" else "float32"),
        manifest,
        config,
        cameras=(),
        min_depth_m=network.config.min_depth_m,
        max_depth_m=network.config.max_depth_m,
        with_mono=network.config.plug_in,
        machine=machine,
        device=device,
    )
    title = f"{name} on {split} of manifest {manifest.path.fingerprint}, truth {target}"
    rows = write_evaluation_folder(folder, evaluation, title=title)
    if as_json:
        print(
            json.dumps(
                {"folder": str(folder), "manifest": manifest.path.fingerprint, "rows": [_plain(row) for row in rows]}, indent=1
            )
        )
    else:
        print((folder / "table.md").read_text(encoding="utf-8"))
        print(f"wrote {folder}")


def compare_and_print(a: Path, b: Path, *, metric: str, cap_m: float, radar: str, as_json: bool) -> None:
    """Compare two evaluations frame by frame and print what differs."""
    refuse_without_torch()
    from model.train.compare import compare_runs, comparison_text

    frames = [read_evaluation(str(_evaluation_of(folder)))[0] for folder in (a, b)]
    found = compare_runs(*frames, metric=metric, cap_m=cap_m, radar=radar)
    if as_json:
        print(json.dumps([_plain(one) for one in found], indent=1))
    else:
        print(f"a = {a}\nb = {b}\n{comparison_text(found)}")


def _evaluation_of(folder: Path) -> Path:
    return folder / "evaluation" if (folder / "evaluation").is_dir() else folder


def _plain(row: Any) -> dict[str, Any]:
    found: dict[str, Any] = asdict(row) if is_dataclass(row) and not isinstance(row, type) else row._asdict()
    return found
