"""The files around the code agree with it and with each other: version, license, and which checks there are."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def test_version_when_released_then_project_citation_and_changelog_say_the_same():
    citation = yaml.safe_load(read("CITATION.cff"))
    releases = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", read("CHANGELOG.md"), re.M)
    assert PROJECT["version"] == citation["version"] == releases[0]
    assert (PROJECT["name"], PROJECT["license"]) == (citation["title"], citation["license"])
    assert citation["cff-version"] == "1.2.0"


def test_changelog_when_read_then_unreleased_comes_first_and_every_heading_is_one_of_the_known():
    text = read("CHANGELOG.md")
    assert re.findall(r"^## \[([^\]]+)\]", text, re.M)[0] == "Unreleased"
    known = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.M)) <= known


def test_pre_commit_when_run_then_makes_every_check_of_make_lint():
    recipe = read("Makefile").split("\nlint: ")[1].split("\n\n")[0]
    checks = {line.replace("$(BIN)", ".venv/bin").removesuffix(" .") for line in re.findall(r"^\t(.*)$", recipe, re.M)}
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert {repository["repo"] for repository in hooks} == {"local"}
    entries = {hook["entry"] for repository in hooks for hook in repository["hooks"]}
    assert len(checks) == 4 and checks <= entries


def test_workflow_when_pushed_then_calls_the_script_of_ci_and_the_check_of_minimum_versions():
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert commands["test"] == ["bash .ci/run"]
    (minimum,) = commands["minimum-versions"]
    target = minimum.split()[1]
    assert re.search(rf"^{target}:", read("Makefile"), re.M)
    lowest = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))[0]
    assert minimum.endswith(f"python{lowest}")


def test_python_versions_when_listed_then_project_workflow_and_makefile_say_the_same():
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    above = f"3.{int(versions[-1].split('.')[1]) + 1}"
    assert PROJECT["requires-python"] == f">={versions[0]},<{above}"
    assert yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["test"]["strategy"]["matrix"]["python"] == versions
    assert f"{' '.join(f'python{version}' for version in versions)} python3;" in read("Makefile")


@pytest.mark.parametrize(("version", "is_right"), [("3, 10", False), ("3, 11", True), ("3, 13", True), ("3, 14", False)])
def test_make_when_python_is_of_a_version_that_does_not_fit_then_says_which_do(version, is_right, tmp_path):
    """A stand-in says that it is of this version, and then makes an environment that holds nothing."""
    python = tmp_path / "python"
    fake = f"import sys; sys.version_info = ({version}, 0); exec(sys.argv[1])"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} -c "{fake}" "$2"\necho made; exit 3\n')
    python.chmod(0o755)
    command = ["make", "lint", f"PYTHON={python}", f"VENV={tmp_path / 'environment'}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert ("made" in done.stdout) is is_right
    assert (f"error: PYTHON is '{python}', expected Python 3.11, 3.12 or 3.13" in done.stdout) is not is_right
