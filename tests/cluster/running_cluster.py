"""The services that ``make cluster`` starts, run by a test: asked, killed, ended."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests import process_tree
from tests.conftest import REPOSITORY
from tests.process_tree import descendants, is_alive

SERVICES = ("postgresql", "s3", "prefect", "worker", "dask-scheduler", "dask-worker:dask-worker-1", "dask-worker:dask-worker-2")


TINY = {
    "network": {"base_channels": 8}, "max_steps": 2, "data": {"batch_size": 1}, "evaluation": {"num_strips": 0, "without_radar": False},
}  # fmt: skip
"""A training of SemoDepth that takes seconds."""
SERVICE_PORTS = ("PREFECT", "POSTGRESQL", "S3", "DASK", "DASHBOARD")
LONGEST_WAIT_S = 1200.0
"""Of a busy machine; nothing is measured by it."""


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait by condition, longer than tests that start no services do."""
    process_tree.wait_until(condition, what, seconds=LONGEST_WAIT_S)


def free_ports(number: int) -> list[int]:
    """Return ports of this machine that nothing listens on."""
    with ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(number)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


class RunningCluster:
    """One cluster of one folder.

    Attributes:
        folder: CLUSTER_DIR.
        work: folder for recipes, caches and whatever else a test needs; all users may enter it.
        env: environment of a user who has sourced cluster.env.
        log: what the cluster printed.
    """

    def __init__(self, root: Path, env: dict[str, str], *, make: str | None = None) -> None:
        self.folder, self.work, self.log = root / "cluster", root / "work", root / "cluster.txt"
        self.temporary = root / "tmp"
        for folder in (self.work, self.temporary):
            folder.mkdir()
        self._env = {
            **{name: value for name, value in env.items() if not name.startswith(("AWS_", "PREFECT_", "DEPTHMILL_STORE_"))},
            "CLUSTER_DIR": str(self.folder),
            # not the usual ports: another cluster of this machine may have chosen them, and not be listening yet
            **{
                f"CLUSTER_PORT_{name}": str(port)
                for name, port in zip(SERVICE_PORTS, free_ports(len(SERVICE_PORTS)), strict=True)
            },
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(REPOSITORY),
            "DEPTHMILL_CACHE_DIR": str(root / "cache"),
        }
        self.env = dict(self._env)
        # what the Makefile runs (tests/cluster/test_cluster_start.py); make itself would install into an environment of its own
        run = shlex.join([sys.executable, str(REPOSITORY / "deploy/cluster/cluster.py")])
        line = (make or "make cluster").replace("/shared/depthmill", str(root)).replace("10.0.0.1", "127.0.0.1").strip()
        assert line.endswith("make cluster")
        self._start = f"exec env {line.removesuffix('make cluster')} {run}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it says that all services answer."""
        with open(self.log, "ab") as log:
            command = ["bash", "-c", self._start]
            self._process = subprocess.Popen(
                command, env=self._env, cwd=self.work, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        before = self.said().count("all services answer")
        wait_until(lambda: self.said().count("all services answer") > before or self._process.poll() is not None, "it answers")
        assert self._process.poll() is None, self.said()
        self.env = {**self._env, **sourced(self.folder / "cluster.env")}

    def stop(self) -> dict[int, str]:
        """End it as Ctrl-C does, wait, and return the processes that it had."""
        had = descendants(self._process.pid)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(300)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        return had

    @property
    def pid(self) -> int:
        """Number of the supervising process."""
        return self._process.pid

    def said(self) -> str:
        """Return all that the cluster printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def control(self, *words: str) -> str:
        """Run supervisorctl and return what it says."""
        command = [str(Path(sys.executable).with_name("supervisorctl")), "-c", str(self.folder / "supervisord.conf"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout

    def pid_of(self, service: str) -> int:
        """Return the process of a service; 0 while it has none."""
        said = self.control("pid", service).strip()
        return int(said) if said.isdecimal() else 0

    def kill(self, service: str) -> None:
        """Kill a service and all that it has started, as a lost machine does, and wait until it has been started again."""
        pid = self.pid_of(service)
        assert pid, f"{service} does not run"
        for each in (pid, *descendants(pid)):
            if is_alive(each):
                os.kill(each, signal.SIGKILL)
        wait_until(lambda: self.pid_of(service) not in (0, pid), f"{service} is started again")

    def depthmill(self, *arguments: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command line as a user who has sourced cluster.env, in a new folder unless told otherwise."""
        command = [sys.executable, "-c", "from flows.cli import main; main()", *map(str, arguments)]
        folder = cwd or Path(tempfile.mkdtemp(dir=self.work))
        return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder, env={**self.env, **env})

    def ask(self, path: str, **body: object) -> list[dict[str, object]]:
        """Ask Prefect's API."""
        answer = httpx.post(f"{self.env['PREFECT_API_URL']}/{path}", json=body, timeout=60.0)
        answer.raise_for_status()
        return answer.json()

    def flow_runs(self) -> list[dict[str, object]]:
        """Return the runs of flows that have begun, the oldest first."""
        runs = self.ask("flow_runs/filter", sort="EXPECTED_START_TIME_ASC", limit=200)
        return [run for run in runs if run["state_type"] != "SCHEDULED"]

    def pause(self, flow: str, name: str) -> None:
        """Stop the schedule of a deployment, and wait until none of its runs is at work."""
        api = self.env["PREFECT_API_URL"]
        found = httpx.get(f"{api}/deployments/name/{flow}/{name}", timeout=60.0).raise_for_status().json()
        httpx.patch(f"{api}/deployments/{found['id']}", json={"paused": True}, timeout=60.0).raise_for_status()

        wait_until(lambda: not self._flows_at_work(), f"{flow}/{name} has ended")

    def _flows_at_work(self) -> list[int]:
        """Return the processes that run flows of this cluster; Prefect counts those of killed workers for ever."""
        at_work = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                is_ours = process.environ().get("TMPDIR") == str(self.temporary)
                if is_ours and process.cmdline()[1:3] == ["-m", "prefect.engine"]:
                    at_work.append(process.pid)
        return at_work

    def workspaces(self) -> set[str]:
        """Return the temporary folders of flow runs that the worker has now."""
        return {path.name for path in self.temporary.iterdir() if path.name.endswith("prefect") or "workspace" in path.name}

    def logs(self) -> str:
        """Return the last lines of every service, for the text of a failed test."""
        parts = []
        for path in sorted((self.folder / "logs").glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-12:]
            parts.append("\n".join([f"--- {path.name}", *lines]))
        return "\n".join(parts)


def sourced(path: Path) -> dict[str, str]:
    """Return what a file of exports sets."""
    lines = [shlex.split(line) for line in path.read_text().splitlines()]
    return dict(words[1].split("=", 1) for words in lines if words[:1] == ["export"])


@contextmanager
def running_cluster(*, make: str | None = None, **settings: str) -> Iterator[RunningCluster]:
    """Run a cluster in a new folder that every user of the machine may enter, because PostgreSQL does not run as root.

    Args:
        make: a line of shell that ends with ``make cluster`` and runs in place of it, with /shared/depthmill as the folder.
        settings: environment variables of the services.
    """
    root = Path(tempfile.mkdtemp(prefix="depthmill-cluster-"))
    root.chmod(0o755)
    cluster = RunningCluster(root, {**os.environ, **settings}, make=make)
    try:
        cluster.start()
        yield cluster
    finally:
        if cluster._process is not None and cluster._process.poll() is None:
            cluster.stop()
        shutil.rmtree(root, ignore_errors=True)
