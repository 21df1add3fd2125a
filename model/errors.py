"""Errors that every model family can raise."""

from __future__ import annotations

from storage_schemas.errors import DepthmillError


class WeightsFileError(DepthmillError):
    """A file of weights is missing, unreadable, or not of this network."""


class CheckpointError(DepthmillError):
    """A checkpoint does not fit the network, or the training."""


class InputError(DepthmillError):
    """Inputs of a network do not fit together, or do not fit the network."""
