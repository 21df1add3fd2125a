"""What this machine can do, and what to do about what it cannot."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from flows.prefect_api import configured_api
from flows.settings import Settings
from model.data.free_memory import free_memory_bytes
from storage_schemas.awaited import awaited
from storage_schemas.errors import DepthmillError, RecipeError
from storage_schemas.files import StoreFiles
from storage_schemas.install_command import install_command
from storage_schemas.plug_ins import GROUPS, Group, PlugInError, broken_plug_ins, plug_ins
from storage_schemas.remote_path import RemotePath, data_path, folder_names

WORK_POOL = "depthmill"
"""Of ``depthmill deploy``, unless told otherwise."""
PACKAGES = ("numpy", "numba", "zarr", "pyarrow", "dask", "prefect")
EXTRAS = {
    "train": ("torch", "lightning_fabric", "tensorboard", "simplejpeg"),
    "dask": ("distributed", "dask_jobqueue"),
    "s3": ("s3fs",),
    "mono": ("torch", "transformers"),
    "view": ("rerun",),
    "video": ("av",),
    "share": ("safetensors", "huggingface_hub"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "timm": ("timm", "torchvision"),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
}
"""Modules of the optional extras."""
_WRITE_MB = 64
_SHARED_MEMORY = Path("/dev/shm")
_LEAST_SHARED_MEMORY = 256 << 20
"""NCCL passes tensors between GPUs there; Docker gives 64 MB unless told otherwise."""
_LEAST_MEMORY = 1 << 30
"""A worker that makes the units of a 20 s scene needs about so much."""
_SLOW_WRITE_MB_PER_S = 50.0
_WAIT_S = 3.0


class Finding(NamedTuple):
    """One line of the doctor.

    Attributes:
        about: what was checked.
        is_ok: nothing is wrong. What is optional and absent is no fault.
        says: the details, and what to do where something is wrong.
        is_missing: it is optional, and this machine does not have it.
    """

    about: str
    is_ok: bool
    says: str
    is_missing: bool = False

    @property
    def state(self) -> str:
        """ok, missing (optional, and not here) or FAIL."""
        return "FAIL" if not self.is_ok else "missing" if self.is_missing else "ok"


def diagnose(store: str | None = None, *, source: str | None = None, dask: str | None = None) -> Iterator[Finding]:
    """Look at Python, packages, disk, store, raw data, Prefect, Dask, plug-ins, devices and engines; yield what was found.

    Args:
        store: path or URL of a store to try; None leaves it out.
        source: path or URL of a data set to look at; None leaves it out.
        dask: where units are made on a Dask cluster, as of ``depthmill run --dask``; None leaves it out.
    """
    yield Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()}, {os.cpu_count()} cores")
    yield from _packages()
    yield from _extras()
    with awaited("the disk is tried"):
        yield _disk(Settings().cache_dir)
    yield from _memory()
    if store is not None:
        with awaited(f"store '{store}' is tried"):
            yield _store(store)
    if source is not None:
        with awaited(f"raw data '{source}' are listed"):
            yield _raw_data(source)
    with awaited("the Prefect server is asked"):
        yield from _prefect()
    if dask is not None:
        with awaited(f"the Dask cluster {dask} is looked at"):
            yield _dask(dask)
    with awaited("plug-ins are loaded"):
        yield from _plug_ins()
    with awaited("engines of accumulation are tried"):
        yield from _accumulation()
    with awaited("torch is loaded, and the engines of the scan are tried"):
        yield from _devices()


def _packages() -> list[Finding]:
    findings = []
    for package in PACKAGES:
        try:
            findings.append(Finding(package, True, version(package)))
        except PackageNotFoundError:
            findings.append(Finding(package, False, f"not installed. Run: pip install {package}"))
    return findings


def _extras() -> list[Finding]:
    findings = []
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        says = f"without {', '.join(missing)}. If you need it: {install_command(extra)}" if missing else "installed"
        findings.append(Finding(f"extra {extra}", True, says, is_missing=bool(missing)))
    return findings


def _unusable_sources() -> dict[str, str]:
    from pipeline.sources import broken_sources

    return broken_sources()


def _unusable_stages() -> dict[str, str]:
    from pipeline.stage_list import BROKEN_STAGES

    return BROKEN_STAGES


def _unusable_families() -> dict[str, str]:
    try:
        from model.families import FAMILIES
    except ImportError:  # without torch no family can be used, and another line says so
        return broken_plug_ins("depthmill.families")
    return FAMILIES.broken


_CHECKS: Mapping[Group, Callable[[], dict[str, str]]] = {
    "depthmill.sources": _unusable_sources,
    "depthmill.stages": _unusable_stages,
    "depthmill.families": _unusable_families,
}
"""Why plug-ins of a group cannot be used, by name, where more is checked than their import; PlugInError if a name is ours."""


def _plug_ins() -> list[Finding]:
    """List what packages outside bring, each as usable or broken; nothing where there are none."""
    findings = []
    for group in GROUPS:
        try:
            installed = plug_ins(group)
            broken = _CHECKS[group]() if installed and group in _CHECKS else broken_plug_ins(group)
        except PlugInError as error:  # no plug-in of this group can be used
            findings.append(Finding("plug-ins", False, str(error)))
            continue
        for plug_in in installed:
            says = broken.get(plug_in.name, f"{group}, of package {plug_in.package} {plug_in.version}")
            findings.append(Finding(f"plug-in {plug_in.name}", plug_in.name not in broken, says))
    return findings


def _disk(folder: Path) -> Finding:
    """Write a file where caches and simulated worlds go, as units are written: flushed to the device."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f".doctor-{uuid.uuid4().hex}"
        try:
            start = time.perf_counter()
            with open(path, "wb") as stream:
                stream.write(os.urandom(2**20) * _WRITE_MB)
                stream.flush()
                os.fsync(stream.fileno())
            speed = _WRITE_MB / (time.perf_counter() - start)
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:
        return Finding(
            "disk", False, f"cannot write in '{folder}': {error.strerror}. Set DEPTHMILL_CACHE_DIR to a folder you may write"
        )
    free_gb = shutil.disk_usage(folder).free / 1e9
    says = f"{speed:.0f} MB/s written to '{folder}', {free_gb:.0f} GB free"
    if speed < _SLOW_WRITE_MB_PER_S:
        says += ", which is slow. If it is a network disk, set DEPTHMILL_CACHE_DIR and the recipe's store to a local one"
    return Finding("disk", True, says)


def _memory() -> list[Finding]:
    """Say how much memory trainings and their loaders can have; of a container it may be less than of the machine."""
    free = free_memory_bytes()
    findings = [] if free is None else [Finding("memory", free >= _LEAST_MEMORY, f"{free / 1e9:.1f} GB free")]
    if free is not None and free < _LEAST_MEMORY:
        findings[0] = findings[0]._replace(says=f"{findings[0].says}: too little. Give this machine or container more")
    if _SHARED_MEMORY.is_dir():
        shared = shutil.disk_usage(_SHARED_MEMORY).free
        says = f"{_SHARED_MEMORY} has {shared / 1e6:.0f} MB free; loaders do not need it, training on several GPUs does"
        if shared < _LEAST_SHARED_MEMORY:
            says += ": too little for that. Start the container with --shm-size=8g"
        findings.append(Finding("shared memory", True, says))
    return findings


def _store(root: str) -> Finding:
    """Write, read and delete a small file in a store."""
    try:
        files = StoreFiles(root)
        key, content = f"doctor-{uuid.uuid4().hex}/probe", b"depthmill"
        start = time.perf_counter()
        files.put(key, content)
        same = files.get(key) == content
        milliseconds = 1e3 * (time.perf_counter() - start)
        files.remove_tree(key.split("/", 1)[0])
    except (DepthmillError, OSError) as error:
        return Finding("store", False, f"{error}")
    if not same:
        return Finding("store", False, f"'{root}' does not give back what was written. Check the file system")
    return Finding("store", True, f"'{root}' written, read and deleted in {milliseconds:.0f} ms")


def _raw_data(root: str) -> Finding:
    """List the root of a data set, and say where copies of its files go if it is at a URL."""
    try:
        folder = data_path(root, Settings().cache_dir)
        start = time.perf_counter()
        names = folder_names(folder)
        milliseconds = 1e3 * (time.perf_counter() - start)
    except DepthmillError as error:
        return Finding("raw data", False, f"{error}")
    if not names:
        return Finding("raw data", False, f"'{folder}' does not exist or is empty. Set source.root in the recipe to the data set")
    says = f"'{folder}' listed in {milliseconds:.0f} ms"
    if isinstance(folder, RemotePath):
        cache = folder.data.cache
        says += f"; up to {cache.most_bytes / 1e9:g} GB of its files are kept in '{cache.folder}' (DEPTHMILL_RAW_CACHE_GB)"
    return Finding("raw data", True, says)


def _prefect() -> list[Finding]:
    """Ask the configured server, the database behind it, and whether the work pool of ``depthmill deploy`` has a worker."""
    try:
        url = configured_api()
    except RecipeError as error:
        return [Finding("prefect server", False, f"{error}")]
    if url is None:
        what = "PREFECT_API_URL is not set: commands work without Prefect; with --prefect they start a server (10 s or more)"
        return [Finding("prefect server", True, what)]
    root = url.rstrip("/")
    try:
        with urllib.request.urlopen(f"{root}/health", timeout=_WAIT_S) as answer:  # the user's URL
            findings = [Finding("prefect server", answer.status == 200, f"{url} answers")]
        with urllib.request.urlopen(f"{root}/work_pools/{WORK_POOL}", timeout=_WAIT_S) as answer:
            is_ready = json.load(answer)["status"] == "READY"
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return findings  # nothing is deployed to a pool of this name
        says = f"{url} answers, its database does not. On its machine, for PostgreSQL: systemctl start postgresql"
        return [*findings, Finding("prefect database", False, says)]
    except (OSError, ValueError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        says = f"{url} does not answer: {reason}. Run: prefect server start, or unset PREFECT_API_URL"
        return [Finding("prefect server", False, says)]
    says = "has a worker" if is_ready else f"no worker polls it, so nothing is run. Run: prefect worker start --pool {WORK_POOL}"
    return [*findings, Finding(f"work pool {WORK_POOL}", is_ready, says)]


def _dask(where: str) -> Finding:
    """Ask a scheduler for its workers; of a cluster that a run starts itself, look whether it could."""
    if importlib.util.find_spec("distributed") is None:
        return Finding("dask", False, f"distributed is not installed. Run: {install_command('dask')}")
    from distributed import Client

    from flows.workers.dask_cluster import check_target, parse_target

    try:
        target = parse_target(where)
        if target.kind != "tcp":
            check_target(target)
    except DepthmillError as error:
        return Finding("dask", False, str(error))
    if target.kind == "local":
        return Finding("dask", True, f"{where}: a run starts as many workers on this machine")
    if target.profile is not None:
        jobs, each = target.profile.jobs, target.profile.workers_per_job
        return Finding("dask", True, f"{where}: a run asks Slurm for {jobs} jobs with {each} workers each; sbatch is here")
    address = target.where
    try:
        with Client(address, timeout=_WAIT_S) as client:  # type: ignore[no-untyped-call]
            workers = client.scheduler_info()["workers"]
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding("dask", False, f"no scheduler at {address}: {reason}. Run: dask scheduler, then dask worker {address}")
    if not workers:
        return Finding("dask", False, f"scheduler {address} has no workers. Run: dask worker {address}")
    return Finding("dask", True, f"scheduler {address} with {len(workers)} workers")


def _accumulation() -> list[Finding]:
    """Say which engine accumulates LiDAR; on a machine with a GPU this starts CUDA and checks its result."""
    from pipeline.kernels.engine import AccumulateEngineError, engine_choices

    try:
        used, other = engine_choices()
    except AccumulateEngineError as error:
        return [Finding("accumulate", False, str(error))]
    state = "usable" if other.is_usable else "no"
    alone = "; surface: front and behind_moving: drop by compiled CPU kernels" if used.engine == "cuda" else ""
    return [
        Finding(f"accumulate {used.engine}", True, f"used: {used.reason}{alone}"),
        Finding(f"accumulate {other.engine}", True, f"{state}: {other.reason}", is_missing=not other.is_usable),
    ]


def _devices() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        says = f"not installed; only needed to train. Run: {install_command('train')}"
        return [Finding("torch", True, says, is_missing=True)]
    from model.devices import describe_devices

    findings = [Finding("torch", True, version("torch")), *_timm()]
    for device in describe_devices():
        findings.append(Finding(f"device {device.name}", True, device.description))
        best = device.engines[0].engine
        for choice in device.engines:
            state = "used" if choice.engine == best else "usable" if choice.is_usable else "no"
            is_missing = choice.engine != best and not choice.is_usable
            findings.append(Finding(f"  scan {choice.engine}", True, f"{state}: {choice.reason}", is_missing=is_missing))
    return findings


def _timm() -> list[Finding]:
    """Say whether timm can be imported where it is installed; where it is not, the line of its extra says so."""
    if any(importlib.util.find_spec(module) is None for module in EXTRAS["timm"]):
        return []
    from model.blocks.timm_package import NoTimmError, import_timm

    try:
        return [Finding("timm", True, f"{import_timm().__version__}: backbones timm:<name> can be used")]
    except NoTimmError as error:
        return [Finding("timm", True, str(error), is_missing=True)]
