"""A public file while it is translated: its keys, checked as they are read, and what became of each.

A key is told once. Keys that nobody told of are left, so that none is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from model.monoddle.public_configuration.keys import BLOCKS, MAPPED, Fate, Kind
from storage_schemas.errors import RecipeError


class Told(NamedTuple):
    """What became of one key.

    Attributes:
        key: with its groups, ``dataset.batch_size``.
        value: in the file.
        fate: what happened to it.
        here: key of the recipe with its value, setting or command; "" = nothing.
        why: what differs, or why nothing takes its place; "" = nothing to say.
    """

    key: str
    value: Any
    fate: Fate
    here: str
    why: str


class TrainKey(NamedTuple):
    """A value of ``train:``, and the key of the file that it comes from, or why it stands there."""

    value: Any
    why: str


@dataclass
class PublicTraining:
    """A translated file.

    Attributes:
        root: ``dataset.root_dir``; None = the file does not say it.
        uses_maps: the training distils from the maps of ``<root>/DA3_depth_results``.
        starts_from: name of the network whose ImageNet weights the backbone starts from; "" = from scratch.
        train: keys of ``train:`` with dots -> value and why.
        told: every key of the file, in its order.
    """

    root: str | None = None
    uses_maps: bool = False
    starts_from: str = ""
    train: dict[str, TrainKey] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)

    def of(self, *fates: Fate) -> list[Told]:
        """Return the keys with one of these fates."""
        return [one for one in self.told if one.fate in fates]


class PublicFile:
    """The keys of a file, and what was made of them so far.

    Args:
        data: content of the file, as a safe loader reads it.
        where: the file, for error texts.

    Raises:
        RecipeError: a group of keys is something else.
    """

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self.values, self.where = dict(_leaves(data, where=where)), where
        self.left, self.made = dict(self.values), PublicTraining()
        self._replaced_by: dict[str, str] = {}

    def error(self, key: str, expected: str) -> RecipeError:
        """Return the error that names a key with its value and what was expected in its place."""
        return RecipeError(f"'{self.where}': {key} is {self.values.get(key)!r}: expected {expected}")

    def value(self, key: str, kind: Kind, default: Any = None, *, least: float = 0.0) -> Any:
        """Return the value of a key, checked; the default where the file lacks it.

        Raises:
            RecipeError: the value is of another kind or below ``least``, or the file lacks the key and there is no default.
        """
        if key not in self.values:
            self.refuse_group(key, _KINDS[kind][0])
            if default is None:
                raise RecipeError(f"'{self.where}': key '{key}' is missing, and the public code stops without it. Add it")
            return default
        value, (expected, is_right) = self.values[key], _KINDS[kind]
        if kind == "number" and isinstance(value, str):  # YAML reads 1e-3, without a point, as a text
            value = _number(value)
        if kind == "flag" and value in (0, 1):
            value = bool(value)
        if not is_right(value) or (kind in ("whole", "number") and not value >= least):
            raise self.error(key, expected + (f" of at least {least:g}" if kind in ("whole", "number") else ""))
        return value

    def refuse_group(self, key: str, expected: str) -> None:
        """Raise RecipeError if the file has a group of keys where a value is expected."""
        inner = [other.removeprefix(f"{key}.") for other in self.values if other.startswith(f"{key}.")]
        if inner:
            raise RecipeError(f"'{self.where}': {key} is a group of keys ({', '.join(inner)}): expected {expected}")

    def train(self, key: str, value: Any, why: str) -> None:
        """Set a key of ``train:``."""
        self.made.train[key] = TrainKey(value, why)

    def tell(self, key: str, fate: Fate, here: str = "", why: str = "") -> None:
        """Say what became of a key, if the file has it and nothing was said of it before."""
        if key in self.left:
            self.made.told.append(Told(key, self.left.pop(key), fate, here, why))

    def give(self, key: str, train: Mapping[str, Any], why: str = "") -> None:
        """Set keys of ``train:`` by a key of the file, or by what the public code takes where the file lacks it."""
        for name, value in train.items():
            absent = f"{key} is not in the file, and the public code takes this"
            self.train(name, value, self._replaced_by.get(key, key) if key in self.values else absent)
        self.tell(key, "taken", ", ".join(f"train.{name}: {shown(value)}" for name, value in train.items()), why)

    def replace(self, key: str, source: str, value: Any) -> None:
        """Let the value of another key, ``source``, count in place of that of a key of ``MAPPED``."""
        here = ", ".join(f"train.{name}: {shown(value)}" for name in MAPPED[key].keys)
        self.tell(key, "not read", here, f"the data-parallel script takes {source} in its place, and so does the recipe")
        self.values[key], self._replaced_by[key] = value, source

    def give_same(self, key: str) -> None:
        """Give the value of a key of ``MAPPED`` to the keys of ``train:`` that mean the same."""
        mapped = MAPPED[key]
        value = self.value(key, mapped.kind, mapped.default, least=mapped.least)
        self.give(key, dict.fromkeys(mapped.keys, value), mapped.why if value else "")

    def result(self) -> PublicTraining:
        """Return what was made, keys in the order of the file."""
        order = list(self.values)
        self.made.told.sort(key=lambda one: order.index(one.key))
        return self.made


def shown(value: Any) -> str:
    """Return a value as YAML writes it in a line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    text = "null" if value is None else str(value)
    return text if text.isprintable() else ascii(text)


def is_whole(value: Any) -> bool:
    """Say whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


_KINDS: dict[Kind, tuple[str, Any]] = {
    "whole": ("a whole number", is_whole),
    "number": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "text": ("a text", lambda value: isinstance(value, str)),
}


def _leaves(data: Mapping[Any, Any], *, where: str, above: str = "") -> Iterator[tuple[str, Any]]:
    """Return every value of a file with the names of its groups; a list is one value, and an empty group is none."""
    for name, value in data.items():
        key = f"{above}{name}"
        if isinstance(value, Mapping):
            yield from _leaves(value, where=where, above=f"{key}.")
        elif key in BLOCKS and value is not None:
            raise RecipeError(f"'{where}': {key} is {value!r}: expected a group of keys")
        elif key not in BLOCKS:
            yield key, value
