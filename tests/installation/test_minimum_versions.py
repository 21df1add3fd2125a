"""Every dependency says the oldest version that works, and the constraints are those versions."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from tests.installation.minimum_versions import PYPROJECT, constraints, minimum_of

PROJECT = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("numpy>=1.26.4,<2", ("numpy", "1.26.4")),
        ("scipy<2,>=1.17", ("scipy", "1.17")),
        ("torch==2.13.0", ("torch", "2.13.0")),
        ("moto[server] >= 5.2", ("moto", "5.2")),
        ("triton>=3.5; sys_platform == 'linux' and platform_machine >= 'x86_64'", ("triton", "3.5")),
    ],
)
def test_requirement_when_it_has_a_lower_bound_then_that_version(requirement, expected):
    assert minimum_of(requirement) == expected


@pytest.mark.parametrize("requirement", ["fastapi<0.151", "types-PyYAML", "rich!=15", "rich>=15,==15.1"])
def test_requirement_when_its_lowest_version_is_not_clear_then_the_error_says_what_to_write(requirement):
    with pytest.raises(ValueError, match=r"has no lower bound. Write the oldest version that works: '[\w-]+>=...'"):
        minimum_of(requirement)


def test_project_when_every_extra_is_asked_for_then_each_dependency_has_one_lowest_version():
    lines = constraints(PROJECT, PROJECT["optional-dependencies"])
    names = [line.split("==")[0] for line in lines]
    assert len(names) == len(set(names)) > 30
    assert "depthmill" not in names


def test_constraints_when_an_extra_is_named_then_its_versions_are_pinned_too():
    project = {"name": "mill", "dependencies": ["a>=1"], "optional-dependencies": {"x": ["b==2"], "all": ["mill[x]", "c>=3,<4"]}}
    assert constraints(project) == ["a==1"]
    assert constraints(project, ["x"]) == ["a==1", "b==2"]
    assert constraints(project, ["all"]) == ["a==1", "c==3"]


def test_constraints_when_two_bounds_differ_or_the_extra_is_unknown_then_an_error_says_so():
    project = {"name": "mill", "dependencies": ["a>=1"], "optional-dependencies": {"x": ["a>=2"]}}
    with pytest.raises(ValueError, match="'a' has two lower bounds, 1 and 2"):
        constraints(project, ["x"])
    with pytest.raises(ValueError, match="there is no extra 'y', expected one of: x"):
        constraints(project, ["y"])


def test_script_when_run_as_make_runs_it_then_prints_what_pip_reads():
    script = PYPROJECT.parent / "tests" / "installation" / "minimum_versions.py"
    done = subprocess.run([sys.executable, script, "train", "test", "devkit"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert "numpy==1.26.4" in lines
    assert any(line.startswith("torch==") for line in lines) and any(line.startswith("pytest==") for line in lines)


def test_make_minimum_versions_when_it_names_tests_then_they_are_there():
    (line,) = re.findall(r"^MINIMUM_TESTS := (.*)$", (PYPROJECT.parent / "Makefile").read_text(encoding="utf-8"), re.M)
    assert len(line.split()) > 5
    assert [name for name in line.split() if not (PYPROJECT.parent / name).exists()] == []
