"""Hostile inputs by kind, what each is done to, and what depthmill makes of it: an error, a counted line, or the same units.

A target is a small sound set with the command that reads it. An attack spoils one thing in a copy. ``tests/mutated_nuscenes.py``
spoils each value and file of nuScenes tables in turn; this table holds what no such list thinks of, for every kind of input.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import socket
import struct
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from storage_schemas.errors import DepthmillError
from storage_schemas.store import Store
from tests.pipeline.exporters.made_up_store import NoRaw, build
from tests.time_limit import TooLongError, within
from tests.tiny_kitti import write_tiny_kitti
from tests.tiny_nuscenes import write_tiny_nuscenes
from tests.tiny_zju import write_tiny_zju

LIMIT_S = 600
"""An attack that takes longer hangs; most take a second."""

Do = Callable[[Path], object]


@dataclass(frozen=True)
class Attack:
    """One thing spoiled.

    Attributes:
        name: what was done.
        target: key of ``TARGETS``.
        apply: does it to the folder of a target.
        says: one of these must be in the error or the line; "" = anything.
    """

    name: str
    target: str
    apply: Do
    says: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Answer:
    """What came of an attack.

    Attributes:
        kind: "error", "warning" or "unchanged"; in capitals what must not be: CRASH, HANG, SILENT, UNNAMED, RAW.
        text: what was printed.
    """

    kind: str
    text: str


# --- targets -------------------------------------------------------------------------------------------------------------


def _nuscenes(folder: Path) -> None:
    write_tiny_nuscenes(folder / "data")
    source = {"kind": "nuscenes", "root": str(folder / "data"), "version": "v1.0-mini"}
    _recipe(folder, {"source": source, "stages": {"accumulate_lidar": {"num_sweeps": 5}, "project_boxes": {"enabled": True}}})


def _zju(folder: Path) -> None:
    write_tiny_zju(folder / "data", frames={"train": 3, "val": 2}, height=24, width=32)
    _recipe(folder, {"source": {"kind": "zju_4dradarcam", "root": str(folder / "data"), "splits": ["train", "val"]}})


def _kitti(folder: Path) -> None:
    write_tiny_kitti(folder / "data", velodyne=True)
    source = {"kind": "kitti_object", "root": str(folder / "data"), "splits": ["train", "val"]}
    _recipe(folder, {"source": source, "cameras": ["CAM_2"]})


def _import(folder: Path) -> None:
    from pipeline.exporters.semodepth import export_semodepth

    manifest, _ = build(folder / "made")
    export_semodepth(manifest, NoRaw(), folder / "data")
    shutil.rmtree(folder / "made")


def _predict(folder: Path) -> None:
    data = folder / "data"
    for name in ("image", "radar", "radar_png"):
        (data / name).mkdir(parents=True)
    for name in ("a.jpg", "b.png"):
        Image.fromarray(np.full((12, 20, 3), 99, np.uint8)).save(data / "image" / name)
    np.save(data / "radar/a.npy", [[3.4, 5.6, 40.0], [3.0, 6.0, 30.0]])
    Image.fromarray(np.full((12, 20), 2560, np.uint16)).save(data / "radar_png/b.png")


def _detect(folder: Path) -> None:
    write_tiny_kitti(folder / "kitti", frames={"train": 2}, sizes=((124, 38),))
    shutil.move(folder / "kitti" / "training", folder / "data")
    shutil.rmtree(folder / "kitti")


def _recipe(folder: Path, recipe: dict[str, Any]) -> None:
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "store": str(folder / "store")}))


def command(*words: object) -> tuple[int, str]:
    """Run the command line in this process; return its exit code and what it printed."""
    from flows.cli import main

    before, said = sys.argv, io.StringIO()
    sys.argv = ["depthmill", *map(str, words)]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                main()
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
    finally:
        sys.argv = before
    return code, said.getvalue()


def _run(folder: Path) -> tuple[int, str]:
    return command("run", folder / "recipe.yaml", "--no-prefect", "--workers", 1, "--no-report")


def _run_import(folder: Path) -> tuple[int, str]:
    return command("import", folder / "data", "--store", folder / "store")


def _run_predict(folder: Path) -> tuple[int, str]:
    import torch

    from model.semodepth.network_config import SemoDepthConfig
    from model.semodepth.predict_files import predict_files

    class Network:
        """Sees what radar says, and elsewhere the brightness of the image."""

        config = SemoDepthConfig(max_depth_m=80.0)

        def predict(self, image_u8: Any, radar_m: Any, mono_m: Any = None) -> Any:
            return torch.as_tensor(np.where(radar_m > 0, radar_m, 1 + image_u8.mean(axis=-1, dtype=np.float32) / 4))

    return _called(lambda: predict_files(Network(), folder / "data", folder / "out"))


def _run_detect(folder: Path) -> tuple[int, str]:
    from model.monoddle.image_folder import find_calibrated_images, read_calibrated_images

    def read() -> None:
        (folder / "out").mkdir()
        for frame in read_calibrated_images(find_calibrated_images(folder / "data")):
            (folder / "out" / frame.name).write_bytes(frame.image_u8.tobytes() + frame.projection.tobytes())

    return _called(read)


def _called(do: Callable[[], object]) -> tuple[int, str]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            do()
    except DepthmillError as error:
        return 1, f"{said.getvalue()}error: {error}\n"
    return 0, said.getvalue()


TARGETS: dict[str, tuple[Do, Callable[[Path], tuple[int, str]]]] = {
    "nuscenes": (_nuscenes, _run),
    "zju": (_zju, _run),
    "kitti": (_kitti, _run),
    "import": (_import, _run_import),
    "predict": (_predict, _run_predict),
    "detect": (_detect, _run_detect),
}
"""What is attacked: how the sound set is made, and what reads it."""


class Range:
    """Where attacks are tried.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._place, self._sound = folder, folder / "here", {}

    def tried(self, attack: Attack) -> Answer:
        """Try an attack on a fresh copy; what it wrote is deleted."""
        self._restore(attack.target)
        attack.apply(self._place)
        return self._judged(attack)

    def _restore(self, target: str) -> None:
        make, read = TARGETS[target]
        template = self._folder / target
        shutil.rmtree(self._place, ignore_errors=True)
        if target not in self._sound:
            self._place.mkdir(parents=True)
            make(self._place)
            shutil.copytree(self._place, template)
            code, text = read(self._place)
            assert code == 0, text
            assert "Traceback" not in text
            self._sound[target] = _content(self._place)
            shutil.rmtree(self._place)
        shutil.copytree(template, self._place)

    def _judged(self, attack: Attack) -> Answer:
        try:
            with within(LIMIT_S):
                code, text = TARGETS[attack.target][1](self._place)
        except TooLongError:
            return Answer("HANG", "")
        except BaseException:
            return Answer("CRASH", traceback.format_exc())
        if "Traceback" in text or "Error:" in text or code not in (0, 1, 2):
            return Answer("CRASH", text)
        if _STEERS.search(text):
            return Answer("RAW", text)
        if len(text) > 40_000:
            return Answer("UNNAMED", f"{len(text)} characters: {text[:500]}")
        said = any(word in text for word in attack.says)
        if code:
            return Answer("error" if said else "UNNAMED", text)
        if "warning: " in text or "frames have no" in text:
            return Answer("warning" if said else "UNNAMED", text)
        return Answer("unchanged" if _content(self._place) == self._sound[attack.target] else "SILENT", text)


_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _content(folder: Path) -> Any:
    """Return the digests of what a command made, without names that depend on the bytes of raw files."""
    if (folder / "out").exists():
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    if not (folder / "store").exists():
        return None
    store = Store(folder / "store")
    layouts = [name for name in store.files.names("") if name not in ("runs", "manifest", "jobs")]
    content = {}
    for path in (path for name in layouts for path in store.units(name)):
        files = store.lineage(path).files.items()
        content[path.layout, path.scene, path.camera] = sorted((key, file.sha256) for key, file in files if "parquet" not in key)
    return content


# --- files that are none -------------------------------------------------------------------------------------------------


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have 107 characters
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(before)


def _sparse(size: int) -> Do:
    def make(path: Path) -> None:
        with path.open("wb") as stream:
            stream.truncate(size)

    return make


NO_FILES: dict[str, Do] = {
    "a FIFO": os.mkfifo,
    "a socket": _socket,
    "a folder": lambda path: path.mkdir(),
    "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a FIFO": lambda path: (os.mkfifo(f"{path}.fifo"), path.symlink_to(f"{path}.fifo")),
    "a link to a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nowhere": lambda path: path.symlink_to("/nowhere/at/all"),
    "a link to a file of the kernel": lambda path: path.symlink_to("/proc/self/mem"),
    "a hole of 10 TB": _sparse(10**13),
    "a hole of 1 GB and more": _sparse((1 << 30) + 4096),
    "empty": lambda path: path.touch(),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "text": lambda path: path.write_text("<html>404</html>\n"),
    "NUL and escape codes": lambda path: path.write_bytes(b"\x00\x1b[2J\x1b]0;owned\x07\n"),
    "UTF-16": lambda path: path.write_bytes("abc\n".encode("utf-16")),
    "missing": lambda path: None,
}


def instead(pattern: str, make: Do, number: int = 0) -> Do:
    """Put something in place of a file."""

    def apply(folder: Path) -> None:
        path = sorted((folder / "data").glob(pattern))[number]
        path.unlink()
        make(path)

    return apply


READ_FILES: dict[str, tuple[str, ...]] = {
    "nuscenes": (
        "v1.0-mini/sample_data.json",
        "v1.0-mini/scene.json",
        "v1.0-mini/sample_annotation.json",
        "samples/CAM_FRONT/*",
        "samples/LIDAR_TOP/*",
        "sweeps/LIDAR_TOP/*",
        "samples/RADAR_FRONT/*",
    ),
    "zju": ("train.txt", "image/*", "radar_png/*", "gt/*", "gt_interp/*"),
    "kitti": (
        "ImageSets/train.txt",
        "training/image_2/*",
        "training/calib/*",
        "training/label_2/*",
        "training/velodyne/*",
    ),
    "import": (
        "training/nuscenes/nuscenes_train_image.txt",
        "training/nuscenes/nuscenes_train_D_gt.txt",
        "**/CAM_FRONT/*.jpg",
        "**/D_gt/**/*.png",
        "**/D_acc/**/*.png",
        "**/radar/**/*.npy",
    ),
    "predict": ("image/a.jpg", "image/b.png", "radar/a.npy", "radar_png/b.png"),
    "detect": ("image_2/000000.png", "calib/000000.txt"),
}
"""Target -> files that it reads, as patterns; the first of each is taken."""


def _of_files() -> Iterator[Attack]:
    for target, patterns in READ_FILES.items():
        for pattern in patterns:
            for what, make in NO_FILES.items():
                if what == "missing" and target in ("predict", "detect") and pattern.startswith("image"):
                    continue  # no list says that it should be there
                yield Attack(f"{target} {pattern} is {what}", target, instead(pattern, make), _parts(pattern))


def _parts(pattern: str) -> tuple[str, ...]:
    """Return the names in a pattern, of which an error about the file has one."""
    return tuple(part for name in pattern.split("/") if (part := name.strip("*").partition(".")[0]))


# --- images --------------------------------------------------------------------------------------------------------------


def png_of(width: int, height: int, *, bits: int = 8, color: int = 2, data: bytes = b"") -> bytes:
    """Return a PNG whose head says a size, with whatever data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data or bytes(1000))) + chunk(b"IEND", b"")


def _saved(mode: str, size: tuple[int, int], kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


def _flipped(content: bytes, *, seed: int, count: int) -> bytes:
    rng = np.random.default_rng(seed)
    noisy = np.frombuffer(content, np.uint8).copy()
    noisy[rng.integers(len(content) // 2, len(content), count)] ^= np.uint8(1) << rng.integers(0, 8, count).astype(np.uint8)
    return noisy.tobytes()


BAD_IMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bomb of 60,000 x 60,000": lambda _: png_of(60_000, 60_000),
    "a bomb of 2**31 - 1": lambda _: png_of(2**31 - 1, 2**31 - 1),
    "a bomb of 16 bits": lambda _: png_of(50_000, 50_000, bits=16, color=0),
    "0 x 0": lambda _: png_of(0, 0),
    "floats with NaN (TIFF)": lambda _: _nan_tiff(),
    "16 bits of grey": lambda _: _saved("I;16", (20, 12), "PNG"),
    "of another size": lambda _: _saved("RGB", (9, 13), "PNG"),
    "cut to a half": lambda content: content[: len(content) // 2],
    "cut by a byte": lambda content: content[:-1],
    "the middle third zero": lambda content: (
        content[: len(content) // 3] + bytes(len(content) // 3) + content[2 * len(content) // 3 :]
    ),
    "a program of PostScript": lambda _: _saved("RGB", (20, 12), "EPS"),
    "checksums that are right over data that is none": lambda _: png_of(20, 12, data=b"\x07" * 50),
}


def _nan_tiff() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((12, 20), np.nan, np.float32)).save(stream, "TIFF")
    return stream.getvalue()


def rewritten(pattern: str, change: Callable[[bytes], bytes], number: int = 0) -> Do:
    """Change the content of a file."""

    def apply(folder: Path) -> None:
        path = sorted((folder / "data").glob(pattern))[number]
        path.write_bytes(change(path.read_bytes()))

    return apply


IMAGES = {
    "nuscenes": ("samples/CAM_FRONT/*",),
    "zju": ("image/*", "gt/*", "radar_png/*"),
    "kitti": ("training/image_2/*",),
    "import": ("**/CAM_FRONT/*.jpg", "**/D_gt/**/*.png"),
    "predict": ("image/a.jpg", "image/b.png", "radar_png/b.png"),
    "detect": ("image_2/000000.png",),
}


SOUND = {"predict": ("of another size", "16 bits of grey"), "detect": ("of another size",)}
"""Changes that a folder of images may have: each is predicted in its own size, and radar maps have 16 bits."""


def _of_images() -> Iterator[Attack]:
    for target, patterns in IMAGES.items():
        for pattern in patterns:
            for what, change in BAD_IMAGES.items():
                if what in SOUND.get(target, ()) and (what == "of another size" or pattern.startswith("radar")):
                    continue
                yield Attack(f"{target} {pattern} is {what}", target, rewritten(pattern, change), (*_parts(pattern), "9x13"))


# --- values --------------------------------------------------------------------------------------------------------------


def changed(table: str, change: Callable[[list[dict[str, Any]]], object]) -> Do:
    """Change the records of a nuScenes table."""

    def apply(folder: Path) -> None:
        path = folder / "data/v1.0-mini" / f"{table}.json"
        records = json.loads(path.read_text())
        change(records)
        path.write_text(json.dumps(records))

    return apply


def _all(field: str, value: Any) -> Callable[[list[dict[str, Any]]], object]:
    return lambda records: [record.__setitem__(field, value) for record in records]


def _one(field: str, value: Any, number: int = 0) -> Callable[[list[dict[str, Any]]], object]:
    return lambda records: records[number].__setitem__(field, value)


SCENE_NAMES: dict[str, Any] = {
    "with a slash": "a/b",
    "hidden": ".hidden",
    "a dot": ".",
    "two dots": "..",
    "climbing": "../../x",
    "of 300 characters": "s" * 300,
    "of 200 umlauts": "ü" * 200,
    "null": None,
    "empty": "",
    "a number": 7,
    "blank": "   ",
    "with escape codes": "a\x1b[2Jb",
    "with a newline": "a\nb",
    "with a backslash": "a\\b",
    "with NUL": "a\0b",
    "with a half character": "a\ud800",
    "turned by a mark": "a\u202eb",
    "all": "all",
    "the other's": "scene-0103",
}


def _of_nuscenes_values() -> Iterator[Attack]:
    def attack(name: str, table: str, change: Callable[[list[dict[str, Any]]], object], *says: str) -> Attack:
        return Attack(f"nuscenes {name}", "nuscenes", changed(table, change), says or (table,))

    for what, value in SCENE_NAMES.items():
        yield attack(f"scene name {what}", "scene", _one("name", value), "scene")
    for what, value in {"zero": [0, 0, 0, 0], "NaN": [float("nan")] * 4, "of 3": [1, 0, 0], "of 1e200": [1e200] * 4}.items():
        for table in ("ego_pose", "calibrated_sensor", "sample_annotation"):
            yield attack(f"{table} rotation {what}", table, _all("rotation", value))
    for what, value in {
        "1e308": [1e308] * 3,
        "inf": [float("inf")] * 3,
        "-1e308": [-1e308, 0, 0],
        "texts": ["a", "b", "c"],
    }.items():
        for table in ("ego_pose", "calibrated_sensor", "sample_annotation"):
            yield attack(f"{table} translation {what}", table, _all("translation", value))
    for what, value in {
        "zero": np.zeros((3, 3)).tolist(),
        "1e308": (np.eye(3) * 1e308).tolist(),
        "1e-308": (np.eye(3) * 1e-308).tolist(),
        "NaN": np.full((3, 3), np.nan).tolist(),
        "a row": [1, 2, 3],
        "deep": [[[[1]]]],
    }.items():
        yield attack(f"intrinsics {what}", "calibrated_sensor", _all("camera_intrinsic", value), "intrinsic")
    for size in (-1, 0, 1e300, float("nan"), 1e-300, "x", None):
        yield attack(f"boxes of size {size}", "sample_annotation", _all("size", [size] * 3), "box", "sample_annotation")
    for time in (0, -1, 2**63, 2**62, 1.5, "1", None, 1_600_000_000_000_000):
        yield attack(f"equal times {time}", "sample", _all("timestamp", time), "timestamp", "key frames", "scene")
        yield attack(f"equal times of files {time}", "sample_data", _all("timestamp", time), "timestamp", "files", "scene")
    for side in (-5, 0, 10**9, 2**31, 2**70, 20_001, 64.5, "64", None, True):
        yield attack(f"image width {side}", "sample_data", _all("width", side), "width", "image", "whole number")
    for file in (
        None,
        "",
        "/etc/passwd",
        "../../etc/passwd",
        "a\0b",
        "x" * 5000,
        "samples",
        ".",
        "a\nb",
        "\x1b[2J",
        5,
        ["a"],
        "~/x",
    ):
        yield attack(
            f"file name {str(file)[:20]!r}",
            "sample_data",
            _one("filename", file),
            "filename",
            "file",
            "sample_data",
            "cannot read",
        )
    yield attack("no scene", "scene", lambda records: records.clear(), "scene")
    yield attack("no file", "sample_data", lambda records: records.clear(), "")
    yield attack("one token for all", "sample", _all("token", "t"))
    yield attack("tokens of lists", "sample", _all("token", []))
    yield attack("channel with a slash", "sensor", _all("channel", "a/b"), "channel")
    yield attack("channel with escape codes", "sensor", _all("channel", "\x1b[2J"), "channel")
    yield attack("one channel for all", "sensor", _all("channel", "CAM_FRONT"), "channel")
    yield attack("category with escape codes", "category", _all("name", "\x1b[2J\u202e"), "category")
    yield attack("description of 10 MB", "scene", _all("description", "x" * 10**7), "")
    yield attack("half character in a description", "scene", _all("description", "\ud800"), "")
    nested = "[" * 100_000 + "]" * 100_000
    for table in ("scene", "sample_data", "category"):
        path = f"v1.0-mini/{table}.json"
        for what, text in {
            "100,000 brackets": nested,
            "brackets in a record": f'[{{"token": "a", "name": {nested}}}]',
            "not closed": "[{",
            "a long number": f'[{{"token": "a", "x": {"9" * 10**6}}}]',
            "an object of objects": '{"a": {"token": "b"}}',
            "a list of null": "[null]",
            "a half UTF-8 character": '[{"token": "\udcff"}]',
        }.items():
            content = text.encode("utf-8", "surrogateescape")
            yield Attack(f"nuscenes {table}.json is {what}", "nuscenes", rewritten(path, lambda _, c=content: c), (table,))
    for what, value in {"NaN": np.nan, "inf": np.inf, "0": 0, "1e30": 1e30, "-1e38": -1e38, "1e-40": 1e-40}.items():
        points = np.full((320, 5), value, "<f4").tobytes()
        yield Attack(
            f"nuscenes LiDAR of {what}",
            "nuscenes",
            rewritten("samples/LIDAR_TOP/*", lambda _, p=points: p),
            ("LIDAR_TOP", "LiDAR"),
        )
        points = np.full((320, 5), value, "<f4")
        points[:5] = [1, 2, 3, 4, 5]
        yield Attack(
            f"nuscenes LiDAR of {what} but for five points",
            "nuscenes",
            rewritten("samples/LIDAR_TOP/*", lambda _, p=points: p.tobytes()),
            ("LIDAR_TOP", "LiDAR", "pixel"),
        )


def lines_of(pattern: str, change: Callable[[str], str]) -> Do:
    """Change a text file."""
    return rewritten(pattern, lambda content: change(content.decode()).encode("utf-8", "surrogateescape"))


def _of_lists() -> Iterator[Attack]:
    names = {
        "an absolute path": "/etc/passwd",
        "a path that climbs": "../../../etc/passwd",
        "escape codes": "\x1b[2J",
        "a name of 5,000 characters": "x" * 5000,
        "NUL": "a\0b",
        "a blank line": "\n\n",
        "a name twice": "{first}",
        "a bad byte": "\udcff",
        "a dot": ".",
        "a hidden name": ".hidden",
        "a mark that turns": "a\u202eb",
        "a name that is missing": "999999",
        "a separator": "a\u2028b",
        "spaces": "a b c",
    }
    for target, file in (
        ("zju", "train.txt"),
        ("kitti", "ImageSets/train.txt"),
        ("import", "training/nuscenes/nuscenes_train_image.txt"),
        ("import", "training/nuscenes/nuscenes_train_D_gt.txt"),
        ("import", "training/nuscenes/nuscenes_train_radar.txt"),
    ):
        for what, line in names.items():

            def change(text: str, line: str = line) -> str:
                first = text.splitlines()[0]
                return f"{line.replace('{first}', first)}\n{text}" if "import" != "x" else text

            yield Attack(
                f"{target} {file} has {what}", target, lines_of(file, change), (Path(file).name, Path(file).stem, "list")
            )
        yield Attack(
            f"{target} {file} has a million lines", target, lines_of(file, lambda text: "x\n" * 10**6), (Path(file).stem,)
        )
        yield Attack(
            f"{target} {file} is one line of 10 MB", target, lines_of(file, lambda text: "x" * 10**7), (Path(file).stem, "list")
        )


def _of_kitti_texts() -> Iterator[Attack]:
    for number in ("nan", "inf", "1e308", "-1e308", "1e300", "x", "1_000", "0x10", "٣"):
        yield Attack(
            f"kitti P2 has {number}", "kitti", lines_of("training/calib/000000.txt", _word("P2:", 1, number)), ("P2", "000000")
        )
        yield Attack(
            f"kitti P2 has {number} at its end",
            "kitti",
            lines_of("training/calib/000000.txt", _word("P2:", 4, number)),
            ("P2", "000000"),
        )
        yield Attack(
            f"kitti Tr_velo_to_cam has {number}",
            "kitti",
            lines_of("training/calib/000000.txt", _word("Tr_velo_to_cam:", 4, number)),
            ("Tr_velo", "000000"),
        )
        for column in (1, 2, 3, 4, 8, 11, 14):
            yield Attack(
                f"kitti label column {column} is {number}",
                "kitti",
                lines_of("training/label_2/000000.txt", _word("", column, number)),
                ("000000",),
            )
    for what, text in {
        "a line of 10 MB": "Car " + "0 " * 5_000_000,
        "a type with escape codes": "\x1b[2J 0 0 0 1 1 2 2 1 1 1 1 1 1 0",
        "a type of 5,000 characters": "x" * 5000 + " 0 0 0 1 1 2 2 1 1 1 1 1 1 0",
        "ten thousand boxes": "Car 0 0 0 1 1 2 2 1 1 1 1 1 10 0\n" * 10_000,
    }.items():
        yield Attack(f"kitti label is {what}", "kitti", lines_of("training/label_2/000000.txt", lambda _, t=text: t), ("000000",))
    for what, text in {
        "P2 twice": "P2: 1\nP2: 1\n",
        "a key of 5,000 characters": "x" * 5000 + ": 1\n",
        "a million keys": "a: 1\n" * 10**6,
    }.items():
        yield Attack(f"kitti calib is {what}", "kitti", lines_of("training/calib/000000.txt", lambda _, t=text: t), ("000000",))
    for what, value in {"NaN": np.nan, "inf": np.inf, "0": 0, "1e30": 1e30}.items():
        points = np.full((300, 4), value, "<f4").tobytes()
        yield Attack(
            f"kitti velodyne of {what}",
            "kitti",
            rewritten("training/velodyne/*", lambda _, p=points: p),
            ("000000", "velodyne", "pixel"),
        )


def _word(start: str, column: int, word: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        lines = text.splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith(start))
        words = lines[at].split()
        words[column] = word
        return "\n".join([*lines[:at], " ".join(words), *lines[at + 1 :]]) + "\n"

    return change


def _of_maps() -> Iterator[Attack]:
    """Depth maps that are images, and of which no value can be right."""
    for folder in ("gt", "gt_interp", "radar_png"):
        for what, value in {"0": 0, "65535": 65535, "1": 1}.items():

            def fill(root: Path, folder: str = folder, value: int = value) -> None:
                for path in (root / "data" / folder).iterdir():
                    with Image.open(path) as image:
                        size = image.size
                    Image.fromarray(np.full(size[::-1], value, np.uint16)).save(path)

            yield Attack(f"zju {folder} is {what} everywhere", "zju", fill, ("maps", "no pixel", "return"))

            def fill_one(root: Path, folder: str = folder, value: int = value) -> None:
                path = sorted((root / "data" / folder).iterdir())[0]
                with Image.open(path) as image:
                    size = image.size
                Image.fromarray(np.full(size[::-1], value, np.uint16)).save(path)

            if not (folder == "radar_png" and value == 0):  # a radar may see nothing in a frame
                yield Attack(f"zju one map of {folder} is {what} everywhere", "zju", fill_one, ("maps", "no pixel", "return"))


def _of_imports() -> Iterator[Attack]:
    """Depth that cannot be right in a folder in the public layout, and lists whose lines belong to other images."""
    for folder in ("D_gt", "D_acc"):
        for what, value in {"0": 0, "65535": 65535}.items():

            def fill(content: bytes, value: int = value) -> bytes:
                stream, size = io.BytesIO(), Image.open(io.BytesIO(content)).size
                Image.fromarray(np.full(size[::-1], value, np.uint16)).save(stream, "PNG")
                return stream.getvalue()

            says = ("maps", "no pixel is measured")
            yield Attack(
                f"import one map of {folder} is {what} everywhere", "import", rewritten(f"**/{folder}/**/*.png", fill), says
            )
    for name in ("D_gt", "D_acc", "radar"):
        file = f"training/nuscenes/nuscenes_train_{name}.txt"
        for what, change in {
            "turned round": lambda text: "".join(text.splitlines(keepends=True)[::-1]),
            "a line on": lambda text: "".join([*text.splitlines(keepends=True)[1:], text.splitlines(keepends=True)[0]]),
        }.items():
            yield Attack(
                f"import {file} is {what}", "import", lines_of(file, change), ("is the image of line", "joined by line number")
            )


def npy_of(header: str, data: bytes = b"") -> bytes:
    """Return a .npy file with any header."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _saved_npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _of_radar_arrays() -> Iterator[Attack]:
    contents = {
        "a shape of 10**12": npy_of("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 3), }"),
        "a shape of 10**18": npy_of("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000000, 3), }"),
        "a negative shape": npy_of("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3), }"),
        "a pickle": _saved_npy(np.array([{"a": 1}, None], object)),
        "code in its header": npy_of("__import__('os').system('true')"),
        "NaN": _saved_npy(np.full((3, 3), np.nan)),
        "inf": _saved_npy(np.full((3, 3), np.inf)),
        "1e308": _saved_npy(np.full((3, 3), 1e308)),
        "negative depth": _saved_npy(np.full((3, 3), -1.0)),
        "texts": _saved_npy(np.full((3, 3), "a")),
        "complex numbers": _saved_npy(np.full((3, 3), 1j)),
        "one dimension": _saved_npy(np.zeros(9)),
        "60 dimensions": npy_of("{'descr': '<f8', 'fortran_order': False, 'shape': " + str((1,) * 30) + ", }"),
        "brackets": npy_of("(" * 50 + ")" * 50),
    }
    for what, content in contents.items():
        for target, pattern in (("predict", "radar/a.npy"), ("import", "**/radar/**/*.npy")):
            yield Attack(f"{target} radar has {what}", target, rewritten(pattern, lambda _, c=content: c), ("radar", "npy"))


# --- recipes -------------------------------------------------------------------------------------------------------------


def _edited(change: Callable[[dict[str, Any]], object]) -> Do:
    def apply(folder: Path) -> None:
        path = folder / "recipe.yaml"
        recipe = yaml.safe_load(path.read_text())
        change(recipe)
        path.write_text(yaml.safe_dump(recipe))

    return apply


def _text(change: Callable[[str], str]) -> Do:
    def apply(folder: Path) -> None:
        path = folder / "recipe.yaml"
        path.write_bytes(change(path.read_text()).encode("utf-8", "surrogateescape"))

    return apply


def bomb(levels: int) -> str:
    """Return YAML whose aliases stand for 9**levels values."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "\n".join(lines) + "\n"


def _of_recipes() -> Iterator[Attack]:
    texts: dict[str, Callable[[str], str]] = {
        **{f"aliases {levels} deep": lambda text, n=levels: bomb(n) + text for levels in (3, 8, 9, 30)},
        "aliases in scenes": lambda text: bomb(9) + text + "scenes: *a8\n",
        "an alias of itself": lambda text: text + "scenes: &s [*s]\n",
        "a key twice": lambda text: text + text.splitlines()[-1] + "\nstore: /other\n",
        "a merged bomb": lambda text: text + "a: &a {x: 1}\nb: &b {<<: [*a, *a, *a]}\nc: {<<: [*b, *b, *b]}\n",
        "100,000 brackets": lambda text: text + "scenes: " + "[" * 100_000,
        "60 brackets": lambda text: text + "scenes: " + "[" * 60 + "]" * 60 + "\n",
        "NUL in a path": lambda text: text.replace("/data", "/da\\0ta") if False else text + 'scenes: ["a\\0b"]\n',
        "a raw NUL": lambda text: text + "scenes: [a\0b]\n",
        "two documents": lambda text: text + "---\nstore: x\n",
        "a tag of Python": lambda text: text + "scenes: !!python/object:os.system [x]\n",
        "a number of 5,000 digits": lambda text: text + f"scenes: {'9' * 5000}\n",
        "a text of 1 MB": lambda text: text + f"scenes: {'x' * 10**6}\n",
        "a key of 1 MB": lambda text: text + f"? {'x' * 10**6}\n: 1\n",
        "escape codes": lambda text: text + 'scenes: ["\\e[2J"]\n',
        "a date that is none": lambda text: text + "scenes: 2026-13-45\n",
        "an anchor of 100,000 scenes": lambda text: text + "scenes: [" + "s," * 100_000 + "]\n",
        "tabs": lambda text: text + "\tscenes: [a]\n",
        "a bad byte": lambda text: text + "# \udcff\n",
        "a mark that turns": lambda text: text + "scenes: ['a\u202eb']\n",
        "3 MB": lambda text: text + "#" * (3 << 20),
        "nothing": lambda text: "",
        "a list": lambda text: "[a, b]",
        "a text": lambda text: "hello",
        "null": lambda text: "null",
    }
    for what, change in texts.items():
        yield Attack(f"recipe has {what}", "zju", _text(change), ("recipe", "scenes"))
    values: dict[str, Callable[[dict[str, Any]], object]] = {
        "cameras twice": lambda r: r.update(cameras=["CAM_FRONT", "CAM_FRONT"]),
        "scenes twice": lambda r: r.update(scenes=["train-0000", "train-0000"]),
        "splits twice": lambda r: r["source"].update(splits=["train", "train"]),
        "no split": lambda r: r["source"].update(splits=[]),
        "store in memory": lambda r: r.update(store="memory://x"),
        "store chained": lambda r: r.update(store=f"{r['store']}/a::b"),
        "store chained with a scheme": lambda r: r.update(store="simplecache::s3://b/x"),
        "store of an unknown scheme": lambda r: r.update(store="foo://user:secret@host/x"),
        "store at a URL that is read only": lambda r: r.update(store="https://user:secret@127.0.0.1:9/x"),
        "store in a scheme without a folder": lambda r: r.update(store="reference://x"),
        "store of nobody's home": lambda r: r.update(store="~no-such-user/x"),
        "store with one slash too few": lambda r: r.update(store="s3:/bucket/x"),
        "store without a bucket": lambda r: r.update(store="s3://"),
        "store empty": lambda r: r.update(store=""),
        "store blank": lambda r: r.update(store="  "),
        "store of 5,000 characters": lambda r: r.update(store="/" + "x" * 5000),
        "store is /dev/null": lambda r: r.update(store="/dev/null"),
        "store below a file": lambda r: r.update(store=f"{r['source']['root']}/train.txt/store"),
        "store with escape codes": lambda r: r.update(store="/proc/\x1b[2J"),
        "root is a file": lambda r: r["source"].update(root=f"{r['source']['root']}/train.txt"),
        "root of 5,000 characters": lambda r: r["source"].update(root="/" + "x" * 5000),
        "root empty": lambda r: r["source"].update(root=""),
        "frames_per_scene of 10**9": lambda r: r["source"].update(frames_per_scene=10**9),
        "frames_per_scene of 0": lambda r: r["source"].update(frames_per_scene=0),
        "frames_per_scene of NaN": lambda r: r["source"].update(frames_per_scene=float("nan")),
        "intrinsics of NaN": lambda r: r["source"].update(intrinsic_px=[float("nan")] * 9),
        "intrinsics of 1e308": lambda r: r["source"].update(intrinsic_px=[1e308] * 9),
        "intrinsics of 0": lambda r: r["source"].update(intrinsic_px=[0.0] * 9),
    }
    for what, change in values.items():
        yield Attack(f"recipe has {what}", "zju", _edited(change), ("store", "source", "cameras", "scenes", "a path is too long"))
    keys = {
        "accumulate_lidar": {"num_sweeps": (10**6, 0, -1, 1.5, float("nan"), "x", 10**30)},
        "clean_horizon": {"near_m": (float("nan"), float("inf"), -1, 0), "window_px": (10**9, 2), "upper_fraction": (2, -1)},
        "project_radar": {"past_sweeps": (10**6,), "channels": (["a/b"], ["RADAR_FRONT", "RADAR_FRONT"], ["\x1b[2J"])},
        "index_windows": {"num_frames": (10**9,), "stride": (0,)},
    }
    for stage, fields in keys.items():
        for field, wrongs in fields.items():
            for wrong in wrongs:

                def change(recipe: dict[str, Any], stage: str = stage, field: str = field, wrong: Any = wrong) -> None:
                    recipe.setdefault("stages", {}).setdefault(stage, {})[field] = wrong

                yield Attack(f"recipe has {stage}.{field} = {wrong!r}", "nuscenes", _edited(change), (field,))


def attacks() -> list[Attack]:
    """Return every attack, in a fixed order."""
    return [
        *_of_files(),
        *_of_images(),
        *_of_nuscenes_values(),
        *_of_lists(),
        *_of_kitti_texts(),
        *_of_maps(),
        *_of_imports(),
        *_of_radar_arrays(),
        *_of_recipes(),
    ]
