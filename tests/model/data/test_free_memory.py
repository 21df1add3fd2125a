"""Memory is counted where it is limited: on the machine, in a container, in a job of a scheduler, in the limits of a shell."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.data import free_memory
from model.data.slots import SharedMemoryError, SlotPool


def write_group(folder: Path, limit: str, used: int, *, cache: int = 0, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")


@pytest.mark.parametrize(
    ("groups", "own", "free"),
    [
        ({"": ("1000", 400)}, "0::/", 600),
        ({"": ("max", 400)}, "0::/", None),
        ({"slurm/job_7": ("1000", 400), "slurm": ("5000", 400)}, "0::/slurm/job_7/step_0", 600),
        ({"slurm/job_7": ("max", 400), "slurm": ("5000", 4900)}, "0::/slurm/job_7", 100),
        ({"": ("1000", 400)}, "0::/../outside", 600),
        ({"": ("1000", 400)}, "", 600),
    ],
)
def test_free_memory_when_a_group_above_the_process_has_a_limit_then_counts(tmp_path, monkeypatch, groups, own, free):
    for name, (limit, used) in groups.items():
        write_group(tmp_path / "tree" / name, limit, used)
    (tmp_path / "own").write_text(f"{own}\n")
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path / "tree")
    monkeypatch.setattr(free_memory, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(free_memory, "_free_of_machine", lambda: None)
    assert free_memory.free_memory_bytes() == free


def test_free_memory_when_groups_are_of_version_1_then_those_of_memory_count(tmp_path, monkeypatch):
    write_group(tmp_path / "tree/memory/slurm/job_7", "1000", 400, cache=50, version=1)
    (tmp_path / "own").write_text("9:pids:/other\n4:memory:/slurm/job_7\n")
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path / "tree")
    monkeypatch.setattr(free_memory, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(free_memory, "_free_of_machine", lambda: None)
    assert free_memory.free_memory_bytes() == 650


@contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def test_slot_when_a_limit_of_the_shell_refuses_its_memory_then_said(monkeypatch):
    pool = SlotPool(3_000_000, is_shared=True)
    pool.take()
    text = "refuses 3 MB of memory for a batch, after 1 others: File too large. Raise"
    with limited(resource.RLIMIT_FSIZE, 1_000_000), pytest.raises(SharedMemoryError, match=text):  # it bounds memory files, too
        pool.take()
