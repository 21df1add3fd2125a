"""The border between Prefect's errors and a user's mistakes, for every flow and task.

A user's mistake ends a flow or task Failed with its own text and no traceback. What fails in Prefect itself becomes one error
that says what to do next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from httpx import HTTPStatusError
from prefect import State
from prefect.settings import PREFECT_API_URL
from prefect.states import Failed

from storage_schemas.errors import DepthmillError
from storage_schemas.shown_text import remember_secrets

T = TypeVar("T")

START_DATABASE = "Start it on the server's machine (PostgreSQL: systemctl start postgresql)"


class OrchestratorError(DepthmillError):
    """Prefect itself failed, not a unit."""


class Guarded(Generic[T]):
    """Work inside a flow or task: Prefect is told a state with its text, the caller gets the value or the error itself."""

    def __init__(self) -> None:
        self._values: list[T] = []
        self._errors: list[Exception] = []

    def state(self, work: Callable[[], T], ended: Callable[[T], State[Any]]) -> State[Any]:
        """Do the work and return the state it ends with: Failed for a user's mistake, else what ``ended`` makes of its value.

        Raises:
            Exception: what the work raised, if it is a defect; Prefect's pages then show its traceback.
        """
        try:
            value = work()
        except Exception as error:
            self._errors.append(error)
            if not isinstance(error, DepthmillError):
                raise
            return Failed(message=str(error))
        self._values.append(value)
        return ended(value)

    @property
    def is_over(self) -> bool:
        """Say whether the work returned or raised; if not, Prefect failed."""
        return bool(self._values or self._errors)

    def check(self) -> None:
        """Raise what the work raised, if it did."""
        if self._errors:
            raise self._errors[0]

    def value(self) -> T:
        """Return what the work returned, or raise what it raised; called only when it is over."""
        self.check()
        return self._values[0]


def state_of(work: Callable[[], State[Any]]) -> State[Any]:
    """Do the work of a flow or task; a user's mistake ends it Failed with its own text and no traceback."""
    return Guarded[State[Any]]().state(work, lambda state: state)


@contextmanager
def explained(what: str, then: str) -> Iterator[None]:
    """Turn whatever Prefect raises into a text with a next step; a user's mistake passes.

    Args:
        what: what Prefect could not do, e.g. "finish the flow".
        then: what to do.
    """
    try:
        yield
    except DepthmillError:
        raise
    except Exception as error:  # Prefect has many error types for a server that is gone or refuses
        remember_secrets(PREFECT_API_URL.value() or "")  # the error may cite a part of it
        says = f"{type(error).__name__}: {error}"
        if isinstance(error, HTTPStatusError) and error.response.is_server_error:
            says = f"its server failed ({error.response.status_code}), as it does while its database is away. {START_DATABASE}"
        raise OrchestratorError(f"Prefect could not {what}: {says}. {then}") from error
