"""Many requests to a remote root under way at once, so that a server's latency is waited for once and not for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

MOST_AT_ONCE = 48
"""Requests of one process that are under way at once; clients are opened with as many connections."""


def all_at_once(call: Callable[[ItemT], ResultT], items: Iterable[ItemT], *, most: int = MOST_AT_ONCE) -> list[ResultT]:
    """Call a function for every item, many at a time; return the results in the order of the items.

    The threads only wait: the client's own event loop sends and receives. After an error nothing new is begun, what is under way
    is waited for, and the first error is raised.
    """
    wanted = list(items)
    if len(wanted) < 2 or most < 2:
        return [call(item) for item in wanted]
    with ThreadPoolExecutor(min(most, len(wanted)), thread_name_prefix="requests") as pool:
        futures = [pool.submit(call, item) for item in wanted]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
