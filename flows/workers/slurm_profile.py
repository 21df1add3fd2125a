"""A SLURM profile: how many jobs of which size ``--dask slurm:<profile>`` asks for, from a small YAML file.

``slurm:cpu`` is ``~/.config/depthmill/slurm/cpu.yaml``, ``slurm:./cpu.yaml`` a file anywhere. docs/operations/dask.md has one to
copy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage_schemas.errors import RecipeError, SourceError
from storage_schemas.regular_files import MAX_RECIPE_BYTES, read_text
from storage_schemas.yaml_text import YamlTextError, parse_yaml


class SlurmProfile(BaseModel):
    """Jobs of a SLURM cluster; every job starts ``workers_per_job`` workers of one core each."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    jobs: int = Field(ge=1, description="jobs to keep in the queue; one that ends is replaced")
    workers_per_job: int = Field(default=1, ge=1, description="workers, and so cores, of a job")
    memory_per_worker: str = Field(default="2GiB", description="a worker above it is restarted; a 20 s scene needs about 1 GB")
    walltime: str = Field(default="04:00:00", description="of a job, hh:mm:ss; must be longer than a scene takes")
    queue: str | None = Field(default=None, description="partition (-p)")
    account: str | None = Field(default=None, description="account (-A)")
    interface: str | None = Field(default=None, description="network that nodes reach each other by, e.g. ib0")
    directives: tuple[str, ...] = Field(default=(), description="more #SBATCH lines, e.g. --constraint=cpu")
    prologue: tuple[str, ...] = Field(default=(), description="shell lines before the workers start, e.g. module load")
    log_folder: str | None = Field(default=None, description="where the jobs' output goes; must exist on the nodes")


def profile_path(name: str) -> Path:
    """Return the file of a profile, named or given as a path."""
    if name.endswith((".yaml", ".yml")):
        return Path(name).expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "depthmill" / "slurm" / f"{name}.yaml"


def load_profile(name: str) -> SlurmProfile:
    """Read a profile.

    Raises:
        RecipeError: it does not exist, is no YAML mapping, or a key is wrong.
    """
    path = profile_path(name)
    try:
        content: Any = parse_yaml(read_text(path, most_bytes=MAX_RECIPE_BYTES))
        return SlurmProfile.model_validate(content)
    except FileNotFoundError as error:
        raise RecipeError(
            f"SLURM profile '{name}' does not exist: expected {path}. docs/operations/dask.md has one to copy"
        ) from error
    except (OSError, UnicodeDecodeError, YamlTextError, SourceError) as error:
        raise RecipeError(f"SLURM profile '{path}' cannot be read: {error}. Fix the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise RecipeError(
            f"SLURM profile '{path}': {where} is {first['input']!r}: {first['msg']}. Known keys: "
            f"{', '.join(SlurmProfile.model_fields)}"
        ) from error


def cluster_arguments(profile: SlurmProfile, *, environment: dict[str, str]) -> dict[str, Any]:
    """Return the arguments of ``dask_jobqueue.SLURMCluster`` for a profile.

    Args:
        profile: the jobs.
        environment: variables that every worker shall have.
    """
    from dask.utils import format_bytes, parse_bytes

    try:
        memory = parse_bytes(profile.memory_per_worker) * profile.workers_per_job
    except ValueError as error:
        raise RecipeError(
            f"memory_per_worker is '{profile.memory_per_worker}', expected a size such as 2GiB. Fix the SLURM profile"
        ) from error
    return {
        "cores": profile.workers_per_job,
        "processes": profile.workers_per_job,
        "memory": format_bytes(memory),
        "walltime": profile.walltime,
        "queue": profile.queue,
        "account": profile.account,
        "interface": profile.interface,
        "job_extra_directives": list(profile.directives),
        "job_script_prologue": [*profile.prologue, *(f"export {name}={value}" for name, value in environment.items())],
        "log_directory": profile.log_folder,
        "scheduler_options": {"dashboard_address": ":0"},
    }
