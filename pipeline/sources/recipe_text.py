"""A recipe as text: YAML keys, each with a comment that says why it has its value."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import yaml

COMMENT_COLUMN = 46
"""Where comments begin beside short keys."""

MAX_COLUMN = 130
"""A comment that would reach beyond it stands above its key."""

Line = tuple[str, str]
"""A key with its value, indented; and why, "" for none."""


def scalar(value: Any) -> str:
    """Return a value as YAML on one line, quoted where it must be; lists in brackets."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.removesuffix("...\n").strip()


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 scene``, ``850 scenes``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def recipe_text(head: Iterable[str], lines: Iterable[Line]) -> str:
    """Return a recipe.

    Args:
        head: lines of the opening comment, without '#'.
        lines: keys and why; a line whose key is blank is a comment alone, indented like it, or an empty line.
    """
    out = [f"# {_printable(line)}".rstrip() for line in head]
    for key, why in ((key, _printable(why)) for key, why in lines):
        indent = key[: len(key) - len(key.lstrip())]
        beside = f"{key:<{COMMENT_COLUMN}}  # {why}"
        if key.strip() and why and len(beside) <= MAX_COLUMN:
            out.append(beside)
        else:
            out += [f"{indent}# {line}" for line in textwrap.wrap(why, MAX_COLUMN - len(indent) - 2)]
            out += [key] if key.strip() or not why else []
    return "\n".join(out) + "\n"


def _printable(comment: str) -> str:
    """Return a comment with escapes for line breaks and control characters, which would end it or which YAML refuses."""
    return "".join(sign if sign.isprintable() or "\ud800" <= sign <= "\udfff" else ascii(sign)[1:-1] for sign in comment)
