"""A store with made-up maps whose errors are known, and what reads a page back; for the tests of the report."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from flows.reports.store import depth_errors
from pipeline.plan import Plan
from pipeline.stage_list import STAGES
from pipeline.types import ALL, WorkItem
from storage_schemas.catalog import MANIFEST
from storage_schemas.layout import UnitData, columns_from_rows
from storage_schemas.lineage import Identity, SourceRef
from storage_schemas.store import Store

HEIGHT, WIDTH, NUM_FRAMES = 48, 80, 6
DEPTHS = ("depth_single", "depth_accumulated", "depth_clean", "depth_truth")


def fabricated_maps(seed: int) -> dict[str, np.ndarray]:
    """Maps with ghosts before the truth, some of which cleaning removes, and a few good pixels lost."""
    random = np.random.default_rng(seed)
    shape = (NUM_FRAMES, HEIGHT, WIDTH)
    truth = random.uniform(3, 120, shape)
    truth[:, :8] = 0
    accumulated = np.where(truth > 0, truth + random.normal(0, 0.2, shape), 0)
    ghost = random.random(shape) < 0.06
    accumulated[ghost] = random.uniform(4, 60, int(ghost.sum()))
    accumulated[random.random(shape) > 0.5] = 0
    clean = accumulated * ~(ghost & (random.random(shape) < 0.7)) * (random.random(shape) > 0.01)
    single = np.where(random.random(shape) < 0.03, accumulated, 0)
    surface = random.integers(1, 5, shape).astype(np.uint8)
    surface[truth == 0] = 0
    steps = {
        name: (np.clip(m, 0, 255) * 256).astype(np.uint16)
        for name, m in zip(DEPTHS, (single, accumulated, clean, truth), strict=True)
    }
    return {**steps, "surface": surface}


def jpeg_bytes(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(buffer, "JPEG")
    return buffer.getvalue()


class Fabric:
    """Writes units of a made-up store and collects the plan that asks for them."""

    def __init__(self, root) -> None:
        self.store, self.items = Store(root), []
        self.times = np.arange(NUM_FRAMES, dtype=np.int64) * 500_000 + 1_600_000_000_000_000

    def add(self, layout: str, scene: str, camera: str, data: UnitData | None, *, seconds=0.25, **counts: float) -> None:
        stage = next(stage for stage in STAGES if stage.writes.name == layout)
        identity = Identity(
            stage=stage.name,
            stage_version=1,
            layout=layout,
            layout_version=stage.writes.version,
            scene=scene,
            camera=camera,
            params={"note": "<b>5</b>"},
            inputs={},
            source=SourceRef(release="made/up", digest="0"),
        )
        if data is not None:
            self.store.write_unit(identity, data, seconds=seconds, counts={"frames": NUM_FRAMES, **counts})
        self.items.append(WorkItem(stage.name, identity, {}, None if data is not None else "new"))

    def add_scene(self, scene: str, seed: int, *, truth=True, radar=True, mode="bytes", night=False) -> dict[str, np.ndarray]:
        maps, common = fabricated_maps(seed), {"timestamp_us": self.times}
        frames = {
            "keyframes": [],
            "sweeps": [],
            "boxes": [],
            "scene": [{"scene": scene, "split": "val", "description": "", "is_night": night, "num_keyframes": NUM_FRAMES}],
        }
        layout = next(stage.writes for stage in STAGES if stage.writes.name == "frames")
        tables = {name: columns_from_rows(layout.table(name), found) for name, found in frames.items()}
        self.add("frames", scene, ALL, UnitData(tables=tables))
        images = [jpeg_bytes(seed + k) for k in range(NUM_FRAMES)]
        sizes = np.array([len(one) for one in images], np.int32)
        encoded = np.zeros((NUM_FRAMES, sizes.max()), np.uint8)
        for k, one in enumerate(images):
            encoded[k, : len(one)] = np.frombuffer(one, np.uint8)
        files = {"file": ["f"] * NUM_FRAMES, "num_bytes": sizes.tolist(), "sha256": [""] * NUM_FRAMES}
        self.add(
            "images",
            scene,
            "CAM_FRONT",
            UnitData({**common, "num_bytes": sizes, **({"encoded": encoded} if mode == "bytes" else {})}, {"files": files}),
        )
        if radar:
            of = np.repeat(np.arange(NUM_FRAMES, dtype=np.int32), 3)
            n = len(of)
            points = {
                "u_px": np.linspace(5, 70, n),
                "v_px": np.full(n, 20.0),
                "depth_m": np.linspace(3, 90, n),
                "rcs_dbsm": np.zeros(n, "f4"),
                "vx_comp_mps": np.zeros(n, "f4"),
                "vy_comp_mps": np.zeros(n, "f4"),
                "sensor": np.zeros(n, "u1"),
                "frame_of_point": of,
                "num_points": np.full(NUM_FRAMES, 3, np.int32),
            }
            self.add("radar_points", scene, "CAM_FRONT", UnitData({**common, **points}), points_per_frame=3.0)
        for name in DEPTHS if truth else DEPTHS[:3]:
            num = np.count_nonzero(maps[name], axis=(1, 2)).astype(np.int32)
            more = {
                "depth_accumulated": {"num_sweeps": num, "num_points": num.astype(np.int64)},
                "depth_truth": {"surface": maps["surface"]},
                "depth_clean": dict.fromkeys(("num_candidates", "num_by_mono", "num_by_window"), num * 0),
            }.get(name, {})
            if name == "depth_clean":
                more["num_dropped"] = (np.count_nonzero(maps["depth_accumulated"], axis=(1, 2)) - num).astype(np.int32)
            self.add(
                name,
                scene,
                "CAM_FRONT",
                UnitData({"depth_m": maps[name], "num_measured": num, **common, **more}),
                share_measured=float(num.mean() / (HEIGHT * WIDTH)),
                share_dropped=0.01,
            )
        return maps

    def plan(self, *, samples: int = 0, built: bool = True) -> Plan:
        spec = MANIFEST.table("samples")
        rows = [
            {
                column.name: [1.0] if column.type.startswith("list") else "" if column.type == "string" else 0
                for column in spec.columns
            }
            for _ in range(samples)
        ]
        for row in rows:
            row.update(scene="scene-a", camera="CAM_FRONT", split="train", is_night=False)
        self.add("manifest", ALL, ALL, UnitData(tables={"samples": columns_from_rows(spec, rows)}) if built else None)
        return Plan(tuple(self.items))


def words(page: str) -> str:
    """The page's text as a reader sees it."""
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S).replace("\N{NO-BREAK SPACE}", " "))


def pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def plainly(before, after, truth) -> dict[str, float]:
    """The definitions once more, in metres and floating point, as the README words them."""
    old, new, true = (values.astype(float) / 256 for values in (before, after, truth))
    wrong = [(m > 0) & ((true == 0) | ((abs(m - true) > 10) & (abs(m - true) > 0.1 * true))) for m in (old, new)]
    good = (old > 0) & ~wrong[0]
    with_truth = (old > 0) & (true > 0)
    return {
        "before": wrong[0].sum() / (old > 0).sum(),
        "after": wrong[1].sum() / (new > 0).sum(),
        "good_lost": (good & (new == 0)).sum() / good.sum(),
        "removed": (wrong[0] & (new == 0)).sum() / wrong[0].sum(),
        "median": np.median(abs(old - true)[with_truth]),
        "coverage": (old > 0).mean(),
    }


def same_as_plainly(group: depth_errors.BeforeAfter, want: dict[str, float]) -> bool:
    got = {
        "before": group.before.gross_share,
        "after": group.after.gross_share,
        "good_lost": group.good_lost_share,
        "removed": group.gross_removed_share,
        "median": group.before.median_error_m,
        "coverage": group.before.coverage,
    }
    return got == pytest.approx(want, rel=1e-12)
