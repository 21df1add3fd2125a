"""The lowest line of a terminal, painted again and again below everything that is printed.

Why    rich's live display hides the cursor until the end, which a killed process never reaches, and breaks long lines of others
       anew, so that a path can no longer be copied. This needs one line and neither
How    Whatever is printed to a terminal passes through a stream that takes the line away first. The cursor rests at the line's
       begin, so what a library or another process prints past this stream overwrites it
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import threading
from typing import Any, TextIO

from storage_schemas.shown_text import shown

_CLEAR = "\r\x1b[2K"
_SPINNER = itertools.cycle("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
_PLAIN_SPINNER = itertools.cycle("|/-\\")


def terminal_line() -> TerminalLine | None:
    """Return a line below everything on this terminal; None where standard error is none, or cannot clear a line."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        return None
    return TerminalLine(sys.stderr)


class TerminalLine:
    """Paints the line, and makes room for what is printed to standard output and standard error.

    Args:
        stream: standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.RLock()
        self._is_painted = self._is_amid = self._is_closed = False
        can_spin = (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
        self._spinner = _SPINNER if can_spin else _PLAIN_SPINNER
        self._before = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = (self._above(own) if own.isatty() else own for own in self._before)

    def paint(self, text: str) -> None:
        """Show a text, cut at the width of the terminal; nothing while somebody is in the middle of a line."""
        with self._lock:
            if self._is_closed or self._is_amid:
                return
            width = shutil.get_terminal_size().columns - 1
            line = f"{next(self._spinner)} {shown(text)}"
            line = line if len(line) <= width else f"{line[: max(width - 3, 0)]}..."
            self._stream.write(f"{_CLEAR}{line}\r")
            self._stream.flush()
            self._is_painted = True

    def write_above(self, stream: TextIO, text: str) -> int:
        """Write to a stream where the line was; it is painted again when the text's line has ended."""
        with self._lock:
            self._clear()
            count = stream.write(text)
            stream.flush()
            if text:
                self._is_amid = not text.endswith("\n")
            return count

    def close(self) -> None:
        """Take the line away for good, and give back the streams."""
        with self._lock:
            self._clear()
            self._is_closed = True
            sys.stdout, sys.stderr = self._before

    def _clear(self) -> None:
        if self._is_painted:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._is_painted = False

    def _above(self, stream: TextIO) -> Any:
        return _Above(self, stream)


class _Above:
    """A stream to the terminal whose text comes to stand above the line."""

    def __init__(self, line: TerminalLine, stream: TextIO) -> None:
        self._line, self._own = line, stream

    def write(self, text: str) -> int:
        return self._line.write_above(self._own, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)
