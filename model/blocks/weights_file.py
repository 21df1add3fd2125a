"""Files of weights, of torch or safetensors: read them without running code from them, and say exactly what does not fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from model.blocks.safetensors_file import NoSafetensorsError, is_safetensors, read_safetensors
from model.blocks.sealed_file import DamagedFileError, check_seal
from model.errors import CheckpointError, WeightsFileError


def load_state_file(path: str | Path) -> dict[str, Tensor]:
    """Read a file of named tensors without running code from it, after its seal or the checksums of its records were checked.

    It is a file of torch, or one of safetensors. Weights that ``depthmill share`` wrote give the same keys as a checkpoint, with
    an empty optimiser and loader.

    Raises:
        WeightsFileError: there is no such file, a byte of it is not what was written, or it is not a dict of tensors that
            ``weights_only`` can read.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsFileError(f"weights file '{path}' does not exist; give the path of a .pth file")
    try:
        with open(path, "rb") as stream:  # one opening for both: a file that is replaced meanwhile cannot slip in between
            if is_safetensors(stream.read(9)):
                stream.seek(0)
                return _content_of(*read_safetensors(stream.read()))
            stream.seek(0)
            check_seal(stream)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of what it then refuses
                loaded = torch.load(stream, map_location="cpu", weights_only=True)
    except DamagedFileError as error:
        raise WeightsFileError(
            f"weights file '{path}' is damaged: {error}. Nothing of it was used. Bring back a copy of it, or make it again "
            "(a training: depthmill train --restart)"
        ) from error
    except NoSafetensorsError as error:
        raise WeightsFileError(f"weights file '{path}' cannot be read: {error}") from error
    except Exception as error:  # torch raises errors of many types for a foreign file
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        # torch advises to run the file's code, which must never be done with a foreign file
        if "weights_only" in first_line or isinstance(error, KeyError | EOFError | IndexError):
            first_line = "it is no file of tensors that torch wrote, or it holds code"
        raise WeightsFileError(f"weights file '{path}' cannot be read as a checkpoint of tensors: {first_line}") from error
    if not isinstance(loaded, dict):
        raise WeightsFileError(f"weights file '{path}' holds a {type(loaded).__name__}, expected a dict of tensors")
    return cast(dict[str, Tensor], loaded)


def _content_of(tensors: dict[str, Tensor], record: dict[str, Any] | None) -> dict[str, Any]:
    if record is None:
        return tensors
    nothing = {"optimizer": {}, "loader": "{}", "random": torch.empty(0, dtype=torch.uint8)}
    return {**nothing, **record, "model_state_dict": tensors}


def state_of(source: str | Path | Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the content of a weights file, or what was given in its place, and its name for errors; as ``load_state_file``."""
    if isinstance(source, Mapping):
        return source, "state dict"
    return load_state_file(source), f"checkpoint '{source}'"


class Misfit(NamedTuple):
    """How found weights differ from wanted ones.

    Attributes:
        missing: wanted keys that were not found.
        foreign: found keys that the network does not have.
        shapes: keys found with another shape, or as something that cannot be copied value by value: no tensor, one that is
            sparse, quantized or without memory, integers or complex numbers where real ones belong.
    """

    missing: list[str]
    foreign: list[str]
    shapes: list[str]

    def __bool__(self) -> bool:
        """Say whether there is any difference."""
        return bool(self.missing or self.foreign or self.shapes)


def misfit(weights: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> Misfit:
    """Compare found weights with wanted ones; each list in the order of its side."""
    both = [key for key in wanted if key in weights]
    return Misfit(
        missing=[key for key in wanted if key not in weights],
        foreign=[str(key) for key in weights if key not in wanted],
        shapes=[key for key in both if not _fits(weights[key], wanted[key])],
    )


def _fits(found: Any, wanted: Tensor) -> bool:
    return (
        isinstance(found, Tensor)
        and found.shape == wanted.shape
        and found.layout == torch.strided
        and not (found.is_quantized or found.is_meta)
        and found.is_floating_point() >= wanted.is_floating_point()
        and not found.is_complex()
    )


def _kind_of(value: Any, wanted: Tensor) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.shape != wanted.shape:
        return str(tuple(value.shape))
    where = " without values" if value.is_meta else ""
    return f"{value.layout} of {value.dtype}{where}".replace("torch.", "")


def misfit_text(weights: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> str:
    """Return as text what ``misfit`` finds, naming the first keys of each kind; empty if there is nothing."""
    missing, foreign, shapes = misfit(weights, wanted)
    problems = []
    if missing:
        problems.append(f"{len(missing)} keys are missing: {first_names(missing)}")
    if foreign:
        problems.append(f"{len(foreign)} keys are unexpected: {first_names(foreign)}")
    for key in shapes:
        found = _kind_of(weights[key], wanted[key])
        is_shape = not isinstance(weights[key], Tensor) or weights[key].shape != wanted[key].shape
        expected = tuple(wanted[key].shape) if is_shape else f"strided of {wanted[key].dtype}".replace("torch.", "")
        problems.append(f"{key} is {found}, expected {expected}")
    return first_names(problems, limit=8, joiner="; ")


def refuse_no_numbers(weights: Mapping[str, Any], *, where: str) -> None:
    """Check that weights are finite: with NaN or infinity a network answers nothing, and measures may still look like numbers.

    Args:
        weights: by their names; what is no tensor of real numbers is not looked at.
        where: what they are of, e.g. ``checkpoint 'best.pt'``.

    Raises:
        CheckpointError: names the first weights and how many of their values are wrong.
    """
    wrong = [
        f"{name} ({wrong_values:,} of {value.numel():,} values)"
        for name, value in weights.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.layout == torch.strided and not value.is_meta
        if (wrong_values := value.numel() - int(torch.isfinite(value).sum()))
    ]
    if wrong:
        raise CheckpointError(
            f"{where} has weights that are not numbers (NaN or infinity): {first_names(wrong, limit=3)}. Its training diverged. "
            "Choose another checkpoint, or train again with a lower train.learning_rate or with train.max_gradient_norm"
        )


def fill_network(network: nn.Module, weights: Mapping[str, Any], *, path: str | Path) -> None:
    """Load all weights of a checkpoint into a network; CheckpointError names the file and what differs or is no number."""
    if problems := misfit_text(weights, network.state_dict()):
        raise CheckpointError(
            f"checkpoint '{path}' has the weights of another network: {problems}. Bring back the file that belongs there, "
            "or train again (depthmill train --restart)"
        )
    refuse_no_numbers(weights, where=f"checkpoint '{path}'")
    network.load_state_dict(weights)


def first_names(names: Sequence[str], *, limit: int = 5, joiner: str = ", ") -> str:
    """Join the first names and say how many more there are."""
    rest = len(names) - limit
    return joiner.join(names[:limit]) + (f"{joiner}and {rest} more" if rest > 0 else "")


def load_backbone_file(
    network: nn.Module,
    path: str | Path,
    *,
    kind: str,
    left_out: tuple[str, ...],
    may_lack: tuple[str, ...] = (),
    renamed: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> None:
    """Load a classification network's weights into a network without the classifier.

    Args:
        network: takes the weights; its keys are the file's.
        path: a local file.
        kind: what the file must be, for the message: ``a ResNet-34``.
        left_out: beginnings of the file's keys that are not loaded.
        may_lack: beginnings of the network's keys that the file need not have; they stay as they are.
        renamed: brings a file's content to the network's keys and shapes; what it does not know keeps its key.

    Raises:
        WeightsFileError: the file is missing or is not of this network; it names what differs.
        CheckpointError: a weight is not a number.
    """
    found = renamed(load_state_file(path))
    weights = {key: value for key, value in found.items() if not str(key).startswith(left_out)}
    missing, foreign, shapes = misfit(weights, network.state_dict())
    # files written before PyTorch 0.4.1 have no num_batches_tracked
    missing = [key for key in missing if not key.endswith("num_batches_tracked") and not key.startswith(may_lack)]
    if missing or foreign or shapes:
        missing, foreign, shapes = sorted(missing), sorted(foreign), sorted(shapes)
        raise WeightsFileError(
            f"weights file '{path}' is not {kind}: {len(missing)} keys missing {missing[:3]}, "
            f"{len(foreign)} unknown {foreign[:3]}, {len(shapes)} of another shape {shapes[:3]}"
        )
    refuse_no_numbers(weights, where=f"weights file '{path}'")
    network.load_state_dict(weights, strict=False)
