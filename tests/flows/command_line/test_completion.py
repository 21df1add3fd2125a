"""Bash completion for real: the script that depthmill gives out, called as bash calls it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
PROGRAM = Path(sys.executable).with_name("depthmill")


@cache
def what_bash_sources() -> str:
    """Return what ``source <(_DEPTHMILL_COMPLETE=source_bash depthmill)`` reads; once for all tests."""
    environment = {**os.environ, "_DEPTHMILL_COMPLETE": "source_bash"}
    return subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, timeout=300, check=True).stdout


def complete(folder: Path, *words: str) -> list[str]:
    """Return what bash would offer for the last of these words."""
    if not PROGRAM.is_file():
        pytest.skip("depthmill is not installed as a command beside this Python")
    script = f"""
    {what_bash_sources()}
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _depthmill_completion {PROGRAM}
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", "depthmill", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def test_completion_when_a_command_is_begun_then_offers_the_commands(tmp_path):
    assert complete(tmp_path, "re") == ["report", "retrain"]


def test_completion_when_a_recipe_is_wanted_then_offers_yaml_files_also_one_folder_down(tmp_path):
    (tmp_path / "demo").mkdir()
    for name in ("a.yaml", "notes.txt", "demo/recipe.yml", "demo/readme.md", ".hidden.yaml"):
        (tmp_path / name).write_text("")
    assert complete(tmp_path, "plan", "") == ["a.yaml", "demo/recipe.yml"]
    assert complete(tmp_path, "run", "demo/re") == ["demo/recipe.yml"]


def test_completion_when_a_recipe_key_is_begun_then_offers_it_with_its_default(tmp_path):
    assert complete(tmp_path, "plan", "a.yaml", "--set", "stages.clean_horizon.near_m=") == ["stages.clean_horizon.near_m=20.0"]
    assert complete(tmp_path, "ablate", "a.yaml", "--set", "ablation.s") == ["ablation.seeds=[0, 1, 2]"]


def test_completion_when_a_unit_is_wanted_then_offers_what_the_store_holds(tiny_store):
    found = complete(tiny_store.parent, "inspect", "store", "depth_clean/scene-0061/")
    assert found == [
        f"depth_clean/scene-0061/CAM_FRONT/{one.name}" for one in (tiny_store / "depth_clean/scene-0061/CAM_FRONT").iterdir()
    ]
    assert complete(tiny_store.parent, "inspect", "st") == ["store"]
    assert complete(tiny_store.parent, "view", "store", "scene-01") == ["scene-0103"]


def test_completion_when_a_manifest_is_wanted_then_offers_those_of_the_recipes_store(tiny_store, tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"store: {tiny_store}\n")
    names = [path.name for path in (tiny_store / "manifest/all/all").iterdir()]
    assert complete(tmp_path, "export", "recipe.yaml", "--manifest", "") == names
    assert len(names) == 1


@pytest.mark.parametrize("text", ["", "[", "store: s3://bucket/x", "store: {a: 1}", "other: 1"])
def test_completion_when_the_recipe_tells_no_local_store_then_offers_nothing_and_says_nothing(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    assert complete(tmp_path, "export", "recipe.yaml", "--manifest", "") == []


def test_completion_when_choices_are_fixed_then_offers_them(tmp_path):
    assert complete(tmp_path, "evaluate", "x", "recipe.yaml", "--split", "") == ["train", "val", "test"]
    assert complete(tmp_path, "compare", "a", "b", "--metric", "im") == ["imae_per_km"]
