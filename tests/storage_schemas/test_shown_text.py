from __future__ import annotations

import re
from pathlib import Path

import pytest

from storage_schemas.errors import StoreError
from storage_schemas.shown_text import shown
from storage_schemas.store import Store
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ftp://user:secret@host/a", "ftp://user:***@host/a"),
        ("store 'ftp://user:s@e:c/ret@host/a' and 'ftp://u:secret@host'", "store 'ftp://user:***@host/a' and 'ftp://u:***@host'"),
        ("https://secret@host/api", "https://***@host/api"),
        ("simplecache::ftp://u:secret@h/x", "simplecache::ftp://u:***@h/x"),
        ("az://box/x?se=2&sig=secret&sp=r", "az://box/x?se=2&sig=***&sp=r"),
        ("http://h:4200/api?access_token=secret", "http://h:4200/api?access_token=***"),
        ("s3://bucket/scene@home", "s3://bucket/scene@home"),
        ("http://127.0.0.1:4200/api", "http://127.0.0.1:4200/api"),
        ("a\x1b[2Jb\x9b \u202e\udcff", "a\\x1b[2Jb\\x9b \\u202e\\udcff"),
        ("line\n\ttab ü 日本", "line\n\ttab ü 日本"),
    ],
)
def test_shown_when_a_text_has_passwords_or_steers_a_terminal_then_neither_is_left(text, expected):
    assert shown(text) == expected
    assert shown(expected) == expected
    assert str(StoreError(text)) == expected


def test_store_when_its_url_has_a_password_then_its_shown_root_has_none():
    store = Store("ftp://user:secret@host/a")
    assert store.root == "ftp://user:secret@host/a"
    assert store.shown_root == "ftp://user:***@host/a"


def test_code_when_it_prints_then_through_what_masks_and_escapes():
    found = []
    for folder in ("flows", "pipeline", "model", "storage_schemas", "depthmill"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if re.search(r"(?<![a-z_.])print\((?!shown\(|['\"]|$)|typer\.echo\((?!shown\()|sys\.std(out|err)\.write", line):
                    found.append(f"{Path(path).relative_to(REPOSITORY)}:{number}: {line.strip()}")
    assert found == []
