"""The files around the code agree with it and with each other: version, license, and which checks there are."""

from __future__ import annotations

import re
import tomllib

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
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert lowest in jobs["test"]["strategy"]["matrix"]["python"] and minimum.endswith(f"python{lowest}")
