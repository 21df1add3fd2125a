"""The devices that torch sees on this machine, and the scan engines each can use."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from model.blocks.selective_scan import Choice, choose_engine, engine_choices
from storage_schemas.errors import DepthmillError


class DeviceError(DepthmillError):
    """A device was asked for that is not there."""


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        name: as torch writes it.
        description: what it is.
        engines: scan engines, the one in use first.
    """

    name: str
    description: str
    engines: tuple[Choice, ...]


def describe_devices() -> list[Device]:
    """Return the CPU and every CUDA device; the first engine of each is what ``selective_scan`` takes for float32 tensors.

    Raises:
        ScanEngineError: ``DEPTHMILL_SCAN_ENGINE`` names an engine that does not exist.
    """
    devices = [_described(torch.device("cpu"), f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")]
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        facts_text = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, sm_{facts.major}{facts.minor}"
        devices.append(_described(torch.device("cuda", number), facts_text))
    return devices


def gpu_gigabytes() -> float | None:
    """Return the memory of the smallest GPU that torch sees, GB; None without one."""
    counts = range(torch.cuda.device_count())
    return min((torch.cuda.get_device_properties(number).total_memory / 1e9 for number in counts), default=None)


def _described(device: torch.device, facts_text: str) -> Device:
    used = choose_engine(device)
    others = [choice for choice in engine_choices(device) if choice.engine != used.engine]
    return Device(str(device), facts_text, (used, *others))


def network_device(accelerator: str) -> torch.device:
    """Return the device of ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.

    Raises:
        DeviceError: cuda was asked for, and torch sees no GPU.
    """
    is_there = torch.cuda.is_available()
    if accelerator == "cuda" and not is_there:
        raise DeviceError(
            "device cuda was asked for, and torch sees no GPU here. Run depthmill doctor, or set DEPTHMILL_DEVICE=cpu"
        )
    return torch.device("cuda" if is_there and accelerator != "cpu" else "cpu")
