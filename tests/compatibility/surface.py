"""Describe what users, stores and checkpoints depend on: commands, recipe keys, layouts, stages, names of trainings, networks.

Run as a script it prints the description as JSON, of the code that is on the path. ``surface_of_a7a46d7.json`` was made, with that
commit unpacked in OLD, by ``PYTHONPATH=OLD python tests/compatibility/surface.py names_a7a46d7``.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

MANIFEST = "0123456789abcdef"
"""Fingerprint of a manifest that does not exist: a training is named by its configuration and a manifest's fingerprint."""

START = "START"
"""Stands for the path of a file of known bytes, which a training starts from."""

TRAININGS: dict[str, dict[str, Any]] = {
    "semodepth": {},
    "semodepth, every key that came later at its default": {
        "start_from": None, "backbone_from": None, "only_plug_in": False, "network": {"uncertainty": False, "absent_mono": "zeros"},
        "loss": {"distill": {"form": "none"}}, "data": {"share": 1.0, "rows": None},
    },
    "semodepth, small": {"network": {"base_channels": 8, "input_downscale": 3}, "data": {"batch_size": 4, "share": 0.5}, "max_steps": 9},
    "semodepth, plug-in": {"network": {"plug_in": True}, "data": {"mono": True, "augment": {"flip_probability": 0.5}}},
    "semodepth, distilled": {"loss": {"distill": {"form": "l1", "weight": 0.25}}, "data": {"mono": True}},
    "semodepth, distilled with uncertainty": {
        "network": {"uncertainty": True}, "loss": {"distill": {"form": "laplace"}}, "data": {"mono": True},
    },
    "semodepth, rows and interpolated truth": {
        "network": {"max_depth_m": 80}, "data": {"rows": [240, 540], "dense_target": "depth_interpolated", "cameras": ["CAM_FRONT"]},
    },
    "semodepth, fine-tuned": {"start_from": START, "learning_rate": 1e-5},
    "semodepth, from a pre-trained backbone": {"backbone_from": START},
    "semodepth, the branch alone": {
        "only_plug_in": True, "start_from": START, "network": {"plug_in": True, "absent_mono": "skip"},
        "data": {"mono": True, "augment": {"mono_dropout": 0.0}},
    },
    "monoddle": {"family": "monoddle"},
    "monoddle, distilled with uncertainty": {
        "family": "monoddle", "network": {"uncertainty": True}, "distill": {"form": "laplace"}, "data": {"mono": True},
    },
    "monoddle, distilled": {"family": "monoddle", "distill": {"form": "silog"}, "data": {"mono": True}, "schedule": "compat"},
    "monoddle, ConvNeXt": {"family": "monoddle", "network": {"backbone": "convnext_tiny"}, "backbone_from": START},
    "mim4d": {"family": "mim4d"},
    "mim4d, other probes": {"family": "mim4d", "probe": {"steps": 7}},
    "mim4d, resnet, key frames": {
        "family": "mim4d", "data": {"held_out_share": 0.3}, "max_steps": 5,
        "network": {"num_frames": 2, "input_px": [64, 96], "backbone": {"name": "resnet34"}, "mask": {"hidden_ratio": 0.0}},
    },
}  # fmt: skip
"""``train:`` groups: the defaults of each family, and keys that came later than the first trainings."""


def surface_of(names: Any) -> dict[str, Any]:
    """Return the description as JSON values; ``names`` is a module with the names of ``names_today``."""
    return {
        "commands": _commands(names.app),
        "settings": dict.fromkeys(names.Settings.model_fields, "DEPTHMILL_..."),
        "recipe_keys": {group: dict(_keys(model)) for group, model in names.KEYS.items()},
        "stages": {
            stage.name: {
                "version": stage.version, "per": stage.per, "writes": stage.writes.name,
                "reads": {layout.name: "if there is one" if layout in stage.optional else "always" for layout in stage.reads},
            }
            for stage in names.STAGES
        },
        "layouts": {layout.name: _layout(layout) for layout in names.LAYOUTS},
        "names_of_trainings": _names_of_trainings(names),
        "networks": {name: _network(names, train) for name, train in TRAININGS.items()},
    }  # fmt: skip


def _commands(app: Any) -> dict[str, Any]:
    import typer

    found = typer.main.get_command(app)
    return {
        name: {"/".join([*one.opts, *one.secondary_opts]): _parameter(one) for one in command.params}
        for name, command in found.commands.items()
    }


def _parameter(parameter: Any) -> dict[str, Any]:
    default = parameter.default
    return {
        "is_argument": parameter.param_type_name == "argument",
        "is_flag": getattr(parameter, "is_flag", False),
        "is_required": parameter.required,
        "is_repeatable": parameter.multiple,
        "default": default if isinstance(default, bool | int | float | str | None) else str(default),
    }


def _keys(model: Any, prefix: str = "") -> Any:
    """Yield the dotted keys of a pydantic model with their defaults, groups opened."""
    from pydantic import BaseModel
    from pydantic_core import to_jsonable_python

    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            default = "required" if field.is_required() else field.get_default(call_default_factory=True)
            yield f"{prefix}{name}", to_jsonable_python(default)


def _layout(layout: Any) -> dict[str, Any]:
    arrays = {
        array.name: [list(array.dims), array.dtype, array.unit, array.scale, array.invalid, list(array.flags), array.is_required]
        for array in layout.arrays
    }
    tables = {
        table.name: {column.name: [column.type, column.unit, column.is_nullable] for column in table.columns}
        for table in layout.tables
    }
    return {"version": layout.version, "arrays": arrays, "tables": tables}


def _names_of_trainings(names: Any) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "best.pt"
        start.write_bytes(b"weights")
        given = {name: {key: str(start) if value == START else value for key, value in train.items()} for name, train in TRAININGS.items()}  # fmt: skip
        return {name: names.training_name(_config(names.KEYS, train), MANIFEST) for name, train in given.items()}


def _config(keys: dict[str, Any], train: dict[str, Any]) -> Any:
    return keys[f"train {train.get('family', 'semodepth')}"].model_validate(train)


def _network(names: Any, train: dict[str, Any]) -> dict[str, Any]:
    """Return how many entries a network's state has, and a digest of their keys, shapes and types in order.

    The order counts too: an optimiser's state is kept by the number of a parameter.
    """
    import torch

    with torch.device("meta"):
        network = names.network_of(_config(names.KEYS, train))
    lines = [f"{key} {tuple(value.shape)} {value.dtype}" for key, value in network.state_dict().items()]
    lines += [key for key, _ in network.named_parameters()]
    return {"entries": len(network.state_dict()), "digest": hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]}


if __name__ == "__main__":
    print(json.dumps(surface_of(importlib.import_module(sys.argv[1])), indent=1))
