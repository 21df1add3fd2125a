"""Text as it may be shown or written down: without passwords, and without characters that steer a terminal.

Why    URLs of stores and servers may hold passwords, and an error, a log or a record outlives the command. Names of files and
       scenes come from elsewhere: an escape code in one could rewrite the screen
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

_MASK = "***"
_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/@:'\"]*):[^\s'\"]*@")
_TOKEN_ALONE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@:'\"]+@")
_SECRET_NAMES = "pass|pwd|secret|token|key|sig|credential|auth"
_QUERY = re.compile(rf"([?&;#][^\s=&;'\"]*(?:{_SECRET_NAMES})[^\s=&;'\"]*=)[^\s&;'\"]+", re.IGNORECASE)
_CUT = re.compile(r"[/\s'\"]")
_KEPT = "\n\t"
_SHORTEST_SECRET = 4
"""A shorter one is masked within its URL only: as a word by itself it could be any."""

_known_secrets: set[str] = set()


def remember_secrets(url: str) -> None:
    """Mask the passwords of a URL in every text from now on, also where a client library cites a part of one.

    A password with a slash is taken for a host and a path by many libraries, whose errors then cite what is before the slash.
    """
    _, _, rest = url.partition("://")
    user, has_user, _ = rest.rpartition("@")
    name, has_password, password = user.partition(":")
    found = [password if has_password else name] if has_user and (has_password or url.startswith("http")) else []
    found += [match[0][len(match[1]) :] for match in _QUERY.finditer(url)]
    for secret in found:
        for part in (secret, *_CUT.split(secret), *_CUT.split(unquote(secret))):
            _known_secrets.update(form for form in (part, quote(part), quote(part, safe="")) if len(form) >= _SHORTEST_SECRET)


def without_secrets(text: str) -> str:
    """Return a text with the passwords of its URLs masked: ``ftp://user:***@host``, ``https://***@host``, ``?token=***``."""
    for secret in sorted(_known_secrets, key=len, reverse=True):
        text = text.replace(secret, _MASK)
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
