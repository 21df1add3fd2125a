"""The model families in one list, and the ``train:`` group of a recipe read into the configuration of one of them."""

from __future__ import annotations

import difflib
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.family import Mim4dFamily
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.family import MonoDdleFamily
from model.semodepth.config import SemoDepthTrainConfig
from model.semodepth.family import SemoDepthFamily
from model.train.family import Family
from storage_schemas.errors import RecipeError

TrainConfig = SemoDepthTrainConfig | MonoDdleTrainConfig | Mim4dTrainConfig
"""One training of any family."""

CONFIGS: dict[str, type[SemoDepthTrainConfig] | type[MonoDdleTrainConfig] | type[Mim4dTrainConfig]] = {
    "semodepth": SemoDepthTrainConfig,
    "monoddle": MonoDdleTrainConfig,
    "mim4d": Mim4dTrainConfig,
}
"""Configuration of each family, by its name."""

_FAMILIES: dict[type[Any], Family[Any]] = {
    SemoDepthTrainConfig: SemoDepthFamily(),
    MonoDdleTrainConfig: MonoDdleFamily(),
    Mim4dTrainConfig: Mim4dFamily(),
}

_ANY: TypeAdapter[TrainConfig] = TypeAdapter(TrainConfig)


def family_of(config: TrainConfig) -> Family[Any]:
    """Return the family that a configuration belongs to."""
    return _FAMILIES[type(config)]


def read_train_config(json_text: str) -> TrainConfig:
    """Read what ``model_dump_json`` wrote; ValueError if this depthmill does not know such options."""
    return _ANY.validate_json(json_text)


def train_config_of(data: Any) -> TrainConfig:
    """Read what ``model_dump(mode="json")`` made; ValueError if this depthmill does not know such options."""
    return _ANY.validate_python(data)


def parse_train_config(data: dict[str, Any], *, where: str) -> TrainConfig:
    """Check the ``train:`` group of a recipe; RecipeError lists every mistake, one a line."""
    name = data.get("family", "semodepth")
    if name not in CONFIGS:
        near = difflib.get_close_matches(str(name), CONFIGS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of: {', '.join(CONFIGS)}"
        raise RecipeError(f"recipe '{where}': train.family is {name!r}; {hint}")
    model = CONFIGS[name]
    try:
        config = model.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(f"recipe '{where}': {_explain(dict(one), model)}" for one in error.errors())) from error
    if config.imagenet_weights is not None and not Path(config.imagenet_weights).is_file():
        raise RecipeError(
            f"recipe '{where}': train.imagenet_weights is '{config.imagenet_weights}', and there is no such file. "
            "Give the path of the classification weights, e.g. torchvision's resnet34-*.pth, or leave the key out to train from "
            "scratch"
        )
    for key in ("start_from", "backbone_from"):
        path = getattr(config, key)
        if path is not None and not Path(path).is_file():
            raise RecipeError(
                f"recipe '{where}': train.{key} is '{path}', and there is no such file. Give the path of a "
                "checkpoint, e.g. <runs>/trainings/<name>/best.pt, or leave the key out to train from scratch"
            )
    given = [key for key in ("start_from", "backbone_from", "imagenet_weights") if getattr(config, key) is not None]
    if len(given) > 1:
        raise RecipeError(
            f"recipe '{where}': train.{' and train.'.join(given)} {'both' if len(given) == 2 else 'all'} say where the weights "
            f"begin. Leave {'one of the two' if len(given) == 2 else 'two of them'} out"
        )
    if isinstance(config, SemoDepthTrainConfig):
        _check_semodepth(config, where=where)
    return config


def _check_semodepth(config: SemoDepthTrainConfig, *, where: str) -> None:
    if config.data.mono and not config.network.plug_in and config.loss.distill.form == "none":
        raise RecipeError(
            f"recipe '{where}': train.data.mono is true, and the network has no branch for monocular depth. Set "
            "train.network.plug_in to true, train.loss.distill.form to distil from it, or train.data.mono to false"
        )
    if config.imagenet_weights is not None and config.network.base_channels != 64:
        raise RecipeError(
            f"recipe '{where}': train.imagenet_weights fit base_channels 64, train.network.base_channels is "
            f"{config.network.base_channels}. Leave one of the two out"
        )


def _explain(error: dict[str, Any], model: type[BaseModel]) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(["train", *location])
    if error["type"] == "extra_forbidden":
        for part in location[:-1]:
            model = typing.cast(Any, model.model_fields[part].annotation)
        known = list(model.model_fields)
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of: {', '.join(known)}"
        return f"unknown key '{key}'; {hint}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if not location else f"{key} is {error.get('input')!r}: {message}"
