"""Settings: where and how fast, from the environment (DEPTHMILL_...) or a .env file. Never fingerprinted; change no result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage_schemas.errors import RecipeError
from storage_schemas.files import StoreFiles


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "depthmill"


class Settings(BaseSettings):
    """Settings of one machine."""

    model_config = SettingsConfigDict(
        env_prefix="DEPTHMILL_", env_file=".env", env_ignore_empty=True, frozen=True, extra="ignore"
    )
    workers: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 8), ge=1, description="worker processes")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where networks run; auto: a GPU if there")
    num_devices: int = Field(default=1, ge=1, description="devices of each node that train together")
    num_nodes: int = Field(default=1, ge=1, description="nodes that train together; srun or torchrun starts a process a device")
    loader_workers: int = Field(
        default_factory=lambda: min((os.cpu_count() or 1) - 1, 8),
        ge=0,
        description="processes that read for each training device",
    )
    dask: str | None = Field(
        default=None, description="Dask cluster that makes units, e.g. local:4 or tcp://scheduler:8786; default: worker processes"
    )
    cache_dir: Path = Field(default_factory=_default_cache, description="index caches and simulated worlds")
    runs_dir: str | None = Field(
        default=None, description="path or URL of run logs, reports, trainings and the champion; default: <store>/runs"
    )

    log: Literal["text", "json"] = Field(
        default="text", description="json: each finished unit also as a line of JSON on standard error, as in events.jsonl"
    )

    def runs_root(self, store_root: str) -> str:
        """Return path or URL of the runs of a store."""
        return self.runs_dir or f"{StoreFiles(store_root).root}/runs"


def settings_of_machine(
    workers: int | None = None, dask: str | None = None, log: str | None = None, device: str | None = None
) -> Settings:
    """Return the settings of this machine; RecipeError names one that is wrong.

    Args:
        workers: the option ``--workers``; None = DEPTHMILL_WORKERS.
        dask: the option ``--dask``; None = DEPTHMILL_DASK.
        log: the option ``--log``; None = DEPTHMILL_LOG.
        device: the option ``--device``; None = DEPTHMILL_DEVICE.
    """
    options: dict[str, Any] = {"workers": workers, "dask": dask, "log": log, "device": device}
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValueError as error:
        first = (
            error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("settings",), "msg": str(error), "input": ""}
        )
        name = f"DEPTHMILL_{'_'.join(map(str, first['loc'])).upper()}"
        raise RecipeError(f"setting {name} (or its option) is {first['input']!r}: {first['msg']}") from error
