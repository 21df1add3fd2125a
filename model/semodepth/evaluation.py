"""Measure a network on a split of a manifest: per-frame metrics with and without radar, errors by range, and a few pictures.

Source  docs/method/semodepth.md#depth-metrics
Reads   a pinned manifest through ``FrameLoader``
Writes  an ``Evaluation``: columns of storage_schemas.evaluation, and strips for the report
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from model.blocks.full_precision import PRECISION, full_precision
from model.data.ordered_loader import HERE, Placement
from model.devices import network_device
from model.semodepth.batch import DenseBatch
from model.semodepth.config import DataConfig, EvaluationConfig, SemoDepthTrainConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from model.semodepth.depth_space import DepthSpace
from model.semodepth.metrics import CAPS_M, METRICS, frame_metrics, measured_pixels, range_errors
from model.semodepth.net import SemoDepth
from model.semodepth.predict import PredictionError
from model.semodepth.summary import SummaryRow, latex_table, markdown_table, summarise
from model.train.config import Machine
from model.train.family_types import Answer, OpenedNetwork, placement
from model.train.measures import RANGE_EDGES_M
from model.train.result_files import arrays_as_npz
from storage_schemas.awaited import counted
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.errors import RecipeError
from storage_schemas.evaluation import write_evaluation
from storage_schemas.files import StoreFiles
from storage_schemas.layout import Columns
from storage_schemas.manifest import Manifest

Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(image_u8, radar_m, mono_m) -> depth (b, h, w) metres."""
_CANDIDATES = 8
"""Frames of which pictures are held until the median is known."""


@dataclass
class Evaluation:
    """What was measured.

    Attributes:
        frames: columns of storage_schemas.evaluation.FRAME_METRICS.
        ranges: columns of storage_schemas.evaluation.RANGE_ERRORS.
        strips: arrays by name, (n, ...): frame_keys, image_u8, radar_m, target_m, with_radar_m, without_radar_m.
        no_numbers: keys of the frames in which a predicted depth is NaN or infinite. The metrics count it as some depth.
    """

    frames: Columns
    ranges: Columns
    strips: dict[str, NDArray[Any]] = field(default_factory=dict)
    no_numbers: tuple[str, ...] = ()


def measured_frames(
    manifest: Manifest, config: EvaluationConfig, inputs: DataConfig, *, placement: Placement = HERE
) -> FrameLoader:
    """Return a loader of every frame of the evaluation's split, one by one in manifest order, with the truth beside it.

    Args:
        manifest: the pinned data.
        config: split and target.
        inputs: which cameras and rows are read, and whether the network is given radar and monocular depth.
        placement: where the loader runs, and how.

    Raises:
        ManifestError: the split is empty, or its frames lack the target or an input.
    """
    is_sparse = config.target == "depth_single"
    data = DataConfig(
        split=config.split,
        cameras=inputs.cameras,
        rows=inputs.rows,
        dense_target=None if is_sparse else config.target,
        sparse_target=is_sparse,
        radar=inputs.radar,
        mono=inputs.mono,
        batch_size=1,
        order="manifest",
    )
    return FrameLoader(manifest, data, placement=placement)


def evaluate(
    predict: Predict,
    loader: FrameLoader,
    config: EvaluationConfig,
    *,
    space: DepthSpace,
    device: torch.device,
    withhold_mono: bool = False,
) -> Evaluation:
    """Measure ``predict`` on every frame of a split, in float32 on any device; the loader's workers end with it.

    Args:
        predict: the network's ``predict``, or any function like it.
        loader: of ``measured_frames``. If it reads no radar, every row says radar off.
        config: target, whether to measure without radar, how many pictures to keep.
        space: predictions below its minimum, or not a number, count as it; the frames of the latter are named in
            ``no_numbers``. Radar is clipped to its maximum.
        device: where the network is.
        withhold_mono: give zeros for monocular depth, as drop-out does in training; the loader then need not read it.
    """
    rows = _Rows()
    strips = _Strips(config.num_strips)
    no_numbers: dict[str, None] = {}
    with loader, full_precision(device.type):
        for batch in counted(loader, "frames are measured"):
            dense = dense_batch(batch.to(device), max_depth_m=space.max_depth_m)
            target_m = dense.sparse_m if config.target == "depth_single" else dense.target_m
            assert target_m is not None
            nothing_m = torch.zeros_like(target_m)
            mono_m = nothing_m if withhold_mono else dense.mono_m
            predicted = {} if dense.radar_m is None else {"on": predict(dense.image_u8, dense.radar_m, mono_m)}
            if config.without_radar or not predicted:
                predicted["off"] = predict(dense.image_u8, nothing_m, mono_m)
            for number, (radar, depth_m) in enumerate(predicted.items()):
                is_sound = torch.isfinite(depth_m).flatten(1).all(1).tolist()
                no_numbers |= dict.fromkeys(key for key, sound in zip(dense.frame_keys, is_sound, strict=True) if not sound)
                rows.add(dense, depth_m, target_m, radar=radar, min_depth_m=space.min_depth_m, is_ranked=number == 0)
            strips.offer(dense, target_m, predicted, rows.last_mae_mm(len(batch)))
    return Evaluation(rows.frames, rows.ranges, strips.chosen(rows), tuple(no_numbers))


class _Rows:
    """Collects the two tables."""

    def __init__(self) -> None:
        self.frames: Columns = {name: [] for name in ("frame_key", "is_night", "radar", "cap_m", "num_pixels", *METRICS)}
        self.ranges: Columns = {
            name: [] for name in ("frame_key", "is_night", "radar", "low_m", "high_m", "num_pixels", "sum_error_m")
        }
        self.mae_mm: dict[str, float] = {}

    @property
    def num_frames(self) -> int:
        return len(self.mae_mm)

    def add(
        self, batch: DenseBatch, predicted_m: Tensor, target_m: Tensor, *, radar: str, min_depth_m: float, is_ranked: bool
    ) -> None:
        """Measure one batch; frames are ranked by one of the passes over them."""
        predicted_m, target_m = measured_pixels(predicted_m, target_m)
        is_night = batch.is_night.tolist()
        for cap_m in CAPS_M:
            values_by_metric = {
                name: values.tolist()
                for name, values in frame_metrics(predicted_m, target_m, cap_m=cap_m, min_depth_m=min_depth_m).items()
            }
            for i, key in enumerate(batch.frame_keys):
                row = {
                    "frame_key": key,
                    "is_night": is_night[i],
                    "radar": radar,
                    "cap_m": cap_m,
                    "num_pixels": values_by_metric["num_pixels"][i],
                }
                row |= {name: None if np.isnan(values_by_metric[name][i]) else values_by_metric[name][i] for name in METRICS}
                for name, value in row.items():
                    self.frames[name].append(value)
                if is_ranked and cap_m == CAPS_M[-1]:
                    self.mae_mm[key] = values_by_metric["mae_mm"][i]
        sums, counts = (values.tolist() for values in range_errors(predicted_m, target_m, min_depth_m=min_depth_m))
        for i, key in enumerate(batch.frame_keys):
            for low, high, total, count in zip(RANGE_EDGES_M, RANGE_EDGES_M[1:], sums[i], counts[i], strict=False):
                row = {"frame_key": key, "is_night": is_night[i], "radar": radar, "low_m": float(low), "high_m": float(high)}
                row |= {"num_pixels": int(count), "sum_error_m": float(total)}
                for name, value in row.items():
                    self.ranges[name].append(value)

    def last_mae_mm(self, count: int) -> list[float]:
        """Return MAE@80 m of the frames added last."""
        return list(self.mae_mm.values())[-count:]


class _Strips:
    """Keeps pictures of a few frames: spread over the split, the worst, and one at night.

    The median frame is known only at the end, so candidates are held, as depth quanta of 1/256 m.
    """

    def __init__(self, num_strips: int) -> None:
        self._num_strips = num_strips
        self._held: dict[str, dict[str, NDArray[Any]]] = {}
        self._count, self._stride = 0, 1
        self._worst: tuple[float, str] | None = None
        self._night: str | None = None
        self._spread: list[str] = []

    def offer(self, batch: DenseBatch, target_m: Tensor, predicted_by_radar: dict[str, Tensor], mae_mm: list[float]) -> None:
        """Show the frames of a batch; some are held."""
        if not self._num_strips:
            return
        for i, key in enumerate(batch.frame_keys):
            is_spread = self._count % self._stride == 0
            self._count += 1
            is_worst = not np.isnan(mae_mm[i]) and (self._worst is None or mae_mm[i] > self._worst[0])
            is_night = self._night is None and bool(batch.is_night[i])
            if not (is_spread or is_worst or is_night):
                continue
            nothing_m = torch.zeros_like(target_m[i])
            maps = {"radar_m": nothing_m if batch.radar_m is None else batch.radar_m[i], "target_m": target_m[i]}
            for name, radar in (("with_radar_m", "on"), ("without_radar_m", "off")):
                maps[name] = predicted_by_radar[radar][i] if radar in predicted_by_radar else nothing_m
            self._held[key] = {
                "image_u8": batch.image_u8[i].cpu().numpy(),
                **{name: _quanta(map_m) for name, map_m in maps.items()},
            }
            if is_spread:
                self._spread.append(key)
                if len(self._spread) > _CANDIDATES:  # from here on every second frame is kept
                    self._spread, self._stride = self._spread[::2], self._stride * 2
            if is_worst:
                self._worst = (mae_mm[i], key)
            if is_night:
                self._night = key
            wanted = {*self._spread, self._worst[1] if self._worst else "", self._night or ""}
            self._held = {name: held for name, held in self._held.items() if name in wanted}

    def chosen(self, rows: _Rows) -> dict[str, NDArray[Any]]:
        """Return the pictures of first, median, worst and night, as far as there are such frames."""
        if not self._held:
            return {}
        measured = {key: rows.mae_mm[key] for key in self._spread if not np.isnan(rows.mae_mm[key])}
        median = float(np.nanmedian(list(rows.mae_mm.values()))) if measured else 0.0
        typical = sorted(measured, key=lambda key: abs(measured[key] - median))
        wanted = [
            self._spread[0],
            *typical[:1],
            *([self._worst[1]] if self._worst else []),
            *([self._night] if self._night else []),
        ]
        keys = list(dict.fromkeys([*wanted, *typical[1:], *self._spread]))[: self._num_strips]
        stacked: dict[str, NDArray[Any]] = {"frame_keys": np.array(keys)}
        for name in ("image_u8", "radar_m", "target_m", "with_radar_m", "without_radar_m"):
            arrays = [self._held[key][name] for key in keys]
            stacked[name] = np.stack(arrays) if name == "image_u8" else np.stack(arrays).astype(np.float32) / STEPS_PER_M
        return stacked


def _quanta(depth_m: Tensor) -> NDArray[np.uint16]:
    """Return a map as depth quanta of 1/256 m; not a number becomes 0."""
    quanta = torch.nan_to_num(depth_m, nan=0.0).clamp(0.0, 65535.0 / STEPS_PER_M) * STEPS_PER_M
    return quanta.round().cpu().numpy().astype(np.uint16)


WITHOUT_MONO = "without-mono"
"""Folder, inside that of an evaluation, of the same measured with monocular depth withheld."""


def write_evaluation_folder(folder: Path, evaluation: Evaluation, *, title: str) -> list[SummaryRow]:
    """Write an evaluation's tables (Parquet, Markdown, LaTeX) and pictures; return the summary.

    Raises:
        PredictionError: a predicted depth is not a number; nothing is written.
        StoreError: the folder cannot be written.
    """
    if evaluation.no_numbers:
        raise PredictionError(
            f"frame '{evaluation.no_numbers[0]}': the network predicts depth that is not a number, as in "
            f"{len(evaluation.no_numbers):,} frames of the split. No table is written, since it would count that as some depth. "
            "Its training diverged: choose another checkpoint"
        )
    write_evaluation(str(folder), evaluation.frames, evaluation.ranges)
    rows = summarise(evaluation.frames)
    files = StoreFiles(folder)
    files.put("table.md", markdown_table(rows, title=title).encode())
    files.put("table.tex", latex_table(rows, caption=title).encode())
    if evaluation.strips:
        files.put("strips.npz", arrays_as_npz(evaluation.strips))
    return rows


def evaluate_checkpoint(
    opened: OpenedNetwork[SemoDepthTrainConfig], manifest: Manifest, machine: Machine, *, split: str, target: str, folder: Path
) -> Answer:
    """Measure a network in memory on a split, with and without radar; where it takes monocular depth, given and withheld.

    Args:
        opened: the network; the rows that it was trained to see are taken from its configuration.
        manifest: the pinned data.
        machine: where and how fast.
        split: train, val or test.
        target: store of the truth.
        folder: where the evaluation is written.

    Raises:
        RecipeError: split or target do not exist.
        ManifestError: the split is empty, or frames lack a store.
    """
    try:
        config = EvaluationConfig.model_validate({"split": split, "target": target})
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"--{first['loc'][0]} is {first['input']!r}: {first['msg']}") from error
    network, band = opened.network, opened.config.data.rows
    assert isinstance(network, SemoDepth)
    device = network_device(machine.accelerator)
    rows_of_split = [row for row in manifest.rows() if row["split"] == split]
    has_radar, has_mono = (any(row[pin] is not None for row in rows_of_split) for pin in ("unit_radar_points", "unit_depth_mono"))

    def measured(*, withhold_mono: bool) -> Evaluation:
        inputs = DataConfig(rows=band, radar=has_radar, mono=network.config.plug_in and not withhold_mono)
        return evaluate(
            network.to(device).predict,
            measured_frames(manifest, config, inputs, placement=placement(machine)),
            config,
            space=network.depth_space,
            device=device,
            withhold_mono=network.config.plug_in and withhold_mono,
        )

    title = f"{opened.name} on {split} of manifest {manifest.path.fingerprint}, truth {target}"
    title += f", rows {band[0]} to {band[1]}" if band else ""
    title += f", computed in {PRECISION}"
    title += "" if has_radar else ", no radar in the split"
    data: dict[str, Any] = {"folder": str(folder), "manifest": manifest.path.fingerprint, "precision": PRECISION}
    own_title = title
    if network.config.plug_in:
        own_title = f"{title}, monocular depth {'given' if has_mono else 'withheld: the split has none'}"
    evaluation = measured(withhold_mono=not has_mono)
    data["rows"] = [row._asdict() for row in write_evaluation_folder(folder, evaluation, title=own_title)]
    tables = [folder / "table.md"]
    if network.config.plug_in and has_mono:  # one checkpoint serves with and without
        rows = write_evaluation_folder(
            folder / WITHOUT_MONO, measured(withhold_mono=True), title=f"{title}, monocular depth withheld"
        )
        data["rows_without_mono"] = [row._asdict() for row in rows]
        tables.append(folder / WITHOUT_MONO / "table.md")
    return Answer(data, "\n".join([*(table.read_text(encoding="utf-8") for table in tables), f"wrote {folder}"]))
