"""What ``depthmill evaluate`` and ``compare`` do with a pre-training of MIM4D.

Writes  evaluate: <out>/ as ``model.mim4d.evaluation`` says
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from storage_schemas.errors import RecipeError
from storage_schemas.manifest import Manifest

if TYPE_CHECKING:
    from model.mim4d.config import Mim4dTrainConfig
    from model.mim4d.net import Mim4d
    from model.train.config import Machine


class OpenedPretraining(NamedTuple):
    """A pre-trained network in memory.

    Attributes:
        network: in evaluation mode, on the CPU.
        name: of the checkpoint.
        config: how it was trained.
    """

    network: Mim4d
    name: str
    config: Mim4dTrainConfig


def refuse_to_predict(checkpoint: Path) -> NoReturn:
    """Say that a pre-trained network has nothing to write files of.

    Raises:
        RecipeError: always.
    """
    raise RecipeError(
        f"checkpoint '{checkpoint}' is of family mim4d, which predicts neither depth maps nor objects by itself: it renders what "
        "LiDAR rays meet. Measure it (depthmill evaluate), or hand its backbone to another family (train.backbone_from) and "
        "predict with that"
    )


def evaluate_renderings_and_print(
    opened: OpenedPretraining, manifest: Manifest, machine: Machine, *, split: str, out: Path | None, as_json: bool
) -> None:
    """Measure rendered depth and colour on a split, beside the controls, and print the table.

    Raises:
        RecipeError: there is no such split.
        ManifestError: the split has no windows, or nothing is held out.
        StoreError: the folder cannot be written.
    """
    from model.devices import network_device
    from model.mim4d.evaluation import evaluate_split, write_render_folder

    if split not in ("train", "val", "test"):
        raise RecipeError(f"--split is '{split}': Input should be 'train', 'val' or 'test'")
    fingerprint = manifest.path.fingerprint
    folder = out or Path(f"evaluation-{opened.name}-{fingerprint}-{split}")
    device = network_device(machine.accelerator)
    chosen = opened.config.model_copy(update={"evaluation": opened.config.evaluation.model_copy(update={"split": split})})
    evaluation = evaluate_split(opened.network.to(device), manifest, chosen, machine, device)
    write_render_folder(folder, evaluation, title=f"{opened.name} on {split} of manifest {fingerprint}")
    if as_json:
        # a mean of nothing is null: JSON has no NaN
        rows = [{name: None if value != value else value for name, value in row._asdict().items()} for row in evaluation.rows]
        found = {"folder": str(folder), "manifest": fingerprint, "num_clips": evaluation.num_clips, "rows": rows}
        print(json.dumps(found, indent=1))
    else:
        print((folder / "table.md").read_text(encoding="utf-8"))
        print(f"wrote {folder}: {evaluation.num_clips} clips")


def compare_renderings_and_print(a: Path, b: Path, *, as_json: bool) -> None:
    """Print how two evaluations differ, clip by clip.

    Args:
        a: folder of an evaluation.
        b: another one.
        as_json: print JSON only.

    Raises:
        ComparisonError: they were measured on different clips.
        StoreError: a file is missing or damaged.
    """
    from model.mim4d.clip_errors import read_clip_rows
    from model.mim4d.comparison import clip_comparison_text, compare_clips

    found = compare_clips(*(read_clip_rows(folder) for folder in (a, b)))
    if as_json:
        print(json.dumps([one._asdict() for one in found], indent=1))
    else:
        print(f"a = {a}\nb = {b}\n{clip_comparison_text(found)}")
