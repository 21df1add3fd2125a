"""The line at the bottom of a terminal, and tables above it."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from flows.command_line import tables, terminal_line
from flows.command_line.terminal_line import TerminalLine


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch, *, columns: int = 40) -> _Terminal:
    """Make a terminal of standard output and standard error; returns what is written to it."""
    stream = _Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: SimpleNamespace(columns=columns))
    return stream


def test_line_when_text_is_printed_then_it_stands_above_and_the_line_waits_for_its_end(monkeypatch):
    terminal = terminal_of(monkeypatch)
    line = TerminalLine(terminal)
    line.paint("frames are measured: 1 of 2")
    print("first", end="", file=sys.stdout)
    line.paint("never seen amid a line")
    print(" and last", file=sys.stderr)
    line.paint("frames are measured: 2 of 2 with words beyond the width of it")
    line.close()
    print("the answer")
    clear = "\r\x1b[2K"
    parts = terminal.getvalue().split(clear)
    assert [part[2:] if part[:1] in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" else part for part in parts] == [
        "", "frames are measured: 1 of 2\r", "first and last\n", "frames are measured: 2 of 2 with w...\r", "the answer\n",
    ]  # fmt: skip
    assert (sys.stdout, sys.stderr) == (terminal, terminal)


def test_line_when_text_steers_a_terminal_then_its_code_is_shown_and_after_its_end_nothing_is_painted(monkeypatch):
    terminal = terminal_of(monkeypatch)
    line = TerminalLine(terminal)
    line.paint("scene \x1b[31mred")
    assert "\\x1b[31mred" in terminal.getvalue() and "\x1b[31m" not in terminal.getvalue()
    line.close()
    before = terminal.getvalue()
    line.paint("too late")
    assert terminal.getvalue() == before


def test_line_when_there_is_no_terminal_or_a_dumb_one_then_there_is_none(monkeypatch):
    terminal_of(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    assert terminal_line.terminal_line() is None
    monkeypatch.setenv("TERM", "xterm")
    made = terminal_line.terminal_line()
    made.close()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert terminal_line.terminal_line() is None


MARKDOWN = """### results

| radar | frames | MAE [mm] |
| --- | --- | ---: |
| on | all | 9732 |
| on | night | 104 |

done | not a table"""


def test_answer_when_on_a_terminal_then_markdown_is_laid_out_and_what_repeats_is_said_once(monkeypatch):
    terminal_of(monkeypatch)
    assert tables.as_shown(MARKDOWN).splitlines() == [
        "results", "", "frames  MAE [mm]", "all         9732", "night        104", "in every row: radar on", "", "done | not a table",
    ]  # fmt: skip


def test_answer_when_in_a_pipe_or_not_a_table_then_unchanged(monkeypatch):
    terminal_of(monkeypatch)
    for text in ("| a | b |\n| 1 | 2 |", "| a | b |\n| --- | --- |\n| 1 |", "no table"):
        assert tables.as_shown(text) == text
    assert tables.as_shown("| a |\n| --- |\n| x |\n| x |").splitlines() == ["a", "x", "x"]  # a table must keep a column
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert tables.as_shown(MARKDOWN) == MARKDOWN


def test_aligned_when_on_a_terminal_then_only_the_last_column_is_wrapped_and_nothing_in_a_pipe(monkeypatch):
    terminal_of(monkeypatch)
    rows = [("stage", "to do", "reason"), ("run_it", "12", "a reason of more than the twenty characters [bold]left")]
    assert tables.aligned([], right=()) == ""
    on_terminal = tables.aligned(rows, right=(1,)).splitlines()
    assert on_terminal[0].split() == ["stage", "to", "do", "reason"]
    terminal_of(monkeypatch, columns=48)
    wrapped = tables.aligned(rows, right=(1,)).splitlines()
    assert len(wrapped) > 2 and all(len(row) <= 48 for row in wrapped)
    assert wrapped[2].startswith(" " * 15)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert tables.aligned(rows, right=(1,)).splitlines()[1] == (
        "run_it     12  a reason of more than the twenty characters [bold]left"
    )
