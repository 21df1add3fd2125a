"""Claim: a scene's raw files are read from S3 at no less than 80 % of what plain parallel downloads of the same bytes take.

Data   391 LiDAR sweeps of 34,720 points, as a 20 s scene of nuScenes has; random bytes, since nothing decodes them
Server moto in a process of its own on the same cores, at 0 and 20 ms a request
Timed  wall time from an empty cache to the last byte in memory, in turns, median: the plain downloads (``s3fs.get`` of all files
       to a folder, then read), the reader with its cache and digests, the same reader again, and without reading ahead
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
from s3_server import S3Server, s3_server

from pipeline.sources.raw_files import RawFiles
from storage_schemas.read_ahead import NUM_THREADS
from storage_schemas.remote_path import data_path

FOLDER = "sweeps/LIDAR_TOP"
LATENCIES_S = (0.0, 0.02)


class _Sweeps(RawFiles):
    """Reader of the sweeps; their names are known, as an index of tables knows them."""

    num_sweeps = 0

    def files_of(self, scene: str, wanted: object) -> list[str]:
        """Return every file, in order."""
        return [f"{FOLDER}/{number:06d}.pcd.bin" for number in range(self.num_sweeps)]


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--sweeps", type=int, default=391)
    parser.add_argument("--points", type=int, default=34_720, help="of a sweep, 20 bytes each")
    parser.add_argument("--repeat", type=int, default=3)
    args = measure.parsed(parser, sweeps=12, points=1000, repeat=1)
    folder = Path(tempfile.mkdtemp(dir=args.data))
    try:
        with s3_server() as server:
            _measure(server, folder, args.sweeps, 20 * args.points, args.repeat)
    finally:
        shutil.rmtree(folder)


def _measure(server: S3Server, folder: Path, num_sweeps: int, num_bytes: int, repeat: int) -> None:
    print(measure.machine())
    rng = np.random.default_rng(0)
    (folder / "raw" / FOLDER).mkdir(parents=True)
    for number in range(num_sweeps):
        (folder / "raw" / FOLDER / f"{number:06d}.pcd.bin").write_bytes(rng.bytes(num_bytes))
    url = server.upload(folder / "raw", "nuscenes")
    _Sweeps.num_sweeps = num_sweeps
    print(f"{num_sweeps} files, {num_sweeps * num_bytes / 1e6:.0f} MB")
    print("\n| latency | plain downloads | reader, empty cache | share | reader, files in the cache | without reading ahead |")
    print("|---|---|---|---|---|---|")
    for latency_s in LATENCIES_S:
        server.wait_each(latency_s)
        ways: dict[str, Callable[[], float]] = {
            "plain": lambda: _plain(url, folder),
            "ours": lambda: _ours(url, folder),
            "again": lambda: _ours(url, folder, is_empty=False),
        }
        times_s: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeat):
            for way, work in ways.items():
                times_s[way].append(work())
        plain, ours, again = (statistics.median(times_s[way]) for way in ways)
        alone = _ours(url, folder, is_ahead=False)
        print(
            f"| {1000 * latency_s:.0f} ms | {plain:.2f} s | {ours:.2f} s | {100 * plain / ours:.0f} % | {again:.2f} s | {alone:.2f} s |"
        )


def _plain(url: str, folder: Path) -> float:
    """Download all files with s3fs, as many at once as the reader does, and read them."""
    from s3fs import S3FileSystem

    target = folder / "plain"
    shutil.rmtree(target, ignore_errors=True)
    filesystem = S3FileSystem(config_kwargs={"max_pool_connections": 48}, use_listings_cache=False)
    start = time.perf_counter()
    filesystem.get(f"{url}/{FOLDER}/", str(target), recursive=True, batch_size=NUM_THREADS)
    total = sum(len(path.read_bytes()) for path in sorted(target.iterdir()))
    seconds = time.perf_counter() - start
    assert total
    return seconds


def _ours(url: str, folder: Path, *, is_empty: bool = True, is_ahead: bool = True) -> float:
    """Read all files one after the other through the reader of a source."""
    cache = folder / "cache"
    if is_empty:
        shutil.rmtree(cache, ignore_errors=True)
    start = time.perf_counter()
    reader = _Sweeps(data_path(url, cache))
    files = reader.files_of("", ())
    if is_ahead:
        with reader.reading_ahead("", ()):
            total = sum(len(reader.read_bytes(file)) for file in files)
    else:
        total = sum(len(reader.read_bytes(file)) for file in files)
    reader.digest_of(files)
    seconds = time.perf_counter() - start
    assert total
    return seconds


if __name__ == "__main__":
    main()
