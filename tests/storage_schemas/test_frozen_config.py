from __future__ import annotations

from types import MappingProxyType

import pytest
from pydantic import Field, ValidationError

from storage_schemas.frozen_config import FrozenConfig, every_key


class Inner(FrozenConfig):
    added_later = MappingProxyType({"b": None})

    a: int = 1
    b: tuple[int, int] | None = None


class Outer(FrozenConfig):
    added_later = MappingProxyType({"late": Inner()})

    inner: Inner = Inner()
    late: Inner = Inner()
    beside: int = Field(0, exclude=True)


class Heir(Outer):
    added_later = MappingProxyType({**Outer.added_later, "c": 5})

    c: int = 5


@pytest.mark.parametrize(
    ("config", "dumped"),
    [
        (Outer(), {"inner": {"a": 1}}),
        (Outer(inner=Inner(b=(1, 2)), beside=3), {"inner": {"a": 1, "b": [1, 2]}}),
        (Outer(late=Inner(a=2)), {"inner": {"a": 1}, "late": {"a": 2}}),
        (Heir(), {"inner": {"a": 1}}),
        (Heir(c=6), {"inner": {"a": 1}, "c": 6}),
    ],
)
def test_dump_when_a_later_key_is_as_before_then_lacks_it_and_is_read_back_the_same(config, dumped):
    assert config.model_dump(mode="json") == dumped
    assert type(config).model_validate(dumped) == config.model_copy(update={"beside": 0})
    assert type(config).model_validate_json(config.model_dump_json()) == config.model_copy(update={"beside": 0})


def test_every_key_when_all_are_as_before_then_has_them_at_all_depths():
    assert every_key(Heir()) == {"inner": {"a": 1, "b": None}, "late": {"a": 1, "b": None}, "c": 5}


def test_config_when_changed_or_given_an_unknown_key_then_refused():
    with pytest.raises(ValidationError, match="frozen"):
        Inner().a = 2
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Inner.model_validate({"d": 1})


class Kinds(FrozenConfig):
    number: int = 1
    maybe: float | None = None
    switch: bool = False
    either: bool | int = 0


@pytest.mark.parametrize("value", [True, False])
def test_number_when_true_or_false_is_given_then_refused_and_switches_are_as_before(value):
    for name in ("number", "maybe"):
        with pytest.raises(ValidationError, match=f"{name} is {str(value).lower()}: expected a number"):
            Kinds.model_validate({name: value})
    assert Kinds(switch=value, either=value).model_dump() == {"number": 1, "maybe": None, "switch": value, "either": value}
    assert Kinds(number=3, maybe=2).maybe == 2.0
