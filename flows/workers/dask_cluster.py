"""Dask clusters by one word: ``local:4``, ``local:4:2GiB``, ``tcp://scheduler:8786``, ``slurm:<profile>``.

A worker has one thread and a memory limit; one that grows above it is killed and started again by its nanny, and its scene goes
to another. Spilling and pausing are off: a scene's memory is numpy arrays that a kernel holds, which cannot be spilled, and a
paused worker whose allocator keeps its memory would never take a scene again.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any, Literal
from urllib.parse import urlsplit

from flows.waiting import tell
from flows.workers.slurm_profile import SlurmProfile, cluster_arguments, load_profile
from pipeline.workers import SINGLE_THREAD
from storage_schemas.errors import DepthmillError, RecipeError
from storage_schemas.install_command import install_command
from storage_schemas.processes import script_left_alone

SETTING = "--dask (or DEPTHMILL_DASK)"
EXPECTED = "expected local:<workers>, local:<workers>:<memory each>, tcp://<host>:<port> or slurm:<profile>"
CONNECT_S = 10.0
"""A scheduler that takes longer to accept a connection is taken to be gone."""
RECONNECT_S = 30.0
"""How long a lost scheduler may take to come back: a pod that moves to another node."""
WORKERS_S = 60.0
"""How long a given scheduler may have no worker at the start."""
DEATHS_ALLOWED = 1
"""A scene whose worker dies is run on a second one before it comes back to us; dask's own 3 only wastes workers."""

LEAST_MEMORY = 512 << 20
"""A worker has 200 MB before it opens a scene; one with less than this would be killed for ever."""

WORKER_CONFIG = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")}
WORKER_ENVIRONMENT = {
    **SINGLE_THREAD,
    **{f"DASK_{name.upper().replace('.', '__')}": str(value) for name, value in WORKER_CONFIG.items()},
}
"""For workers that a job script starts; docs/operations/dask.md has the same for workers that are started by hand."""


class DaskError(DepthmillError):
    """The Dask cluster failed, not a unit."""


@dataclass(frozen=True)
class DaskTarget:
    """What ``--dask`` names.

    Attributes:
        kind: how the cluster is had.
        where: scheduler address or profile name; the text itself for a local one.
        workers: of a local cluster or a profile; 0 = not known.
        memory: of each worker of a local cluster, bytes as text; None = an equal share of this machine's.
        profile: the SLURM profile.
    """

    kind: Literal["local", "tcp", "slurm"]
    where: str
    workers: int = 0
    memory: str | None = None
    profile: SlurmProfile | None = None


def parse_target(text: str) -> DaskTarget:
    """Read the value of ``--dask``.

    Raises:
        RecipeError: it is none of the known forms, or its profile is wrong.
    """
    kind, _, rest = text.partition(":")
    if kind == "local":
        count, _, memory = rest.partition(":")
        if count.isdecimal() and int(count) >= 1 and rest[-1] != ":":
            return DaskTarget("local", text, int(count), memory or None)
    elif kind == "tcp":
        try:
            if rest.startswith("//") and urlsplit(text).hostname and urlsplit(text).port:
                return DaskTarget("tcp", text.rstrip("/"))
        except ValueError:  # a port that is no number, or above 65535
            pass
    elif kind == "slurm" and rest:
        profile = load_profile(rest)
        return DaskTarget("slurm", text, profile.jobs * profile.workers_per_job, profile=profile)
    raise RecipeError(f"{SETTING} is '{text}', {EXPECTED}, e.g. --dask local:4")


def check_target(target: DaskTarget) -> None:
    """Look, before anything is started, whether a target can work; fast.

    Raises:
        RecipeError: the extra is not installed, a size is wrong or too large, there is no sbatch.
        DaskError: nothing answers at the scheduler's address.
    """
    _need("distributed")
    if target.kind == "local":
        _local_memory(target)
    elif target.kind == "tcp":
        parts = urlsplit(target.where)
        try:
            socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=CONNECT_S).close()
        except OSError as error:
            raise gone(target, f"does not answer ({error.strerror or error})") from error
    else:
        _need("dask_jobqueue")
        if shutil.which("sbatch") is None:
            raise RecipeError(
                f"{SETTING} {target.where}: there is no command sbatch here. Run this on a login node of the SLURM cluster"
            )


def gone(target: DaskTarget, what: str) -> DaskError:
    """Return the error of a scheduler that is not there."""
    if target.kind == "tcp":
        port = urlsplit(target.where).port
        start = f"Start it (dask scheduler --port {port}), then workers (dask worker {target.where} --nthreads 1)"
    else:
        start = "Look whether this machine ran out of memory"
    return DaskError(
        f"the Dask scheduler '{target.where}' {what}. {start}, or leave {SETTING} away; then run the same command: "
        "finished units are kept, and it does what is left"
    )


@contextmanager
def open_client(target: DaskTarget) -> Iterator[Any]:
    """Start or find a cluster and yield a ``distributed.Client`` with at least one worker; stop what was started.

    Raises:
        DaskError: no scheduler, or no worker.
    """
    distributed = _need("distributed")
    dask = importlib.import_module("dask")
    for name in ("distributed", "distributed.client"):  # depthmill says itself what happened; dask would print tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": DEATHS_ALLOWED, **WORKER_CONFIG}),
        _cluster(target) as address,
    ):
        try:
            client = distributed.Client(address, timeout=RECONNECT_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise gone(target, f"does not speak to us ({error})") from error
        try:
            _await_workers(client, target)
            _tell_dashboard(client, target)
            yield client
        finally:
            client.close(timeout=5)


def num_workers(client: Any) -> int:
    """Return how many workers the scheduler has.

    The list of workers is no answer: the client's own beat asks for none of them, and may overwrite the answer to another thread.
    """
    return int(client.scheduler_info(n_workers=0).get("n_workers", 0))


def _tell_dashboard(client: Any, target: DaskTarget) -> None:
    """Print where the pages of the cluster are, if it has any."""
    if not client.scheduler_info(n_workers=0).get("services", {}).get("dashboard"):
        return
    lacks_charts = target.kind != "tcp" and importlib.util.find_spec("bokeh") is None
    tell(f"Dask dashboard: {client.dashboard_link}" + (" (its charts need: pip install bokeh)" if lacks_charts else ""))


def _await_workers(client: Any, target: DaskTarget) -> None:
    """Wait for the first worker; a queue may take hours, a scheduler somebody started should have some."""
    if target.kind == "slurm":
        print(
            f"waiting for SLURM to start the first of {target.workers} workers: squeue --me shows the queue, the jobs' output "
            "(slurm-*.out, or log_folder of the profile) why one ended",
            file=sys.stderr,
            flush=True,
        )
        while client.status == "running" and not num_workers(client):
            try:
                client.wait_for_workers(1, timeout=WORKERS_S)
            except TimeoutError:
                continue
        return
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError as error:
        start = f"Start some (dask worker {target.where} --nthreads 1 --memory-limit 2GiB)"
        raise DaskError(
            f"the Dask scheduler '{target.where}' has no worker after {WORKERS_S:.0f} s. "
            f"{start if target.kind == 'tcp' else 'Ask for fewer'}, then run the same command"
        ) from error


@contextmanager
def _cluster(target: DaskTarget) -> Iterator[Any]:
    """Yield what a client connects to."""
    if target.kind == "tcp":
        yield target.where
    elif target.kind == "local":
        with _local_cluster(target) as cluster:
            yield cluster
    else:
        assert target.profile is not None
        with _slurm_cluster(target.profile, target) as cluster:
            yield cluster


def _local_cluster(target: DaskTarget) -> Any:
    """Start a local cluster.

    Its workers never see Ctrl-C, which a terminal sends to every process: they inherit that from this thread, also those
    that are started later in place of dead ones. They end with this process, whatever ends it.
    """
    former = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"  # it removes what a killed run leaves; no need to say so
    try:
        resource_tracker.ensure_running()  # starting it, as the first worker would, lets SIGINT through again
    finally:
        os.environ.pop("PYTHONWARNINGS")
        if former is not None:
            os.environ["PYTHONWARNINGS"] = former
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with script_left_alone():
            return _need("distributed").LocalCluster(
                n_workers=target.workers,
                threads_per_worker=1,
                memory_limit=_local_memory(target),
                dashboard_address="127.0.0.1:0",  # any free port: two runs at once must not quarrel about one
                silence_logs=logging.CRITICAL,
                env=SINGLE_THREAD,
            )
    except RuntimeError as error:
        raise DaskError(
            f"{SETTING} {target.where}: the workers did not start: {error.__cause__ or error}. Ask for fewer, or do without a "
            "cluster"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _slurm_cluster(profile: SlurmProfile, target: DaskTarget) -> Iterator[Any]:
    arguments = cluster_arguments(profile, environment=WORKER_ENVIRONMENT)
    with _need("dask_jobqueue").SLURMCluster(n_workers=0, silence_logs=logging.CRITICAL, **arguments) as cluster:
        _test_job(cluster.job_script(), target)
        cluster.adapt(minimum_jobs=profile.jobs, maximum_jobs=profile.jobs)  # a job that met its walltime is replaced
        yield cluster


def _test_job(script: str, target: DaskTarget) -> None:
    """Let SLURM say whether it would take the job, because a run would wait for ever for one that it refuses."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(["sbatch", "--test-only", file.name], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise DaskError(
            f"{SETTING} {target.where}: SLURM would not take a job: {(done.stderr or done.stdout).strip()}. "
            "Fix the profile, then run the same command"
        )


def _local_memory(target: DaskTarget) -> int:
    """Return the memory limit of each worker of a local cluster in bytes; RecipeError if that is no size, or cannot work."""
    from dask.utils import format_bytes, parse_bytes

    available = int(_need("distributed.system").MEMORY_LIMIT)
    try:
        memory_bytes = available // target.workers if target.memory is None else int(parse_bytes(target.memory))
    except ValueError as error:
        raise RecipeError(f"{SETTING} {target.where}: '{target.memory}' is no size of memory; write e.g. 2GiB") from error
    if memory_bytes < LEAST_MEMORY:
        raise RecipeError(
            f"{SETTING} {target.where}: {format_bytes(memory_bytes)} for a worker is too little; a 20 s scene needs about 1 GB, "
            f"at least {format_bytes(LEAST_MEMORY)} is expected. Ask for fewer or larger workers"
        )
    if memory_bytes * target.workers > available:
        raise RecipeError(
            f"{SETTING} {target.where}: {target.workers} workers of {format_bytes(memory_bytes)} do not fit into the "
            f"{format_bytes(available)} of this machine. Ask for fewer or smaller workers"
        )
    return memory_bytes


def _need(module: str) -> Any:
    """Import a module of the extra ``dask``; RecipeError says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RecipeError(
            f"{SETTING} needs {module.split('.')[0]}, which is not installed here. Run: {install_command('dask')}"
        ) from error
