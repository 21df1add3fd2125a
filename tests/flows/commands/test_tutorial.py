"""The tutorial's commands, run one after the other on the tiny world, so that the page cannot rot."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, re.S | re.M)
SMALLER = {"train.max_steps=40": "train.max_steps=2", "train.network.base_channels=16": "train.network.base_channels=8"}


def steps() -> list[tuple[list[str], list[str]]]:
    """Return the words of every command with the lines that the page shows after it, in the page's order."""
    found: list[tuple[list[str], list[str]]] = []
    for line in "".join(BLOCKS).splitlines():
        if line.startswith("$ "):
            found.append((shlex.split(line.removeprefix("$ ")), []))
        else:
            found[-1][1].append(line)
    return found


def pattern(line: str) -> str:
    """Return what a line of the page must look like when printed on other data: its words stay, its numbers may differ."""
    line = re.sub(r"\S*/(data|runs|store)(/\S*)?(?=\s|$)", "#", line)
    line = re.sub(r"\b(?=[a-f]*\d)[0-9a-f]{16}\b", "#", line)
    line = re.sub(r"\b(day|night)\b", "day or night", line)  # the tiny world's val scene is at night
    line = " ".join(re.sub(r"[-+]?\d[\d.,]*", "#", line).split())
    line = re.sub(r"(?<=in )# (?:s|min|h)\b", "# s", line)  # a busy machine needs minutes where the page shows seconds
    return re.sub(r"# ([a-z ]+?)s\b", r"# \1", line)  # 1 camera, 2 cameras


def is_due(line: str) -> bool:
    """Say whether a line must be printed again: not blank, not cut, and no progress of a training, which is printed by the clock."""
    return bool(line.strip()) and line.strip() != "..." and " loss " not in line


def test_tutorial_when_read_then_names_each_step_of_the_way():
    commands = [words[1] for words, _ in steps()]
    assert commands == [
        "init", "plan", "run", "status", "inspect", "report", "assess", "plan", "run", "train", "train", "compare", "evaluate", "predict", "export",
    ]  # fmt: skip
    assert all(words[0] == "depthmill" for words, _ in steps())


@pytest.mark.slow
def test_tutorial_when_its_commands_are_run_then_each_works_and_prints_what_the_page_shows(
    tiny_root, depthmill, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPTHMILL_WORKERS", "1")
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")
    wrong = []
    for words, shown in steps():
        asked = [SMALLER.get(word, word.replace("/data/nuscenes", str(tiny_root))) for word in words[1:]]
        code, text = depthmill(*asked, *(["--no-prefect"] if words[1] in ("run", "train") else []))
        assert code == 0, f"{shlex.join(asked)}\n{text}"
        printed = {pattern(line) for line in text.splitlines()}
        for line in filter(is_due, shown):
            start = pattern(line.removesuffix("..."))
            if not any(one.startswith(start) for one in printed):
                wrong.append(f"{shlex.join(words)}: the page shows {line!r}")
    assert wrong == []
    for name in ("report.html", "cleaned/report.html", "single/report.html", "public/training/nuscenes/nuscenes_train_image.txt"):
        assert (tmp_path / name).is_file(), name
    assert len(list((tmp_path / "predicted/depth").rglob("*.png"))) == 2
