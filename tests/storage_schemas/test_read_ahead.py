"""Files are fetched before they are asked for, not too far ahead, and errors reach who reads."""

from __future__ import annotations

import threading

from storage_schemas.read_ahead import ReadAhead
from tests.process_tree import wait_until


def test_files_when_read_in_order_then_all_are_fetched_once_and_never_too_far_ahead() -> None:
    fetched: list[str] = []
    lock, read = threading.Lock(), 0
    most_ahead = 0

    def fetch(file: str) -> None:
        nonlocal most_ahead
        with lock:
            fetched.append(file)
            most_ahead = max(most_ahead, len(fetched) - read)

    files = [f"{number}" for number in range(50)]
    ahead = ReadAhead(fetch, dict.fromkeys(files, 10), most_bytes=40)
    for file in files:
        wait_until(lambda file=file: file in fetched, "the file was fetched")
        ahead.take(file)
        with lock:
            read += 1
    ahead.close()
    assert sorted(fetched, key=int) == files
    assert most_ahead <= 5  # four files that are not read, and the one that was just taken


def test_file_when_taken_before_its_turn_then_is_not_waited_for() -> None:
    going = threading.Event()
    fetched: list[str] = []

    def fetch(file: str) -> None:
        going.wait()
        fetched.append(file)

    ahead = ReadAhead(fetch, {"a": 10, "b": 10, "c": 10}, most_bytes=10)
    ahead.take("c")  # waits behind a; whoever takes it gets it himself
    ahead.take("unknown")
    going.set()
    ahead.take("a")
    ahead.take("b")
    ahead.close()
    assert "c" not in fetched


def test_file_when_larger_than_the_bound_then_is_fetched_alone() -> None:
    fetched: list[str] = []
    ahead = ReadAhead(fetched.append, {"a": 1000, "b": 1000}, most_bytes=10)
    for file in ("a", "b"):
        wait_until(lambda file=file: file in fetched, "the file was fetched")
        ahead.take(file)
    ahead.close()
    assert fetched == ["a", "b"]


def test_fetch_when_it_fails_then_the_reader_is_let_through() -> None:
    def fetch(file: str) -> None:
        raise FileNotFoundError(file)

    ahead = ReadAhead(fetch, {"a": 1, "b": 1}, most_bytes=10)
    ahead.take("a")
    ahead.take("b")
    ahead.close()


def test_close_when_files_are_left_then_they_are_not_fetched() -> None:
    fetched: list[str] = []
    ahead = ReadAhead(fetched.append, {f"{number}": 10 for number in range(9)}, most_bytes=20)
    ahead.close()
    assert len(fetched) <= 2
