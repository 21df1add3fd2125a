"""What ``depthmill evaluate`` and ``depthmill compare`` do."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flows.detection_verbs import OpenedDetector, is_public_detector, open_public_detector
from flows.render_verbs import OpenedPretraining
from flows.training import refuse_without_torch
from storage_schemas.errors import DepthmillError, RecipeError
from storage_schemas.evaluation import read_evaluation
from storage_schemas.manifest import Manifest

if TYPE_CHECKING:
    from model.semodepth.net import SemoDepth
    from model.train.config import Machine

EvaluationKind = Literal["depth", "objects", "renderings"]


class OpenedNetwork(NamedTuple):
    """A depth network in memory, its name, and the rows that it was trained to see (``data.rows``); None = all."""

    network: SemoDepth
    name: str
    row_band: tuple[int, int] | None


def open_network(
    checkpoint: Path, data: str, *, reference: bool, max_depth_m: float, plug_in: bool
) -> OpenedNetwork | OpenedDetector | OpenedPretraining:
    """Load a network of any family and name it.

    Args:
        checkpoint: a training's folder (its best.pt is taken) or a file.
        data: what it will be used on; a checkpoint of the public code does not say which rows it sees, a recipe file does.
        reference: the file is one of the public code; its keys say of which.
        max_depth_m: with ``reference`` of a depth network: far end of its depth space.
        plug_in: with ``reference`` of a depth network: it has the branch for monocular depth.

    Raises:
        WeightsFileError: no such file.
        CheckpointError: it does not fit.
        RecipeError: with ``reference``: the recipe has a mistake, or the file is of depthmill and says itself what it is.
    """
    refuse_without_torch()
    from model.blocks.weights_file import load_state_file
    from model.mim4d.config import Mim4dTrainConfig
    from model.mim4d.net import Mim4d
    from model.monoddle.config import MonoDdleTrainConfig
    from model.monoddle.net import MonoDdle
    from model.semodepth.net import SemoDepth
    from model.semodepth.reference import load_reference
    from model.train.checkpoint import load_checkpoint, network_of

    path = checkpoint / "best.pt" if checkpoint.is_dir() else checkpoint
    name = checkpoint.name if checkpoint.is_dir() else path.stem
    if reference:
        found = load_state_file(path)
        if "format" in found and "config" in found:
            raise RecipeError(
                f"checkpoint '{path}' is of depthmill and says itself what it is; --reference is for those of the public code. "
                "Leave it out"
            )
        if is_public_detector(found):
            return open_public_detector(path, name, data)
        return OpenedNetwork(load_reference(path, max_depth_m=max_depth_m, plug_in=plug_in), name, _row_band_of_recipe(data))
    opened = load_checkpoint(path)
    network = network_of(opened)
    if isinstance(opened.config, MonoDdleTrainConfig):
        assert isinstance(network, MonoDdle)
        return OpenedDetector(network, name, opened.config)
    if isinstance(opened.config, Mim4dTrainConfig):
        assert isinstance(network, Mim4d)
        return OpenedPretraining(network, name, opened.config)
    assert isinstance(network, SemoDepth)
    return OpenedNetwork(network, name, opened.config.data.rows)


def evaluate_and_print(
    network: SemoDepth,
    name: str,
    manifest: Manifest,
    machine: Machine,
    *,
    split: str,
    target: str,
    row_band: tuple[int, int] | None = None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure a network and print its table.

    Raises:
        RecipeError: split or target do not exist.
    """
    from pydantic import ValidationError

    from model.devices import network_device
    from model.semodepth.config import EvaluationConfig
    from model.semodepth.evaluation import WITHOUT_MONO, Evaluation, evaluate, network_predict, write_evaluation_folder

    try:
        config = EvaluationConfig.model_validate({"split": split, "target": target})
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"--{first['loc'][0]} is {first['input']!r}: {first['msg']}") from error
    device = network_device(machine.accelerator)
    folder = out or Path(f"evaluation-{name}-{manifest.path.fingerprint}-{split}")

    has_radar = any(row["split"] == split and row["unit_radar_points"] is not None for row in manifest.rows())

    def measured(*, withhold_mono: bool) -> Evaluation:
        return evaluate(
            network_predict(network.to(device), precision="bfloat16" if device.type == "cuda" else "float32"),
            manifest,
            config,
            cameras=(),
            row_band=row_band,
            min_depth_m=network.config.min_depth_m,
            max_depth_m=network.config.max_depth_m,
            with_radar=has_radar,
            with_mono=network.config.plug_in,
            withhold_mono=withhold_mono,
            machine=machine,
            device=device,
        )

    has_mono = any(row["split"] == split and row["unit_depth_mono"] is not None for row in manifest.rows())
    title = f"{name} on {split} of manifest {manifest.path.fingerprint}, truth {target}"
    title += f", rows {row_band[0]} to {row_band[1]}" if row_band else ""
    title += "" if has_radar else ", no radar in the split"
    found: dict[str, Any] = {"folder": str(folder), "manifest": manifest.path.fingerprint}
    own_title = title
    if network.config.plug_in:
        own_title = f"{title}, monocular depth {'given' if has_mono else 'withheld: the split has none'}"
    evaluation = measured(withhold_mono=not has_mono)
    found["rows"] = [_plain(row) for row in write_evaluation_folder(folder, evaluation, title=own_title)]
    tables = [folder / "table.md"]
    if network.config.plug_in and has_mono:  # one checkpoint serves with and without
        rows = write_evaluation_folder(
            folder / WITHOUT_MONO, measured(withhold_mono=True), title=f"{title}, monocular depth withheld"
        )
        found["rows_without_mono"] = [_plain(row) for row in rows]
        tables.append(folder / WITHOUT_MONO / "table.md")
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        for table in tables:
            print(table.read_text(encoding="utf-8"))
        print(f"wrote {folder}")


def compare_and_print(a: Path, b: Path, *, metric: str, cap_m: float, radar: str, as_json: bool) -> None:
    """Compare two evaluations of depth frame by frame and print what differs."""
    refuse_without_torch()
    from model.semodepth.comparison import compare_runs, comparison_text

    frames = [read_evaluation(str(evaluation_of(folder)))[0] for folder in (a, b)]
    found = compare_runs(*frames, metric=metric, cap_m=cap_m, radar=radar)
    if as_json:
        print(json.dumps([_plain(one) for one in found], indent=1))
    else:
        print(f"a = {a}\nb = {b}\n{comparison_text(found)}")


def _row_band_of_recipe(data: str) -> tuple[int, int] | None:
    """Return ``train.data.rows`` of a recipe file; None for a store or a folder."""
    if not data.endswith((".yaml", ".yml")):
        return None
    from model.families import parse_train_config
    from model.semodepth.config import SemoDepthTrainConfig
    from pipeline.recipe import load_recipe

    group = load_recipe(data).train.get("data")
    rows = group.get("rows") if isinstance(group, dict) else None
    config = parse_train_config({"data": {"rows": rows}}, where=data)
    assert isinstance(config, SemoDepthTrainConfig)  # no family is said
    return config.data.rows


def kind_of_evaluations(a: Path, b: Path) -> EvaluationKind:
    """Return what two folders hold evaluations of; a folder that holds none is taken for the other's kind, or for depth.

    Raises:
        DepthmillError: they are of different kinds.
    """
    refuse_without_torch()
    from model.mim4d.evaluation import RENDERING_FILE
    from model.monoddle.evaluation import AP_FILE

    files: dict[EvaluationKind, str] = {"depth": "frames.parquet", "objects": AP_FILE, "renderings": RENDERING_FILE}
    words = {"depth": "depth", "objects": "a detector", "renderings": "a pre-training"}
    found = [next((kind for kind, file in files.items() if (evaluation_of(folder) / file).is_file()), None) for folder in (a, b)]
    kind_a, kind_b = found
    if kind_a and kind_b and kind_a != kind_b:
        raise DepthmillError(
            f"'{a}' is an evaluation of {words[kind_a]} and '{b}' one of {words[kind_b]}, which have no measure in common. "
            "Compare two of one kind"
        )
    return kind_a or kind_b or "depth"


def evaluation_of(folder: Path) -> Path:
    """Return the folder of the evaluation of a training, or the folder itself if it is one."""
    return folder / "evaluation" if (folder / "evaluation").is_dir() else folder


def _plain(row: Any) -> dict[str, Any]:
    found: dict[str, Any] = asdict(row) if is_dataclass(row) and not isinstance(row, type) else row._asdict()
    return found
