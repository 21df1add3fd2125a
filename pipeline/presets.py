"""Presets: whole sets of rules under one name, for keys that a recipe leaves out.

Why   The rules of supervision were measured together, so a recipe names the set and writes down what departs from it
Rule  A preset changes nothing but defaults: a key that the recipe sets stays. Values name a unit, not the preset
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

PresetName = Literal["published", "surface"]

_SURFACE = {
    "accumulate_lidar": {
        "own_car_m": 2.5,
        "free_space": {},
        "behind_moving": "drop",
        "surface": "front",
        "least_front_share": 0.25,
        "poses": {},
    },
    "clean_horizon": {"occluded": {}},
}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({"published": {}, "surface": {"stages": _SURFACE}})
"""Per preset the keys of a recipe that it sets. ``published`` sets none: the defaults of every stage are the published ones."""


def keys_set_by(preset: str, *, stage: str) -> frozenset[str]:
    """Return the keys of a stage that a preset sets."""
    return frozenset(PRESETS[preset].get("stages", {}).get(stage, {}))


def filled(data: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return data with the defaults of keys that it lacks; groups are filled key by key."""
    whole = dict(data)
    for key, default in defaults.items():
        if key not in whole:
            whole[key] = filled({}, default) if isinstance(default, Mapping) else default
        elif isinstance(default, Mapping) and isinstance(whole[key], Mapping):
            whole[key] = filled(whole[key], default)
    return whole
