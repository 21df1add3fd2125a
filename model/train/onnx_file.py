"""A network as an ONNX file, for programs without torch; what it answers is compared with torch before it is written.

Source  https://pytorch.org/docs/stable/onnx_export.html (torch.export, then ONNX operators)
"""

from __future__ import annotations

import copy
import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.errors import CheckpointError


@dataclass(frozen=True)
class Traceable:
    """A network as torch can trace it.

    Attributes:
        module: in evaluation mode, on the CPU; takes the inputs in their order and returns a tensor or several.
        inputs: names of the inputs.
        outputs: names of the outputs.
        examples: inputs of several frames; the first is traced, and all are compared.
        most_difference: how far an output may be from torch's, as a share of the largest value of that output.
        facts: what a program that uses the file should know, e.g. what unit an output has.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    examples: Sequence[tuple[Tensor, ...]]
    most_difference: float
    facts: Mapping[str, str]


@dataclass(frozen=True)
class OnnxFile:
    """The content of a file, and what the comparison found.

    Attributes:
        content: of the file.
        differences: by output, the largest difference from torch.
        shapes: by input and output, its shape.
    """

    content: bytes
    differences: dict[str, float]
    shapes: dict[str, tuple[int, ...]]


def onnx_file(traceable: Traceable, notes: Mapping[str, str]) -> OnnxFile:
    """Return a network as ONNX.

    Args:
        traceable: the network.
        notes: texts by name, kept in the file's metadata.

    Raises:
        CheckpointError: ONNX Runtime answers otherwise than torch.
    """
    module = copy.deepcopy(traceable.module).requires_grad_(False)  # a loop in the graph cannot be traced with gradients
    with _silent(), torch.no_grad():
        program = torch.onnx.export(
            module,
            traceable.examples[0],
            dynamo=True,
            input_names=list(traceable.inputs),
            output_names=list(traceable.outputs),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for name, text in {**traceable.facts, **notes}.items():
        proto.metadata_props.add(key=name, value=text)
    content = bytes(proto.SerializeToString())
    return OnnxFile(content, *_compared(traceable, content))


def _compared(traceable: Traceable, content: bytes) -> tuple[dict[str, float], dict[str, tuple[int, ...]]]:
    """Return the largest differences and all shapes; CheckpointError if a difference is too large."""
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    differences = dict.fromkeys(traceable.outputs, 0.0)
    shapes: dict[str, tuple[int, ...]] = {}
    for example in traceable.examples:
        given = dict(zip(traceable.inputs, example, strict=True))
        answers = session.run(list(traceable.outputs), {name: value.numpy() for name, value in given.items()})
        with torch.no_grad():
            wanted = traceable.module(*example)
        values = (wanted,) if isinstance(wanted, Tensor) else tuple(wanted)
        shapes |= {name: tuple(value.shape) for name, value in given.items()}
        for name, answer, value in zip(traceable.outputs, answers, values, strict=True):
            shapes[name] = tuple(answer.shape)
            difference = float(np.abs(answer - value.numpy()).max())
            most = traceable.most_difference * max(float(value.abs().max()), 1.0)
            if not difference <= most:
                raise CheckpointError(
                    f"ONNX Runtime answers otherwise than torch: output {name} differs by {difference:.3g}, expected {most:.3g} "
                    "at most. Nothing was written. Use another version of torch, onnxscript or onnxruntime"
                )
            differences[name] = max(differences[name], difference)
    return differences, shapes


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what the exporter says of its own work, and of packages that are not used, from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
