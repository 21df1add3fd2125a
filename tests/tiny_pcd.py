"""Write small .pcd files of every kind for tests."""

from __future__ import annotations

import struct

import numpy as np

LETTERS = {"f": "F", "i": "I", "u": "U"}


def encode_pcd(points: np.ndarray, *, kind: str = "binary", newline: str = "\n") -> bytes:
    """Return a .pcd of a structured array (n,); fields whose names begin with _ are written as padding."""
    names = points.dtype.names
    bases = [points.dtype[name].base for name in names]
    counts = [int(np.prod(points.dtype[name].shape, dtype=int)) for name in names]
    header = newline.join(
        [
            "# .PCD v0.7 - Point Cloud Data file format",
            "VERSION 0.7",
            f"FIELDS {' '.join('_' if name.startswith('_') else name for name in names)}",
            f"SIZE {' '.join(str(base.itemsize) for base in bases)}",
            f"TYPE {' '.join(LETTERS[base.kind] for base in bases)}",
            f"COUNT {' '.join(map(str, counts))}",
            f"WIDTH {len(points)}",
            "HEIGHT 1",
            "VIEWPOINT 0 0 0 1 0 0 0",
            f"POINTS {len(points)}",
            f"DATA {kind}",
            "",
        ]
    ).encode()
    if kind == "binary":
        return header + points.tobytes()
    if kind == "ascii":
        rows = [[value for name in names for value in np.atleast_1d(point[name]).tolist()] for point in points]
        return header + "".join(f"{' '.join(map(repr, row))}{newline}" for row in rows).encode()
    raw = b"".join(np.ascontiguousarray(points[name]).tobytes() for name in names)
    packed = encode_lzf(raw)
    return header + struct.pack("<II", len(packed), len(raw)) + packed


def encode_lzf(raw: bytes) -> bytes:
    """Return an LZF block: a run of a byte becomes one copy, and what was seen 3 bytes at a time before becomes another."""
    out, literal, seen, at = bytearray(), bytearray(), {}, 0

    def flush() -> None:
        for start in range(0, len(literal), 32):
            part = literal[start : start + 32]
            out.append(len(part) - 1)
            out.extend(part)
        literal.clear()

    while at < len(raw):
        key = raw[at : at + 3]
        before = seen.get(key) if len(key) == 3 else None
        seen[key] = at
        if before is None or at - before > 8192:
            literal.append(raw[at])
            at += 1
            continue
        count = 3
        while count < 264 and at + count < len(raw) and raw[before + count] == raw[at + count]:
            count += 1
        flush()
        back, size = at - before - 1, count - 2
        out.append((min(size, 7) << 5) | (back >> 8))
        if size >= 7:
            out.append(size - 7)
        out.append(back & 255)
        at += count
    flush()
    return bytes(out)
