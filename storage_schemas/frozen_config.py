"""The base of what names a result: frozen, an unknown key is an error, and a key that is added later changes no name.

Why   Trainings and units are named by a hash of what ``model_dump`` returns. A new key at the value that it stands for changes no
      result, so it must change no name, or everything that was made before it would be made again.
Rule  A new key stands in ``added_later`` of the class that declares it, with the value that means "as it was before". A key that
      never decides a result is declared with ``Field(exclude=True)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

_EVERY_KEY = "every_key"
_NUMBERS = {int, float, type(None)}


class FrozenConfig(BaseModel):
    """A frozen configuration; what it dumps lacks the keys of ``added_later`` that have the value given there.

    A number must be finite: NaN would compare as false everywhere, in silence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @model_validator(mode="before")
    @classmethod
    def _refuse_true_as_a_number(cls, data: Any) -> Any:
        """Refuse true and false, which Python takes for 1 and 0, where a number is asked for."""
        for name, field in cls.model_fields.items() if isinstance(data, Mapping) else ():
            wanted = set(get_args(field.annotation) or (field.annotation,))
            if isinstance(data.get(name), bool) and wanted <= _NUMBERS:
                raise ValueError(f"{name} is {str(data[name]).lower()}: expected a number")
        return data

    @model_serializer(mode="wrap")
    def _leave_out_what_is_as_before(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        dumped: dict[str, Any] = handler(self)
        if (info.context or {}).get(_EVERY_KEY):
            return dumped
        as_before = {key for key, value in _added_later(type(self)) if getattr(self, key) == value}
        return {key: value for key, value in dumped.items() if key not in as_before} if as_before else dumped


@cache
def _added_later(config_class: type[FrozenConfig]) -> tuple[tuple[str, Any], ...]:
    """Return the keys that were added later to a class and its bases, with their values; a plan asks for each of its units."""
    return tuple(pair for cls in config_class.__mro__ for pair in vars(cls).get("added_later", {}).items())


def every_key(config: BaseModel) -> dict[str, Any]:
    """Return a configuration as JSON values with every key that it has, at all depths; to compare two, not to name one."""
    return config.model_dump(mode="json", context={_EVERY_KEY: True})


def group_of(annotation: Any) -> type[BaseModel] | None:
    """Return the group of keys that a field holds, also where the field may be null; None for a field of another kind."""
    members = [member for member in (get_args(annotation) or (annotation,)) if member is not type(None)]
    only = members[0] if len(members) == 1 else None
    return only if isinstance(only, type) and issubclass(only, BaseModel) else None
