"""The families that are known, and what can be said of a configuration without knowing its family."""

from __future__ import annotations

import difflib
import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from model.train.config import CommonConfig
from model.train.family import Family
from storage_schemas.errors import RecipeError
from storage_schemas.plug_ins import PlugIn


class UnknownOptionsError(ValueError):
    """A stored configuration that this depthmill cannot read: another family, or options that it does not have."""


def misfit_of_family(name: str, family: object) -> str:
    """Say why an object that a package brings under a name is no family; "" if it is one."""
    if not isinstance(family, Family):
        return f"it is {family!r}, expected an instance of a class derived from Family"
    if family.name != name:
        return f"its family is called '{family.name}', expected '{name}', the name of its entry point"
    config = family.config
    if not (isinstance(config, type) and issubclass(config, CommonConfig)):
        return f"its config is {config!r}, expected a class derived from CommonConfig"
    field = config.model_fields.get("family")
    if field is None or typing.get_args(field.annotation) != (name,):
        return f"{config.__name__} must have the key family: Literal['{name}'] with that default"
    return ""


class Families:
    """Families by name; the first is that of a recipe which names none.

    Args:
        families: in the order in which help and documentation show them.
        packages: where those come from that other packages bring, by name.
        broken: why plug-ins that would bring more could not be loaded, by name.
    """

    def __init__(
        self,
        families: Iterable[Family[Any]],
        *,
        packages: Mapping[str, PlugIn] | None = None,
        broken: Mapping[str, str] | None = None,
    ) -> None:
        self._by_name = {family.name: family for family in families}
        self._packages, self._broken = dict(packages or {}), dict(broken or {})

    def __iter__(self) -> Iterator[Family[Any]]:
        """Yield the families."""
        return iter(self._by_name.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all families."""
        return tuple(self._by_name)

    @property
    def broken(self) -> dict[str, str]:
        """Return why plug-ins that would bring more cannot be used, by name."""
        return dict(self._broken)

    @property
    def default(self) -> Family[Any]:
        """Return the family of a recipe that names none."""
        return next(iter(self))

    def of(self, config: CommonConfig) -> Family[Any]:
        """Return the family that a configuration belongs to."""
        return self._by_name[config.family]

    def training_name(self, config: CommonConfig, manifest: str) -> str:
        """Name a training by what decides its result; the package that brings its family is part of it.

        Args:
            config: the training.
            manifest: fingerprint of the manifest.

        Raises:
            OSError: a checkpoint that it starts from cannot be read.
        """
        return config.fingerprint(manifest, package=self._package_of(config))

    def former_training_name(self, config: CommonConfig, manifest: str) -> str:
        """Return the name that former versions gave; another one only where classification weights are given."""
        return config.fingerprint(manifest, package=self._package_of(config), former=True)

    def _package_of(self, config: CommonConfig) -> str | None:
        brought_by = self._packages.get(config.family)
        return None if brought_by is None else brought_by.package

    def package_version(self, config: CommonConfig) -> dict[str, str]:
        """Return the version of the package that brings a configuration's family, by its name; empty for depthmill's own."""
        brought_by = self._packages.get(config.family)
        return {} if brought_by is None else {brought_by.package: brought_by.version}

    def named(self, name: Any, *, where: str) -> Family[Any]:
        """Return the family that a recipe names; RecipeError if there is no such family."""
        if isinstance(name, str) and name in self._broken:
            raise RecipeError(f"recipe '{where}': train.family is {name!r}: {self._broken[name]}")
        if not isinstance(name, str) or name not in self._by_name:
            near = difflib.get_close_matches(str(name), self._by_name, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"expected one of: {', '.join(self._by_name)}"
            raise RecipeError(f"recipe '{where}': train.family is {name!r}; {hint}")
        return self._by_name[name]

    def read(self, stored: str | Mapping[str, Any]) -> CommonConfig:
        """Read a configuration that ``model_dump_json`` wrote, or that ``model_dump(mode="json")`` made.

        Raises:
            UnknownOptionsError: this depthmill knows no such family, or not such options; names each.
        """
        data = json.loads(stored) if isinstance(stored, str) else stored
        name = data.get("family") if isinstance(data, Mapping) else None
        if not isinstance(name, str) or name not in self._by_name:
            raise UnknownOptionsError(f"train.family is {name!r}; this depthmill knows {', '.join(self._by_name)}")
        model = self._by_name[name].config
        try:
            return model.model_validate_json(stored) if isinstance(stored, str) else model.model_validate(stored)
        except ValidationError as error:
            raise UnknownOptionsError("; ".join(_explain(dict(fault), model) for fault in error.errors())) from error

    def parse(self, data: Mapping[str, Any], *, where: str) -> CommonConfig:
        """Check the ``train:`` group of a recipe; RecipeError lists every mistake, one a line."""
        family = self.named(data.get("family", self.default.name), where=where)
        config: CommonConfig = parse_config(family.config, data, where=where)
        for key in ("start_from", "backbone_from"):
            path = getattr(config, key)
            if path is not None and not Path(path).is_file():
                raise RecipeError(
                    f"recipe '{where}': train.{key} is '{path}', and there is no such file. Give the path of a "
                    "checkpoint, e.g. <runs>/trainings/<name>/best.pt, or leave the key out to train from scratch"
                )
        origins = [key for key in ("start_from", "backbone_from", "imagenet_weights") if getattr(config, key, None) is not None]
        if len(origins) > 1:
            raise RecipeError(
                f"recipe '{where}': train.{' and train.'.join(origins)} {'both' if len(origins) == 2 else 'all'} say where the "
                f"weights begin. Leave {'one of the two' if len(origins) == 2 else 'two of them'} out"
            )
        family.check_recipe(config, where=where)
        return config


def parse_config(model: type[CommonConfig], data: Mapping[str, Any], *, where: str) -> Any:
    """Check the ``train:`` group of a recipe against a family's configuration; RecipeError lists every mistake, one a line."""
    try:
        config = model.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(f"recipe '{where}': {_explain(dict(fault), model)}" for fault in error.errors())) from error
    weights = getattr(config, "imagenet_weights", None)
    if weights is not None and not Path(weights).is_file():
        raise RecipeError(
            f"recipe '{where}': train.imagenet_weights is '{weights}', and there is no such file. "
            "Give the path of the classification weights, e.g. torchvision's resnet34-*.pth, or leave the key out to train from "
            "scratch"
        )
    return config


def _keys_at(model: Any, location: Iterable[str]) -> list[str]:
    """Return the keys of the group at a place of a configuration; those of the configuration where the place is no group."""
    group = model
    for part in location:
        group = group.model_fields[part].annotation if part in getattr(group, "model_fields", {}) else None
    return list(getattr(group, "model_fields", model.model_fields))


def _explain(error: dict[str, Any], model: type[BaseModel]) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(["train", *location])
    if error["type"] == "extra_forbidden":
        known_keys = _keys_at(model, location[:-1])
        near = difflib.get_close_matches(location[-1], known_keys, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of: {', '.join(known_keys)}"
        return f"unknown key '{key}'; {hint}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if not location:
        return message
    value = error.get("input")
    # of a whole group only what is wrong is said: its values may be hundreds
    return f"{key}: {message}" if isinstance(value, Mapping | BaseModel) else f"{key} is {value!r}: {message}"
