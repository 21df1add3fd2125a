"""What machine this is: card, driver, versions. Run in a process of its own, because a broken driver can end it."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from typing import Any

PACKAGES = ("torch", "triton", "numpy", "numba", "numba-cuda", "mamba-ssm", "causal-conv1d", "lightning-fabric", "zarr")


def facts() -> dict[str, Any]:
    """Return what is known; ``why_no_gpu`` is empty where torch computed something on a GPU."""
    found: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine(), "packages": {}, "why_no_gpu": ""}
    for name in PACKAGES:
        try:
            found["packages"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found["driver"] = _driver()
    try:
        import torch

        found["packages"]["torch"] = torch.__version__
        found["cuda"] = torch.version.cuda
        if torch.version.cuda is None:
            found["why_no_gpu"] = f"torch {torch.__version__} is a build without CUDA"
        elif not torch.cuda.is_available():
            found["why_no_gpu"] = f"torch {torch.__version__} (CUDA {torch.version.cuda}) sees no GPU"
        else:
            about = torch.cuda.get_device_properties(0)
            ones = torch.ones(1000, device="cuda")
            assert float((ones @ ones).cpu()) == 1000.0
            found |= {
                "card": about.name,
                "capability": [about.major, about.minor],
                "memory_gb": round(about.total_memory / 1e9, 1),
                "cudnn": torch.backends.cudnn.version(),
            }
    except Exception as error:  # whatever is wrong with torch or the driver
        found["why_no_gpu"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return found


def _driver() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "unknown (nvidia-smi is not installed)"
    try:
        asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[0].strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({type(error).__name__} of nvidia-smi)"


if __name__ == "__main__":
    json.dump(facts(), sys.stdout)
