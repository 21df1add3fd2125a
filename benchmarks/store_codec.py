"""Claim: Zarr with plain zstd level 1 is the right default for depth maps: as small as PNG, and far cheaper to write and read.

Maps   40 accumulated maps of the simulated drive at 1600x900, one frame a chunk, all frames in one shard, as units are stored
Each   encode them all; read single frames in random order; CPU time a map; a memory store, so that no disk counts
Floor  copying the raw map: 2.9 MB
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
import zarr
from PIL import Image
from stage_runs import open_runs
from world import simulated_world
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.storage import MemoryStore

CODECS: dict[str, Any] = {
    "zstd 1 (ours)": ZstdCodec(level=1),
    "zstd 3": ZstdCodec(level=3),
    "zstd 9": ZstdCodec(level=9),
    "blosc zstd 1 bitshuffle": BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=2),
    "blosc lz4 bitshuffle": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=2),
    "no compression": None,
}


def main() -> None:
    args = measure.parsed(measure.arguments(__doc__))
    print(measure.machine())
    maps = _accumulated_maps(args.data, small=args.small)
    order = np.random.default_rng(0).permutation(len(maps))
    print(f"{'':26s}{'kB a map':>10s}{'write ms':>10s}{'read ms':>10s}")
    for name, codec in CODECS.items():
        _report(name, maps, order, *_zarr(maps, codec))
    for level in (1, 6):
        _report(f"PNG by PIL, level {level}", maps, order, *_png(maps, level))
    print(
        f"floor: {measure.cpu_ms(lambda: [depth_map.copy() for depth_map in maps], repeat=3) / len(maps):.2f} ms to copy a raw map"
    )


def _report(name: str, maps: np.ndarray, order: np.ndarray, write: Callable[[], int], read: Callable[[int], np.ndarray]) -> None:
    sizes: list[int] = []
    write_ms = measure.cpu_ms(lambda: sizes.append(write()), repeat=3) / len(maps)
    assert all(np.array_equal(read(number), maps[number]) for number in order[:3])
    read_ms = measure.cpu_ms(lambda: [read(number) for number in order], repeat=3) / len(maps)
    print(f"{name:26s}{sizes[-1] / len(maps) / 1e3:10.0f}{write_ms:10.2f}{read_ms:10.2f}")


def _zarr(maps: np.ndarray, codec: Any) -> tuple[Callable[[], int], Callable[[int], np.ndarray]]:
    memory: dict[str, Any] = {}

    def write() -> int:
        memory.clear()
        array = zarr.create_array(
            MemoryStore(memory),
            name="depth_m",
            shape=maps.shape,
            dtype="uint16",
            chunks=(1, *maps.shape[1:]),
            shards=maps.shape,
            compressors=codec,
        )
        array[...] = maps
        return sum(len(content) for content in memory.values())

    opened: list[Any] = []

    def read(number: int) -> np.ndarray:
        if not opened:
            opened.append(zarr.open_array(MemoryStore(memory), path="depth_m", mode="r"))
        return np.asarray(opened[0][number])

    return write, read


def _png(maps: np.ndarray, level: int) -> tuple[Callable[[], int], Callable[[int], np.ndarray]]:
    files: list[bytes] = []

    def write() -> int:
        files.clear()
        for steps in maps:
            stream = io.BytesIO()
            Image.fromarray(steps).save(stream, format="PNG", compress_level=level)
            files.append(stream.getvalue())
        return sum(map(len, files))

    return write, lambda number: np.asarray(Image.open(io.BytesIO(files[number])))


def _accumulated_maps(data: Path, *, small: bool) -> np.ndarray:
    with tempfile.TemporaryDirectory(dir=data) as folder:
        runs = open_runs(simulated_world(data, small=small), Path(folder), data)
        paths = runs.run_stages("index_frames", "accumulate_lidar")
        return runs.store.read_unit(paths["accumulate_lidar"]).arrays["depth_m"]


if __name__ == "__main__":
    main()
