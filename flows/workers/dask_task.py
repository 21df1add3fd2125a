"""What a Dask worker runs: one scene, after a check that this worker would write the same bytes as the others.

Imports neither Prefect nor distributed, so that a worker needs no server and stays below 1 GB for a 20 s scene.
"""

from __future__ import annotations

import platform

from pipeline.run import SceneRequest, run_scene
from pipeline.stage_list import stage_named
from pipeline.types import ItemResult
from storage_schemas.errors import DepthmillError
from storage_schemas.lineage import provenance

COMPARED = ("depthmill", "numpy", "numba", "zarr", "pyarrow")
"""Packages that decide the bytes of a unit. The commit is not among them: what it changes raises the version of a stage."""


class ForeignWorkerError(DepthmillError):
    """A worker whose code differs from that of the process that planned the run."""


def packages_here() -> dict[str, str]:
    """Return the versions, in this process, of the packages that decide the bytes of a unit."""
    versions = provenance()
    return {name: versions[name] for name in COMPARED}


def run_scene_on_worker(request: SceneRequest, expected: dict[str, str]) -> list[ItemResult]:
    """Run one scene on a Dask worker.

    Args:
        request: the scene.
        expected: ``packages_here()`` of the process that planned.

    Raises:
        ForeignWorkerError: a package or a stage is of another version here.
    """
    for name, installed in packages_here().items():
        if installed != expected[name]:
            raise _foreign(name, installed, expected[name])
    for item in request.items:
        try:
            stage = stage_named(item.stage)
        except KeyError as error:
            raise _foreign(f"stage {item.stage}", "not installed", str(item.identity.stage_version)) from error
        if (stage.version, stage.writes.version) != (item.identity.stage_version, item.identity.layout_version):
            planned = f"{item.identity.stage_version} (layout {item.identity.layout_version})"
            raise _foreign(f"stage {stage.name}", f"{stage.version} (layout {stage.writes.version})", planned)
    return run_scene(request)


def _foreign(what: str, installed: str, planned: str) -> ForeignWorkerError:
    return ForeignWorkerError(
        f"the Dask worker on {platform.node()} has {what} {installed}, the run was started with {planned}: its units could "
        "differ. Give workers and this machine the same environment (same commit, same constraints.txt), restart the workers, "
        "then run the same command; finished units are kept"
    )
