from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from tests.conftest import REPOSITORY


def _module_of(name: str) -> ModuleType:
    """Import a file of deploy/cluster, which is no package: it is run, not installed."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / f"deploy/cluster/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cluster() -> ModuleType:
    """deploy/cluster/cluster.py."""
    return _module_of("cluster")


@pytest.fixture(scope="session")
def s3_server() -> ModuleType:
    """deploy/cluster/s3_server.py."""
    pytest.importorskip("moto", reason="pip install 'depthmill[cluster]'")
    return _module_of("s3_server")
