"""The fsspec file system behind a URL, set so that depthmill alone decides when a request is tried again and when it is late."""

from __future__ import annotations

from typing import Any

from storage_schemas.errors import StoreError
from storage_schemas.many_requests import MOST_AT_ONCE
from storage_schemas.retries import RetryPolicy

CONNECT_TIMEOUT_S = 10.0
"""A server that takes longer to accept a connection counts as unreachable."""


def open_filesystem(url: str, policy: RetryPolicy, *, setting: str = "store:") -> Any:
    """Return the file system of a URL; nothing is asked of the server yet.

    Args:
        url: of a store or data set.
        policy: how long a request may take.
        setting: key of the recipe that names the URL, for errors.

    Raises:
        StoreError: the scheme is unknown, or its backend is not installed.
    """
    import fsspec

    what = "store" if setting == "store:" else "source root"
    try:
        filesystem = fsspec.core.url_to_fs(url, **storage_options(url, policy))[0]
    except (ImportError, ValueError) as error:
        if "port" in str(error).lower():
            raise StoreError(
                f"{what} '{url}': {error}. Correct '{setting}' in the recipe; within a user's name and password, / is written as "
                "%2F and @ as %40"
            ) from error
        raise StoreError(
            f"{what} '{url}': {error}. Install the fsspec backend of this URL scheme, e.g. pip install 'depthmill[s3]' for s3://"
        ) from error
    return without_own_retries(filesystem)


def storage_options(url: str, policy: RetryPolicy) -> dict[str, Any]:
    """Return what an S3 file system is opened with; nothing for other schemes.

    Endpoint, region and credentials are left to the environment and the files that botocore reads. What fsspec's own
    configuration says for S3 is kept.
    """
    if not url.startswith(("s3://", "s3a://")):
        return {}
    from fsspec.config import conf

    client = {
        **conf.get("s3", {}).get("config_kwargs", {}),
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "connect_timeout": min(CONNECT_TIMEOUT_S, policy.timeout_s),
        "read_timeout": policy.timeout_s,
        "max_pool_connections": MOST_AT_ONCE,
    }
    return {
        "config_kwargs": client,
        "use_listings_cache": False,  # a cached listing would hide the units that other processes commit
        "max_concurrency": 1,  # with more, every whole file costs a second request, for its size
    }


def without_own_retries(filesystem: Any) -> Any:
    """Make s3fs try a request once."""
    if hasattr(filesystem, "retries"):
        filesystem.retries = 1
    return filesystem
