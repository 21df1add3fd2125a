"""The frozen networks that are probed side by side, and what each makes of the key frame of a clip: unmasked, without gradients.

Reads   best.pt of a training
Why     a key frame is enough: every frame is encoded by itself, and the other frames of a clip are the key frames of other clips.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from model.blocks.full_precision import full_precision
from model.blocks.weights_file import fill_network, load_state_file
from model.mim4d.batch import ClipViews
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.net import Mim4d
from model.mim4d.network_config import LiftConfig
from model.mim4d.probes.probe_files import IMAGENET, RANDOM, TRAINED

PROBED_STRIDE = 8
"""Image pixels per cell of the level that is probed, where the pyramid has it."""


class FrozenFrame(NamedTuple):
    """Features of one frame, float32.

    Attributes:
        level: (m, channels, y, x) of the feature pyramid, on the network's device.
        volume: (channels, z, y, x) in the frame's rig frame.
    """

    level: Tensor
    volume: Tensor


def frozen(network: Mim4d) -> Mim4d:
    """Return the same network in evaluation mode, with nothing left to train."""
    return network.eval().requires_grad_(False)


def probed_level(lift: LiftConfig) -> tuple[int, int]:
    """Return which level of the pyramid is probed, and its stride: 8, or the finest of a network that has none of it."""
    place = lift.strides.index(PROBED_STRIDE) if PROBED_STRIDE in lift.strides else 0
    return place, lift.strides[place]


@torch.no_grad()
def encode_key_frame(network: Mim4d, views: ClipViews) -> FrozenFrame:
    """Encode the newest frame of a single clip.

    Args:
        network: ``frozen``.
        views: of one clip, on the network's device.

    Raises:
        InputError: the images are not of the network's size.
    """
    key = ClipViews(*(values[:, :1] for values in views))
    with full_precision(key.image.device.type):
        levels = network.pyramid(key.image)
        volumes = network.lifted(levels, key)
    place, _ = probed_level(network.config.lift)
    return FrozenFrame(levels[place][0, 0].float(), volumes[0, 0].float())


def probed_networks(config: Mim4dTrainConfig, folder: Path, *, device: torch.device) -> dict[str, Mim4d]:
    """Return the networks by the name of their row, frozen, on the device; the global random state is left as it was.

    ``random`` has the weights that the training's seed draws; ``imagenet``, if the training was given classification
    weights, has these in its backbone, and the random ones elsewhere.

    Args:
        config: of the training.
        folder: of the training.
        device: where they shall be.

    Raises:
        CheckpointError: best.pt has the weights of another network.
        WeightsFileError: the training has no best.pt yet, or the classification weights are gone.
    """
    trained = _fresh(config)
    path = folder / "best.pt"
    stored: Any = load_state_file(path)
    fill_network(trained, stored.get("model_state_dict", {}), path=path)
    networks = {TRAINED: trained}
    if config.imagenet_weights is not None:
        networks[IMAGENET] = _fresh(config)
        networks[IMAGENET].backbone.load_imagenet_weights(config.imagenet_weights)
    networks[RANDOM] = _fresh(config)
    return {name: frozen(network.to(device)) for name, network in networks.items()}


def _fresh(config: Mim4dTrainConfig) -> Mim4d:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Mim4d(config.network)
