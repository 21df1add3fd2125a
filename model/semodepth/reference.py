"""Checkpoints of the public code: read them, and write ours so that they run there.

Source  docs/method/semodepth.md#released-checkpoints; the public repository is github.com/HouV001/SemoDepth
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from model.blocks.sealed_file import save_sealed
from model.blocks.weights_file import misfit, misfit_text, refuse_no_numbers, state_of
from model.errors import CheckpointError
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig
from storage_schemas.files import written_whole

_REFERENCE_PREFIX = {
    "encoder.conv1.": "enc_conv1.0.",
    "encoder.bn1.": "enc_conv1.1.",
    "encoder.layer": "enc_layer",
    "radar_graph.": "radar_gse.gse.",
    "scan4.": "mamba_fuse4.",
    "scan3.": "mamba_fuse3.",
    "scan2.": "radar_mamba2.",
    "film": "dec",
}
"""Our prefix of a key -> the public code's; all other keys are the same."""

_BRANCH = "mono_embed."
"""Prefix of the keys of the branch for monocular depth, here and in the public code."""


def reference_key(key: str) -> str:
    """Return the public code's name of one of our parameters."""
    for ours, theirs in _REFERENCE_PREFIX.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


def load_reference(
    path_or_state_dict: str | Path | Mapping[str, Any],
    *,
    max_depth_m: float,
    plug_in: bool | None = None,
    config: SemoDepthConfig | None = None,
) -> SemoDepth:
    """Build a network that computes what the public code computes with this checkpoint.

    Args:
        path_or_state_dict: a released file, or its content: a dict of tensors, or a dict that holds one as ``model_state_dict``.
        max_depth_m: far end of the depth space the checkpoint was trained for: 120 nuScenes, 80 ZJU-4DRadarCam.
        plug_in: whether the checkpoint has the branch for monocular depth; None: its keys say so.
        config: other options than the reference's, for a checkpoint that was trained here with them.

    Returns:
        The network, in evaluation mode, on the CPU.

    Raises:
        WeightsFileError: the file is missing or unreadable.
        CheckpointError: keys are missing, unexpected or of another shape; the message names them.
    """
    loaded, origin = state_of(path_or_state_dict)
    loaded = loaded.get("model_state_dict", loaded)
    if plug_in is None:
        plug_in = any(key.startswith(_BRANCH) for key in loaded)
    network = SemoDepth(config or SemoDepthConfig.reference(max_depth_m=max_depth_m, plug_in=plug_in))
    own_state = network.state_dict()
    name_of = {reference_key(key): key for key in own_state}
    _compare(loaded, {reference_key(key): tensor for key, tensor in own_state.items()}, origin=origin)
    refuse_no_numbers(loaded, where=origin)
    network.load_state_dict({name_of[key]: tensor for key, tensor in loaded.items()})
    return network.eval()


def save_reference(network: SemoDepth, path: str | Path) -> None:
    """Write a network's weights as a file that the public code loads: the same keys, shapes and dtypes.

    The public code knows the reference options only; trained with others, the weights load there and compute something else.
    """
    with written_whole(Path(path)) as stream:
        save_sealed({"model_state_dict": reference_state_dict(network)}, stream)


def reference_state_dict(network: SemoDepth) -> dict[str, Tensor]:
    """Return a network's weights under the public code's names; the uncertainty head, which it does not know, is left out."""
    reference_weights = {key: tensor for key, tensor in network.state_dict().items() if not key.startswith("uncertainty_head.")}
    return {reference_key(key): tensor.detach().cpu() for key, tensor in reference_weights.items()}


def _compare(loaded: Mapping[str, Any], wanted: dict[str, Tensor], *, origin: str) -> None:
    """Raise if a checkpoint is not exactly of the wanted keys and shapes."""
    problems = misfit_text(loaded, wanted)
    if not problems:
        return
    missing, foreign, _ = misfit(loaded, wanted)
    hint = ""
    if missing and all(key.startswith(_BRANCH) for key in missing):
        hint = ". It has no branch for monocular depth: leave out --plug-in, in Python plug_in=True"
    elif foreign and all(key.startswith(_BRANCH) for key in foreign):
        hint = ". It has the branch for monocular depth: leave out plug_in=False"
    elif foreign and all(key.startswith("module.") for key in foreign):
        hint = ". Its keys start with 'module.' (saved from DataParallel): save model.module.state_dict() instead"
    raise CheckpointError(f"{origin} does not fit the SemoDepth network: {problems}{hint}")
