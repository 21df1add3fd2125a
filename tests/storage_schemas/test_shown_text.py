from __future__ import annotations

import re
from pathlib import Path

import pytest

from storage_schemas.errors import StoreError
from storage_schemas.shown_text import remember_secrets, shown
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


@pytest.mark.parametrize(
    "url",
    [
        "s3://KEY:s3cr3t/P+w=x@bucket/a",
        "s3://KEY:s3cr3t%2FP+w=x@bucket/a",
        "sftp://user:P+w=x s3cr3t@host/a",
        "ftp://user:P+w=x'/s3cr3t@host/a",
        "http://s3cr3t/P+w=x@host/a",
        "s3://bucket/a?secret=s3cr3t/P+w=x",
        "http://host/a#access_token=s3cr3t/P+w=x",
    ],
)
def test_store_when_a_client_cites_a_part_of_its_password_then_masked(url):
    store = Store(url)
    for part in ("s3cr3t", "P+w=x", "P%2Bw%3Dx"):
        if part in url or part == "s3cr3t":
            text = str(StoreError(f"store '{store.root}': Port could not be cast to integer value as '{part}'"))
            assert part not in text, text
    assert "s3cr3t" not in store.shown_root


@pytest.mark.parametrize(
    "url", ["s3://bucket/a@home", "az://container@account.dfs.core.windows.net/a", "ftp://user:ab@host", "/a/b"]
)
def test_store_when_its_url_has_no_secret_of_some_length_then_words_stay(url):
    remember_secrets(url)
    assert shown("the container of a user at home, about ab") == "the container of a user at home, about ab"


@pytest.mark.parametrize("url", ["http://user:a/b@127.0.0.1:1/x", "ftp://user:a/b@127.0.0.1:1/x"])
def test_store_when_a_slash_of_a_password_splits_its_url_then_an_error_and_no_traceback(url, monkeypatch):
    monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "1")
    with pytest.raises(StoreError, match="Correct 'store:'|Check the store's URL"):
        Store(url).files.get("a")
