"""Claim: a training sample from the store costs a fifth of the CPU time of reading it as the public dataset class does.

Frames  39 key frames of the simulated drive at 1600x900. Their camera files are replaced, where the shared folder is at hand, by the six
        real nuScenes images in turn (145 kB each); otherwise the simulated ones are used (264 kB, more noise than a real one)
Public  per sample: JPEG by PIL to float32, two 16-bit PNGs by PIL to float32 metres, radar .npy to a float32 map; no batch is made
Ours    per sample of a delivered batch: image uint8, dense target uint16, single sweep and radar as points
Also    what making the maps costs on a CPU (a GPU does it otherwise); worker processes; a local S3 server (moto), if installed
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import measure  # isort: skip  (before numpy: it limits the thread pools)

SHARED = Path(os.environ.get("DEPTHMILL_SHARED", Path(__file__).resolve().parents[2] / "shared"))

if __name__ == "__main__":  # workers import this file too; they inherit these variables
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{probe.getsockname()[1]}"
    os.environ.update({"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"})  # s3fs needs some credentials

import fsspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from stage_runs import open_runs
from torch.utils.data import DataLoader, Dataset
from world import SMALL_IMAGE, simulated_world

from model.data.images import decode_image
from model.data.ordered_loader import Placement
from model.data.points import measured_pixels
from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from pipeline.run import SceneMemory
from storage_schemas.byte_ranges import ByteRange, RangeReader
from storage_schemas.catalog import MANIFEST
from storage_schemas.frame_chunks import FrameChunks
from storage_schemas.frames import packed_image, radar_of_frame
from storage_schemas.layout import UnitData, columns_from_rows
from storage_schemas.lineage import Identity
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.store import Store

MAX_DEPTH_M = 120.0
BATCH = 4


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument(
        "--images", type=Path, default=SHARED / "data/nuscenes-keyframe/samples", help="folder of real 1600x900 JPEGs"
    )
    parser.add_argument("--epochs", type=int, default=5, help="times that each way reads all samples; the median counts")
    args = measure.parsed(parser, epochs=1)
    torch.set_num_threads(1)
    print(f"{measure.machine()}, torch {torch.__version__}\n")
    suffix = "-small" if args.small else ""
    manifest = _manifest(args.data, args.data / f"loader-store{suffix}", small=args.small)
    real = [file.read_bytes() for file in sorted(args.images.rglob("*.jpg"))]
    if args.small:
        real = [_shrunk(content, SMALL_IMAGE) for content in real]
    for name, contents in (("simulated", []), ("real nuScenes", real)):
        if name == "simulated" or contents:
            chosen = _with_images(manifest, contents) if contents else manifest
            files = _public_files(chosen, args.data / f"loader-public-{name.split()[0]}{suffix}")
            print(f"### {name} images, {np.mean([len(file[0].read_bytes()) for file in files]) / 1e3:.0f} kB each\n")
            _one_core(chosen, files, args.epochs)
            _breakdown(chosen, files, args.epochs)
    _workers(chosen, files, args.epochs)
    _object_store(chosen, files)


# -- the public way ---------------------------------------------------------------------------------------------------------------

Files = tuple[Path, Path, Path, Path]
"""Image, radar, dense and sparse depth of one sample."""


def public_image(file: Any) -> NDArray[np.float32]:
    return np.asarray(Image.open(file).convert("RGB"), dtype=np.float32)


def public_depth(file: Any) -> NDArray[np.float32]:
    depth_m = np.array(Image.open(file), dtype=np.float32) / 256.0
    depth_m[depth_m <= 0] = 0.0
    return depth_m


def public_radar(file: Any, shape: tuple[int, int]) -> NDArray[np.float32]:
    height, width = shape
    points = np.load(file).astype(np.float32)
    u, v = np.round(points[:, 0]).astype(np.int32), np.round(points[:, 1]).astype(np.int32)
    is_seen = (u >= 0) & (u < width) & (v >= 0) & (v < height) & (points[:, 2] > 0)
    u, v, depth = u[is_seen], v[is_seen], points[is_seen, 2]
    order = np.argsort(-depth)
    radar_m = np.zeros(shape, np.float32)
    radar_m[v[order], u[order]] = depth[order]
    return np.clip(radar_m, 0, MAX_DEPTH_M)


def public_sample(image: Any, radar: Any, dense: Any, sparse: Any) -> tuple[NDArray[np.float32], ...]:
    """All of one sample, each array copied once more by astype, as there."""
    dense_m = public_depth(dense)
    arrays = (public_image(image), public_radar(radar, dense_m.shape), dense_m, public_depth(sparse))
    return tuple(array.astype(np.float32) for array in arrays)


class PublicDataset(Dataset):
    def __init__(self, files: list[Files]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], ...]:
        return public_sample(*self.files[index])


# -- measurements -----------------------------------------------------------------------------------------------------------------


def _one_core(manifest: Manifest, files: list[Files], epochs: int) -> None:
    loader = FrameLoader(manifest, DataConfig(batch_size=BATCH))
    _check_equal(manifest, files)
    order = np.random.default_rng(0).permutation(len(files))
    public_ms, ours_ms = [], []
    list(_epoch(loader))  # the first epoch opens units and allocates memory
    for _ in range(epochs):  # in turns, so that a slow moment of the machine affects both
        public_ms.append(measure.cpu_ms(lambda: _one_by_one(lambda k: public_sample(*files[k]), order)) / len(files))
        ours_ms.append(measure.cpu_ms(lambda: _count(_epoch(loader))) / _per_epoch(loader))
    batch = next(_epoch(loader))
    dense_ms = measure.cpu_ms(lambda: dense_batch(batch, max_depth_m=MAX_DEPTH_M), repeat=epochs) / BATCH
    public, ours = float(np.median(public_ms)), float(np.median(ours_ms))
    print("| one core | CPU ms a sample | samples/s | ratio |\n|---|---|---|---|")
    print(f"| public dataset class | {public:.1f} | {1e3 / public:.0f} | |")
    print(f"| **ours, batch delivered** | **{ours:.2f}** | **{1e3 / ours:.0f}** | **{public / ours:.1f}x** |")
    total = ours + dense_ms
    print(f"| ours, and maps made on the CPU | {total:.2f} | {1e3 / total:.0f} | {public / total:.1f}x |\n")


def _breakdown(manifest: Manifest, files: list[Files], epochs: int) -> None:
    """Each part alone, over all frames; what is left is Python between the parts."""
    store, rows = manifest.store, manifest.rows()
    frames = [int(frame) for frame in np.random.default_rng(1).permutation(len(files))]

    def chunks(layout: str, name: str) -> FrameChunks:
        path = manifest.unit_of(rows[0], layout)
        assert path is not None
        return FrameChunks(store, path, name)

    images, dense, sparse = chunks("images", "encoded"), chunks("depth_clean", "depth_m"), chunks("depth_single", "depth_m")
    sizes = store.open_unit(manifest.unit_of(rows[0], "images")).array("num_bytes")  # type: ignore[arg-type]

    def ranges(frame: int) -> list[ByteRange]:
        chunk_ranges = (images.byte_range(frame, int(sizes[frame])), dense.byte_range(frame), sparse.byte_range(frame))
        return [byte_range for byte_range in chunk_ranges if byte_range is not None]

    reader = RangeReader(store.files)
    contents = [[bytes(view) for view in reader.read(ranges(frame))] for frame in range(len(files))]
    shape = public_depth(files[0][2]).shape
    pixels, maps = np.zeros((*shape, 3), np.uint8), np.zeros((2, *shape), np.uint16)

    def each(work: Callable[[int], Any]) -> float:
        return measure.cpu_ms(lambda: _one_by_one(work, frames), repeat=epochs) / len(frames)

    def checks(frame: int) -> list[memoryview]:
        read = zip((images, dense, sparse), contents[frame], strict=True)
        return [array.checked(memoryview(content)) for array, content in read]

    def decode_checked_image(frame: int) -> None:
        decode_image(images.checked(memoryview(contents[frame][0]))[: int(sizes[frame])], pixels, where="")

    parts = [
        ("read files", None, each(lambda k: reader.read(ranges(k)))),
        ("checksums (in the three rows below)", None, each(checks)),
        ("JPEG", each(lambda k: public_image(files[k][0])), each(decode_checked_image)),
        (
            "dense target",
            each(lambda k: public_depth(files[k][2])),
            each(lambda k: dense.decode(memoryview(contents[k][1]), maps[0])),
        ),
        ("single sweep", each(lambda k: public_depth(files[k][3])), each(lambda k: _points(sparse, contents[k][2], maps[1]))),
        ("radar", each(lambda k: public_radar(files[k][1], shape)), 0.0),
        ("copies (astype)", each(lambda k: _copies(pixels)), None),
    ]
    print("| where time goes, CPU ms a sample | public | ours |\n|---|---|---|")
    for name, public, ours in parts:
        print(f"| {name} | {'with the rest' if public is None and ours else _ms(public)} | {_ms(ours)} |")
    print()


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _points(chunks: FrameChunks, content: bytes, out: NDArray[np.uint16]) -> Any:
    chunks.decode(memoryview(content), out)
    return measured_pixels(out)


def _copies(pixels: NDArray[np.uint8], _: dict[str, Any] = {}) -> Any:  # noqa: B006 - keeps the source arrays
    if not _:
        _["image"], _["map"] = pixels.astype(np.float32), np.zeros(pixels.shape[:2], np.float32)
    return [_["image"].astype(np.float32), *(_["map"].astype(np.float32) for _k in range(3))]


def _workers(manifest: Manifest, files: list[Files], epochs: int) -> None:
    print("### Worker processes (wall time; torch DataLoader, batch of 4, the consumer does nothing)\n")
    print("| workers | public, samples/s | ours, samples/s | ratio |\n|---|---|---|---|")
    for num_workers in (1, 2):
        public: DataLoader[Any] = DataLoader(
            PublicDataset(files), BATCH, num_workers=num_workers, persistent_workers=True, drop_last=True
        )
        list(iter(public))
        with FrameLoader(manifest, DataConfig(batch_size=BATCH), placement=Placement(num_workers=num_workers)) as loader:
            for _ in range(3):
                _count(_epoch(loader))
            rates = [
                (
                    _rate(lambda public=public: sum(len(batch[0]) for batch in public)),
                    _rate(lambda loader=loader: _count(_epoch(loader))),
                )
                for _ in range(epochs)
            ]
        theirs, ours = np.median(rates, axis=0)
        print(f"| {num_workers} | {theirs:.0f} | {ours:.0f} | {ours / theirs:.1f}x |")
    num_bytes = public_depth(files[0][2]).size * 5  # image and dense target of one sample
    new = measure.cpu_ms(lambda: torch.empty(num_bytes, dtype=torch.uint8).share_memory_().fill_(1), repeat=9)
    kept = torch.empty(num_bytes, dtype=torch.uint8).share_memory_().fill_(1)
    again = measure.cpu_ms(lambda: kept.fill_(1), repeat=9)
    print(
        f"\nTo fill shared memory with one of our samples: {new:.2f} ms when it is new, {again:.2f} ms when it is used again.\n"
    )


def _object_store(manifest: Manifest, files: list[Files]) -> None:
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("s3fs") is None:
        print("S3: not measured; pip install 's3fs' 'moto[server]'")
        return
    print(
        "### From a local S3 server (moto in a process of its own, s3fs; this process's CPU time, wall time, one batch of 4 at a time)\n"
    )
    with _moto():
        remote = fsspec.filesystem("s3")
        remote.mkdir("bench")
        for path in [manifest.path, *manifest.named_units()]:
            remote.put(f"{manifest.store.root}/{path.key}/", f"bench/store/{path.key}/", recursive=True)
        names = [[f"bench/public/{k}-{n}" for n in range(4)] for k in range(len(files))]
        remote.pipe(
            {
                name: file.read_bytes()
                for sample_names, four in zip(names, files, strict=True)
                for name, file in zip(sample_names, four, strict=True)
            }
        )
        loader = FrameLoader(open_manifest(Store("s3://bench/store"), manifest.path.fingerprint), DataConfig(batch_size=BATCH))
        _count(_epoch(loader))

        def public() -> int:
            for sample_names in names:
                public_sample(*(remote.open(name, cache_type="all") for name in sample_names))
            return len(names)

        print("| | CPU ms a sample | wall ms a sample | samples/s |\n|---|---|---|---|")
        for name, work in (("public, opened over s3fs", public), ("ours", lambda: _count(_epoch(loader)))):
            times_ms = []
            for _ in range(3):
                wall, cpu = time.perf_counter(), time.process_time()
                count = work()
                times_ms.append((1e3 * (time.process_time() - cpu) / count, 1e3 * (time.perf_counter() - wall) / count))
            cpu_ms, wall_ms = np.median(times_ms, axis=0)
            print(f"| {name} | {cpu_ms:.1f} | {wall_ms:.1f} | {1e3 / wall_ms:.0f} |")
        loader.set_epoch(0)
        with FrameLoader(
            open_manifest(Store("s3://bench/store"), manifest.path.fingerprint),
            DataConfig(batch_size=BATCH),
            placement=Placement(num_workers=2),
        ) as two:
            _count(_epoch(two))
            rate = float(np.median([_rate(lambda: _count(_epoch(two))) for _ in range(3)]))
        print(f"| ours, 2 workers | | {1e3 / rate:.1f} | {rate:.0f} |")


@contextlib.contextmanager
def _moto() -> Iterator[None]:
    port = int(os.environ["AWS_ENDPOINT_URL"].rsplit(":", 1)[1])
    code = f"import time; from moto.server import ThreadedMotoServer; ThreadedMotoServer(port={port}, verbose=False).start(); time.sleep(1e6)"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.2)
        yield
    finally:
        server.terminate()
        server.wait()


def _one_by_one(work: Callable[[int], Any], numbers: Iterable[int]) -> None:
    """Keep no result: memory that is given back at once is cheaper than new memory."""
    for number in numbers:
        work(number)


def _epoch(loader: FrameLoader) -> Iterator[Any]:
    """The same epoch every time, so that repetitions read the same frames."""
    loader.set_epoch(0)
    return iter(loader)


def _count(batches: Iterator[Any]) -> int:
    return sum(len(batch) for batch in batches)


def _per_epoch(loader: FrameLoader) -> int:
    return loader.num_samples // BATCH * BATCH


def _rate(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - start)


def _check_equal(manifest: Manifest, files: list[Files]) -> None:
    """Both ways deliver the same numbers."""
    number = 0
    for batch in FrameLoader(manifest, DataConfig(batch_size=BATCH, order="manifest")):
        dense = dense_batch(batch, max_depth_m=MAX_DEPTH_M)
        for k in range(len(batch)):
            ours = (dense.image_u8[k].float(), dense.radar_m, dense.target_m, dense.sparse_m)
            for delivered, other in zip(ours, public_sample(*files[number]), strict=True):
                assert delivered is not None
                np.testing.assert_allclose(delivered if delivered is ours[0] else delivered[k], other, rtol=1e-6)
            number += 1
    assert number == len(files)


# -- data -------------------------------------------------------------------------------------------------------------------------


def _manifest(data: Path, store: Path, *, small: bool) -> Manifest:
    """Make what the store does not hold of the simulated drive, all stages; return the drive's manifest."""
    runs, memory = open_runs(simulated_world(data, small=small), store, data), SceneMemory()
    for item in runs.plan.to_do:
        runs.run(item, memory)
    return open_manifest(runs.store, runs.plan.manifest.path.fingerprint)


def _shrunk(jpeg: bytes, size: tuple[int, int]) -> bytes:
    """Return a JPEG file of another width and height."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).resize(size).save(stream, format="JPEG")
    return stream.getvalue()


def _with_images(manifest: Manifest, contents: list[bytes]) -> Manifest:
    """Write a manifest whose frames have the given camera files in turn; everything else is as it was."""
    rows = manifest.rows()
    path = manifest.unit_of(rows[0], "images")
    assert path is not None
    old = manifest.store.read_unit(path)
    count = len(old.arrays["num_bytes"])
    chosen = [contents[k % len(contents)] for k in range(count)]
    encoded = np.zeros((count, max(map(len, chosen))), np.uint8)
    for k, content in enumerate(chosen):
        encoded[k, : len(content)] = np.frombuffer(content, np.uint8)
    sizes = [len(content) for content in chosen]
    arrays = {**old.arrays, "encoded": encoded, "num_bytes": np.array(sizes, np.int32)}
    tables = {"files": {**old.tables["files"], "num_bytes": sizes}}
    images = _identity("images", path.scene, path.camera, {})
    manifest.store.write_unit(images, UnitData(arrays, tables), seconds=0.0, counts={})
    inputs = {f"{unit.layout}/{unit.scene}/{unit.camera}": unit.fingerprint for unit in manifest.named_units()}
    inputs[f"images/{path.scene}/{path.camera}"] = images.fingerprint()
    pinned = _identity("manifest", "all", "all", inputs)
    columns = columns_from_rows(MANIFEST.table("samples"), [{**row, "unit_images": images.fingerprint()} for row in rows])
    manifest.store.write_unit(pinned, UnitData(tables={"samples": columns}), seconds=0.0, counts={})
    return open_manifest(manifest.store, pinned.fingerprint())


def _identity(layout: str, scene: str, camera: str, inputs: dict[str, str]) -> Identity:
    return Identity(
        stage="benchmark", stage_version=1, layout=layout, layout_version=1, scene=scene, camera=camera, params={}, inputs=inputs, source=None
    )  # fmt: skip


def _public_files(manifest: Manifest, folder: Path) -> list[Files]:
    """Write the files of the public layout, PNGs at PIL's own level as the public scripts do; kept between runs."""
    folder.mkdir(parents=True, exist_ok=True)
    store, rows = manifest.store, manifest.rows()
    unit = {
        name: store.open_unit(manifest.unit_of(rows[0], name))
        for name in ("images", "radar_points", "depth_clean", "depth_single")
    }  # type: ignore[arg-type]
    samples = []
    for row in rows:
        frame = row["frame"]
        files = tuple(folder / f"{frame:03d}{suffix}" for suffix in (".jpg", ".npy", ".dense.png", ".sparse.png"))
        if not files[3].exists():
            files[0].write_bytes(packed_image(unit["images"], frame))
            np.save(files[1], np.stack(radar_of_frame(unit["radar_points"], frame), axis=1))
            Image.fromarray(unit["depth_clean"].array("depth_m", frame)).save(files[2])
            Image.fromarray(unit["depth_single"].array("depth_m", frame)).save(files[3])
        samples.append(files)
    return samples  # type: ignore[return-value]


if __name__ == "__main__":
    main()
