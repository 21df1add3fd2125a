"""Text as it may be shown or written down: without passwords, and without characters that steer a terminal.

Why    URLs of stores and servers may hold passwords, and an error, a log or a record outlives the command. Names of files and
       scenes come from elsewhere: an escape code in one could rewrite the screen
"""

from __future__ import annotations

import re

_MASK = "***"
_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/@:'\"]*):[^\s'\"]*@")
_TOKEN_ALONE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@:'\"]+@")
_SECRET_NAMES = "pass|pwd|secret|token|key|sig|credential|auth"
_QUERY = re.compile(rf"([?&;][^\s=&;'\"]*(?:{_SECRET_NAMES})[^\s=&;'\"]*=)[^\s&;'\"]+", re.IGNORECASE)
_KEPT = "\n\t"


def without_secrets(text: str) -> str:
    """Return a text with the passwords of its URLs masked: ``ftp://user:***@host``, ``https://***@host``, ``?token=***``."""
    if "://" not in text:
        return text
    text = _PASSWORD.sub(rf"\1:{_MASK}@", text)
    text = _TOKEN_ALONE.sub(rf"\1{_MASK}@", text)
    return _QUERY.sub(rf"\1{_MASK}", text)


def shown(text: str) -> str:
    """Return a text for people: without passwords, and with the code of each character that is not printable in its place."""
    text = without_secrets(text)
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in _KEPT else letter.encode("unicode_escape").decode("ascii") for letter in text
    )
