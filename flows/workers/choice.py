"""The one place where it is chosen who makes units: worker processes of this machine, or a Dask cluster."""

from __future__ import annotations

from flows.settings import Settings
from flows.workers.pool import WorkerPool, local_workers


def pool_of(settings: Settings) -> WorkerPool:
    """Return the workers that the settings name, which are looked for and not yet started.

    Raises:
        RecipeError: ``--dask`` or DEPTHMILL_DASK is wrong, or the extra ``dask`` is not installed.
        DaskError: nothing answers at the scheduler's address.
    """
    if settings.dask is None:
        return local_workers(settings.workers)
    from flows.workers.dask_pool import dask_workers

    return dask_workers(settings.dask)
