"""The fsspec file system behind a URL, set so that depthmill alone decides when a request is tried again and when it is late."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from storage_schemas.errors import StoreError
from storage_schemas.install_command import install_command
from storage_schemas.many_requests import MOST_AT_ONCE
from storage_schemas.retries import RetryPolicy

CONNECT_TIMEOUT_S = 10.0
"""A server that takes longer to accept a connection counts as unreachable."""

SLOWEST_BYTES_PER_S = 1_000_000
"""A body may take its bytes divided by this, besides the time that a request without one may take."""


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
            f"{what} '{url}': {error}. Install the fsspec backend of this URL scheme, for s3:// with: {install_command('s3')}"
        ) from error
    return without_own_retries(filesystem, policy)


def storage_options(url: str, policy: RetryPolicy) -> dict[str, Any]:
    """Return what an S3 file system is opened with; nothing for other schemes.

    Region and credentials are left to the environment and the files that botocore reads. What fsspec's own configuration says
    for S3 is kept. The endpoint of the environment is named here, because fsspec keeps an opened file system for each set of
    options: one that was opened for another endpoint must not answer.
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
        **_endpoint(conf.get("s3", {})),
        "config_kwargs": client,
        "use_listings_cache": False,  # a cached listing would hide the units that other processes commit
        "max_concurrency": 1,  # with more, every whole file costs a second request, for its size
    }


def _endpoint(configured: Mapping[str, Any]) -> dict[str, str]:
    """Return the endpoint as the environment names it now; nothing where it names none, or fsspec's configuration comes first."""
    is_ignored = os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint or is_ignored or "endpoint_url" in configured:
        return {}
    return {"endpoint_url": endpoint}


def without_own_retries(filesystem: Any, policy: RetryPolicy) -> Any:
    """Make s3fs try a request once, and give up one that sends a body which nobody takes."""
    if hasattr(filesystem, "retries"):
        filesystem.retries = 1
    if is_s3(filesystem) and not isinstance(filesystem._call_s3, _Limited):  # a file system is opened once
        filesystem._call_s3 = _Limited(filesystem._call_s3, policy.timeout_s)
    return filesystem


def is_s3(filesystem: Any) -> bool:
    """Say whether a file system is that of s3fs."""
    return hasattr(filesystem, "_call_s3")


class _Limited:
    """Requests of an S3 file system, with a limit for a body to be sent.

    The client's own limit counts from when a body has been sent. A server that takes connections and reads nothing, as one that
    was stopped does, would be waited for without end.
    """

    def __init__(self, call: Callable[..., Awaitable[Any]], timeout_s: float) -> None:
        self._call, self._timeout_s = call, timeout_s

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request; ConnectionError if its body is not taken in time."""
        if (body := kwargs.get("Body")) is None:
            return await self._call(method, *args, **kwargs)
        num_bytes = memoryview(body).nbytes
        limit_s = self._timeout_s + num_bytes / SLOWEST_BYTES_PER_S
        try:
            return await asyncio.wait_for(self._call(method, *args, **kwargs), limit_s)
        except TimeoutError as error:
            raise ConnectionError(f"the server did not take {num_bytes} bytes within {limit_s:.0f} s") from error
