"""The parts of the check, most telling first, and what each needs. Without torch and NumPy."""

from __future__ import annotations

from dataclasses import dataclass, field

NETWORK = ("torch", "pydantic")
DRIVE = (*NETWORK, "numpy", "numba", "scipy", "pyarrow", "zarr", "numcodecs", "google_crc32c", "orjson", "xxhash", "yaml", "PIL")
LOADER = (*DRIVE, "simplejpeg")


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: on the command line, and of the module ``gpu.<name>``.
        title: for people.
        needs: what must be importable.
        least_s: seconds without which it is not begun.
        most_s: seconds after which it is ended.
        rehearsed_by: environment with which it runs on a CPU.
        is_made_beside: no figures of its own: it makes data on the CPU, while other parts use the GPU.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    least_s: float = 20.0
    most_s: float = 90.0
    rehearsed_by: dict[str, str] = field(default_factory=dict)
    is_made_beside: bool = False


INTERPRETED = {"TRITON_INTERPRET": "1"}
SIMULATED = {"NUMBA_ENABLE_CUDASIM": "1"}

PARTS = (
    Part("scan_values", "The scan: values and gradients", (*NETWORK, "triton"), rehearsed_by=INTERPRETED),
    Part("semodepth", "SemoDepth at 900x1600: latency, memory, a training step", (*NETWORK, "triton"), 30.0, 120.0),
    Part("scan_times", "The scan: time and memory", (*NETWORK, "triton"), rehearsed_by=INTERPRETED),
    Part("semodepth_profile", "SemoDepth: where the time of a frame goes", (*NETWORK, "triton"), most_s=60.0),
    Part("mim4d", "MIM4D: a full-size step", NETWORK, 25.0, 120.0),
    Part("drive", "A drive for the parts below", DRIVE, 20.0, 180.0, is_made_beside=True),
    Part("accumulate", "Accumulation by CUDA", (*DRIVE, "numba.cuda"), rehearsed_by=SIMULATED),
    Part("loader", "From the store to the device, and a step that waits for it", LOADER),
    Part("marked_tests", "Tests marked gpu", (*LOADER, "pytest", "hypothesis"), most_s=120.0),
    Part("scan_tiles", "The scan: how it is cut, searched", (*NETWORK, "triton"), rehearsed_by=INTERPRETED),
    Part("detector", "MonoDDLE, DLA-34 at 384x1280", NETWORK, most_s=60.0),
    Part("training", "A training, and its evaluation in float32 and bfloat16", (*LOADER, "lightning_fabric", "tensorboard"), 30.0, 120.0),
    Part("compiled", "torch.compile on and off", (*NETWORK, "triton"), 40.0, 180.0),
)  # fmt: skip


def part_named(name: str) -> Part:
    """Return a part; KeyError if there is none of that name."""
    return {part.name: part for part in PARTS}[name]
