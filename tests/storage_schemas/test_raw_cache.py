"""Copies of remote files: found again, bounded, never half a file, and used by several at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from storage_schemas.errors import SourceError
from storage_schemas.raw_cache import RawCache, RemoteFile, raw_cache_settings


def remote(name: str, content: bytes, tag: str = "one") -> RemoteFile:
    return RemoteFile(f"s3://bucket/{name}", tag, len(content))


def add(cache: RawCache, name: str, content: bytes, tag: str = "one") -> RemoteFile:
    file = remote(name, content, tag)
    cache.add(file, lambda stream: stream.write(content)).close()
    return file


def copies(cache: RawCache) -> list[Path]:
    return [path for path in cache.folder.glob("*/*") if path.is_file()]


def test_copy_when_content_has_another_tag_then_is_not_found(tmp_path: Path) -> None:
    cache = RawCache(tmp_path / "raw", 1000)
    add(cache, "a", b"old")
    assert cache.content(remote("a", b"old")) == b"old"
    assert cache.content(remote("a", b"new", "two")) is None
    assert cache.content(remote("b", b"old")) is None


def test_copy_when_cut_by_a_power_failure_then_is_none(tmp_path: Path) -> None:
    cache = RawCache(tmp_path / "raw", 1000)
    file = add(cache, "a", b"0123456789")
    os.truncate(copies(cache)[0], 4)
    assert cache.content(file) is None
    add(cache, "a", b"0123456789")
    assert cache.content(file) == b"0123456789"


def test_copy_when_writing_it_fails_then_nothing_is_left(tmp_path: Path) -> None:
    cache = RawCache(tmp_path / "raw", 1000)

    def write(stream: object) -> None:
        raise RuntimeError("the server went away")

    with pytest.raises(RuntimeError, match="went away"):
        cache.add(remote("a", b"x"), write)
    assert copies(cache) == []


def test_copy_when_the_server_gives_no_tag_then_is_read_and_not_kept(tmp_path: Path) -> None:
    cache = RawCache(tmp_path / "raw", 1000)
    file = RemoteFile("http://host/a", "", 3)
    with cache.add(file, lambda stream: stream.write(b"abc")) as stream:
        assert os.pread(stream.fileno(), 3, 0) == b"abc"
    assert cache.content(file) is None
    assert copies(cache) == []


def test_cache_when_full_then_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    cache = RawCache(tmp_path / "raw", 1000)
    files = [add(cache, f"{number}", bytes(100)) for number in range(10)]
    for number, path in enumerate(sorted(copies(cache), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(path, (1000 + number, 1000 + number))
    held = cache.opened(files[1])
    assert held is not None
    assert cache.content(files[0]) is not None  # used now
    add(cache, "new", bytes(100))
    kept = [cache.content(file) is not None for file in files]
    assert kept[0], "the one that was used last is gone"
    assert 1 <= kept.count(False) <= 3
    assert sum(path.stat().st_size for path in copies(cache)) <= 1000
    assert held.readall() == bytes(100)  # also if its copy was among those deleted
    held.close()


def test_cache_when_many_add_at_once_then_stays_bounded_and_every_read_is_whole(tmp_path: Path) -> None:
    contents = {f"{number}": bytes([number]) * 100 for number in range(60)}
    wrong: list[str] = []

    def work(seed: int) -> None:
        cache = RawCache(tmp_path / "raw", 2000)  # of its own, as a process has it
        for number in range(60):
            name = f"{(number * 7 + seed * 13) % 60}"
            found = cache.content(remote(name, contents[name]))
            if found is None:
                with cache.add(remote(name, contents[name]), lambda stream, name=name: stream.write(contents[name])) as stream:
                    found = os.pread(stream.fileno(), 200, 0)
            if found != contents[name]:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    cache = RawCache(tmp_path / "raw", 2000)
    assert sum(path.stat().st_size for path in copies(cache)) <= 2000 + 4 * 100
    assert not [path for path in copies(cache) if path.name.startswith(".")]


def test_cache_when_its_folder_cannot_be_written_then_says_where_and_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file in its place")
    with pytest.raises(
        SourceError, match=r"cannot write a copy of 's3://bucket/a' in '.*raw'.*set DEPTHMILL_RAW_CACHE_DIR to another folder"
    ):
        add(RawCache(tmp_path / "raw", 1000), "a", b"x")


def test_settings_when_wrong_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPTHMILL_RAW_CACHE_GB", "-1")
    with pytest.raises(SourceError, match="setting DEPTHMILL_RAW_CACHE_GB is '-1': Input should be greater than 0"):
        raw_cache_settings()


def test_settings_when_given_then_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert RawCache.below(tmp_path) == RawCache(tmp_path / "raw", 20 * 10**9)
    monkeypatch.setenv("DEPTHMILL_RAW_CACHE_GB", "0.5")
    monkeypatch.setenv("DEPTHMILL_RAW_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert RawCache.below(tmp_path) == RawCache(tmp_path / "elsewhere", 5 * 10**8)
