"""Records of tensors that move to a device, or to page-locked memory, as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor


class OfTensors:
    """A frozen record of tensors, records of tensors and named tuples of tensors that moves as a whole."""

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the same on a device; what is there already is not copied."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return a copy in page-locked memory, from where a GPU fetches by itself."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, OfTensors):
                changed[field.name] = value._each(change)
            elif isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple of tensors
                changed[field.name] = type(value)(*(change(tensor) for tensor in value))
        return replace(self, **changed)  # type: ignore[type-var]
