"""Files fetched in the background before they are asked for, in the order in which they will be, and not too far ahead.

Why    A stage reads a file, works on it, and reads the next. Fetched one by one from a server, it would wait for each
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

NUM_THREADS = 16
"""Files that are fetched at once: enough to fill a line of 10 Gbit/s at 20 ms with files of half a megabyte."""


class ReadAhead:
    """Fetches files in threads of its own until it is closed.

    Args:
        fetch: gets one file, so that whoever reads it later finds it at hand. What it raises is left to that reader.
        num_bytes: file -> its size, in the order in which they will be read.
        most_bytes: of files that are fetched and not read yet; one file may always be fetched.
    """

    def __init__(self, fetch: Callable[[str], None], num_bytes: Mapping[str, int], *, most_bytes: int) -> None:
        self._fetch, self._num_bytes, self._most_bytes = fetch, dict(num_bytes), most_bytes
        self._waiting = dict.fromkeys(num_bytes)
        self._under_way: set[str] = set()
        self._ready: set[str] = set()
        self._held = 0
        self._is_closed = False
        self._changed = threading.Condition()
        for _ in range(min(NUM_THREADS, len(num_bytes))):
            threading.Thread(target=self._work, name="read ahead", daemon=True).start()

    def take(self, file: str) -> None:
        """Wait for a file that is on its way; return at once for any other, which the caller then gets itself."""
        with self._changed:
            self._waiting.pop(file, None)
            while file in self._under_way:
                self._changed.wait()
            if file in self._ready:
                self._ready.discard(file)
                self._held -= self._num_bytes[file]
                self._changed.notify_all()

    def close(self) -> None:
        """Begin no further file; those on their way are not waited for, since a server that is gone keeps them for a minute."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while (file := self._next()) is not None:
            with suppress(Exception):  # whoever reads the file asks again, and meets the error itself
                self._fetch(file)
            with self._changed:
                self._under_way.discard(file)
                self._ready.add(file)
                self._changed.notify_all()

    def _next(self) -> str | None:
        """Return the next file once there is room for it, None when there is none left."""
        with self._changed:
            while not self._is_closed and self._waiting:
                file = next(iter(self._waiting))
                if not self._held or self._held + self._num_bytes[file] <= self._most_bytes:
                    del self._waiting[file]
                    self._under_way.add(file)
                    self._held += self._num_bytes[file]
                    return file
                self._changed.wait()
            return None
