"""The training loop on a GPU as it is used: bfloat16 steps, float32 evaluation, and whether two trainings give the same bits.

Evaluation in bfloat16, which depthmill never does, is measured beside it: what it would change, and what it would save.
"""

from __future__ import annotations

import re
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gpu import drive
from gpu.bench import Bench
from gpu.figure import Figure
from gpu.loader import step_of
from model.blocks.weights_file import fill_network
from model.families import train
from model.semodepth.config import DataConfig, EvaluationConfig, SemoDepthTrainConfig
from model.semodepth.data import FrameLoader
from model.semodepth.evaluation import evaluate, measured_frames
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig
from model.train.config import Machine
from storage_schemas.manifest import Manifest

STEPS, REPEATED_STEPS = 40, 4


def figures(bench: Bench) -> Iterator[Figure]:
    """Train, measure twice, and train again twice in a way that must repeat itself."""
    manifest = drive.made(bench)
    yield from bench.attempt("training and evaluation", lambda: _trained(bench, manifest))
    yield from bench.attempt("a step whose operations must repeat themselves", lambda: _unrepeatable(bench, manifest))
    for deterministic in (True,) if bench.is_small else (True, False):
        what = f"two trainings, train.deterministic: {str(deterministic).lower()}"
        yield from bench.attempt(
            what, lambda what=what, deterministic=deterministic: _twice(bench, manifest, what, deterministic)
        )


def _config(bench: Bench, *, steps: int, deterministic: bool = False) -> SemoDepthTrainConfig:
    return SemoDepthTrainConfig(
        network=SemoDepthConfig(base_channels=8 if bench.is_small else 64),
        data=DataConfig(batch_size=2 if bench.is_small else 4),
        evaluation=EvaluationConfig(num_strips=0, without_radar=False),
        max_steps=steps,
        evaluate_every_epochs=1000.0,
        deterministic=deterministic,
    )


def _train(bench: Bench, manifest: Manifest, config: SemoDepthTrainConfig, name: str) -> dict[str, Tensor]:
    folder = bench.data / f"training-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    train(config, manifest, folder, machine=Machine(accelerator=bench.device.type, num_workers=0 if bench.is_small else 4))
    return _weights(folder)


def _weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)["model_state_dict"]
    return state


def _trained(bench: Bench, manifest: Manifest) -> Iterator[Figure]:
    steps = 2 if bench.is_small else STEPS
    config = _config(bench, steps=steps)
    start = time.perf_counter()
    weights = _train(bench, manifest, config, "once")
    seconds = time.perf_counter() - start
    where = "bfloat16" if config.uses_bfloat16(bench.device.type) else "float32"
    yield Figure(f"{steps} steps of batch {config.data.batch_size} in {where}, and the evaluation at their end", seconds, "s")
    network = SemoDepth(config.network)
    fill_network(network, weights, path=Path("last.pt"))
    network = network.to(bench.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def predict_half(image: Tensor, radar: Tensor, mono: Tensor | None) -> Tensor:
        with torch.autocast(bench.device.type, torch.bfloat16):
            return network.predict(image, radar, mono)

    mae_mm = {}
    for name, predict in (("float32", network.predict), ("bfloat16", predict_half)):
        frames = measured_frames(manifest, config.evaluation, DataConfig())
        start = time.perf_counter()
        found = evaluate(predict, frames, config.evaluation, space=network.depth_space, device=bench.device).frames
        seconds = time.perf_counter() - start
        errors = [
            mae
            for mae, cap in zip(found["mae_mm"], found["cap_m"], strict=True)
            if cap == max(found["cap_m"]) and mae is not None
        ]
        mae_mm[name] = sum(errors) / len(errors)
        yield Figure(
            f"evaluation in {name}: MAE at {max(found['cap_m']):.0f} m",
            mae_mm[name],
            "mm",
            f"{1e3 * seconds / len(errors):.0f} ms a frame, reading included",
        )
    yield Figure("evaluation: bfloat16 less float32", mae_mm["bfloat16"] - mae_mm["float32"], "mm")


def _unrepeatable(bench: Bench, manifest: Manifest) -> Iterator[Figure]:
    """Name every operation of a step that has no repeatable form; ``train.deterministic`` ends at the first."""
    step = step_of(bench)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings(record=True) as said, FrameLoader(manifest, _config(bench, steps=1).data) as loader:
            warnings.simplefilter("always")
            step(next(iter(loader)).to(bench.device))
            bench.wait()
    finally:
        torch.use_deterministic_algorithms(False)
    found = {
        match[1] for one in said if (match := re.match(r"(\S+) does not have a deterministic implementation", str(one.message)))
    }
    yield Figure("operations of a training step without a repeatable form", len(found), "", ", ".join(sorted(found)))


def _twice(bench: Bench, manifest: Manifest, what: str, deterministic: bool) -> Iterator[Figure]:
    config = _config(bench, steps=1 if bench.is_small else REPEATED_STEPS, deterministic=deterministic)
    start = time.perf_counter()
    first, second = (_train(bench, manifest, config, name) for name in ("first", "second"))
    different = sum(int((first[name] != second[name]).sum()) for name in first)
    seconds = (time.perf_counter() - start) / 2
    yield Figure(f"{what}: weights that differ", different, "", f"{seconds:.1f} s each", limit=0 if deterministic else None)
