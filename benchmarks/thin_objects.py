"""Claim: the votes of other sweeps (`free_space`) drop most returns of wires, some of leaves and posts, hardly any of fences and trunks.

World  the simulated street at nuScenes size (20 s, 20 sweeps a second) with thin things put up along it: `THIN`
Truth  the ray of each return is cast again: what it meets there tells the kind, and a return well before it is airborne
Poses  have the simulator's errors, as those of every simulated drive
Limit  a simulated beam has no width. A real one is 5 to 10 cm wide at 30 m, so it meets wires more often than here
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
from world import AZIMUTH_STEPS, SMALL_AZIMUTH_STEPS

from pipeline.free_space_choice import FreeSpace
from pipeline.geometry import rigid
from pipeline.kernels.free_space import vote
from pipeline.kernels.range_table import RangeTable, TableMaker
from pipeline.kernels.trajectory import exponential
from pipeline.sources.synthetic import SyntheticParams
from pipeline.sources.synthetic.actors import Material
from pipeline.sources.synthetic.drive import Drive, make_drive
from pipeline.sources.synthetic.lidar.plain import scan
from pipeline.sources.synthetic.rays.raycast import cast_rays
from pipeline.sources.synthetic.rig import LIDAR, build_rig
from pipeline.sources.synthetic.rigid import Pose
from pipeline.sources.synthetic.route import Route
from pipeline.sources.synthetic.simulate import JITTER_DEG, JITTER_M
from pipeline.sources.synthetic.solids import Piece, Solids
from pipeline.sources.synthetic.world import make_world

THIN = ("wire across, 2 cm", "cable across, 5 cm", "wire along, 2 cm", "leaf of 8 cm", "sign post, 6 cm", "fence bar, 2 cm")
THICK = {
    Material.POLE: "lamp post, 18 cm",
    Material.TRUNK: "trunk",
    Material.CROWN: "solid crown",
    Material.BUILDING: "house",
    Material.GROUND: "ground",
}
KINDS = (*THIN, *THICK.values(), "airborne")
OTHER = len(KINDS)
"""Returns of cars and walkers, which `moving: drop` takes out by their boxes, and those beside what their ray meets."""

FIRST_OWNER = -2
"""A thin piece carries its kind as its owner: -2, -3, ...; the simulator's own pieces have -1 and more."""

GOOD_WITHIN_M = 0.15

CHOICES = {
    "default": FreeSpace(),
    "outvote 2, least_free 3": FreeSpace(outvote=2.0, least_free=3),
    "all offsets are scouts": FreeSpace(scouts=FreeSpace().offsets),
    "far_rule off": FreeSpace(far_rule=False),
}


class Returns(NamedTuple):
    """What `vote` takes of one drive, and the kind (n,) of each return as a number of `KINDS`."""

    xyz: np.ndarray
    columns_of: np.ndarray
    tables: dict[int, RangeTable]
    sweeps: list[dict[str, Any]]
    world_from_sensor: np.ndarray
    kind: np.ndarray

    def are_dropped(self, choice: FreeSpace) -> np.ndarray:
        """Return (n,) bool: the votes drop the return."""
        dropped = np.zeros(len(self.kind), bool)
        dropped[vote(self.xyz, self.columns_of, self.tables, self.sweeps, self.world_from_sensor, choice).dropped] = True
        return dropped


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="one drive each")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a drive")
    args = measure.parsed(parser, seeds=[0], seconds=3.0)
    steps = SMALL_AZIMUTH_STEPS if args.small else AZIMUTH_STEPS
    num_returns = np.zeros((len(args.seeds), OTHER + 1), int)
    num_dropped = np.zeros((len(args.seeds), len(CHOICES), OTHER + 1), int)
    for place, seed in enumerate(args.seeds):
        returns = scanned_street(SyntheticParams(seed=seed, scenes=1, seconds=args.seconds, lidar_azimuth_steps=steps))
        num_returns[place] = np.bincount(returns.kind, minlength=OTHER + 1)
        for number, choice in enumerate(CHOICES.values()):
            dropped = returns.kind[returns.are_dropped(choice)]
            num_dropped[place, number] = np.bincount(dropped, minlength=OTHER + 1)
    _print_table(num_returns, num_dropped, args.seeds)


def _print_table(num_returns: np.ndarray, num_dropped: np.ndarray, seeds: list[int]) -> None:
    """Print shares of all drives together, and those of the default for each; counts (seeds, kinds) and (seeds, choices, kinds)."""
    each = ", ".join(map(str, seeds))
    print(f"| % of the returns that are dropped | returns | {' | '.join(CHOICES)} | default, seeds {each} |")
    print("|---" * (len(CHOICES) + 3) + "|")
    for kind, name in enumerate(KINDS):
        counts = num_returns[:, kind]
        together = [_percent(dropped, counts.sum()) for dropped in num_dropped[:, :, kind].sum(axis=0)]
        by_seed = [_percent(dropped, count) for dropped, count in zip(num_dropped[:, 0, kind], counts, strict=True)]
        print(f"| {name} | {counts.sum():,} | {' | '.join(together)} | {', '.join(by_seed)} |")


def scanned_street(params: SyntheticParams) -> Returns:
    """Return what the scanner measures on the first drive of a world, thin things put up along it."""
    drive = make_drive(params, 0)
    world = make_world(params, drive, 0)
    thin = tuple(_thin_pieces(world.route, np.random.default_rng((params.seed, 100))))
    world = dataclasses.replace(world, standing=(*world.standing, *thin))
    maker, tables, planar, kinds, poses = TableMaker(), {}, [], [], _lidar_poses(params, drive)
    for number, (pose, time_us) in enumerate(zip(poses, drive.sweep_us.tolist(), strict=True)):
        solids = world.at(time_us)
        rng = np.random.default_rng((params.seed, 101, number))
        points = scan(solids, pose, azimuth_steps=params.lidar_azimuth_steps, rng=rng)
        tables[number] = maker.table_of(points)
        planar.append(points[:, :3].T)
        kinds.append(_kinds_of(points, solids, pose))
    ends = np.cumsum([len(kind) for kind in kinds])
    columns_of = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
    sweeps = [{"channel": LIDAR, "chain": 0, "timestamp_us": time_us} for time_us in drive.sweep_us.tolist()]
    return Returns(
        np.concatenate(planar, axis=1), columns_of, tables, sweeps, _as_recorded(poses, params.seed), np.concatenate(kinds)
    )


def _thin_pieces(route: Route, rng: np.random.Generator) -> Iterator[Piece]:
    """Yield what is put up along the street: wires over it, and fences, posts and bushes beside it."""

    def box(kind: str, s_m: float, left_m: float, height_m: float, *half_sizes_m: float) -> Piece:
        x, y = (float(value) for value in route.place(s_m, left_m))
        yaw = float(route.yaw_at(s_m))
        return _thin("box", kind, (x, y, height_m, *half_sizes_m, float(np.cos(yaw)), float(np.sin(yaw))))

    first, last = route.s_m[0] + 20.0, route.s_m[-1] - 20.0
    for s in np.arange(first, last, 60.0):
        yield box("wire across, 2 cm", s, 1.8, 6.0, 0.01, 9.0, 0.01)
        yield box("cable across, 5 cm", s + 30.0, 1.8, 5.5, 0.025, 9.0, 0.025)
    for s in np.arange(first, last, 20.0):
        yield box("wire along, 2 cm", s, -3.5, 5.5, 10.0, 0.01, 0.01)
    for s in np.arange(first, last, 40.0):
        for bar in range(60):  # one every 12 cm, 1.4 m high
            yield box("fence bar, 2 cm", s + 0.12 * bar, -5.5, 0.7, 0.01, 0.01, 0.7)
        x, y = (float(value) for value in route.place(s + 10.0, -5.8))
        yield _thin("cylinder", "sign post, 6 cm", (x, y, 0.03, 0.0, 2.5))
        for along, left, up in rng.normal(0.0, (1.0, 0.8, 0.9), (250, 3)):  # a crown of 4 m that one looks through
            yield box("leaf of 8 cm", s + 20.0 + along, 9.0 + left, 3.5 + up, 0.04, 0.04, 0.04)


def _thin(shape: str, kind: str, numbers: tuple[float, ...]) -> Piece:
    return Piece(shape, numbers, Material.POLE, (0.0, 0.0, 0.0), owner=FIRST_OWNER - THIN.index(kind))


def _kinds_of(points: np.ndarray, solids: Solids, pose: Pose) -> np.ndarray:
    """Return the kind (n,) uint8 of each return: what its ray meets."""
    range_m = np.linalg.norm(points[:, :3].astype(np.float64), axis=1)
    directions = (points[:, :3] / range_m[:, None]) @ pose.rotation.T
    true_m, hit = cast_rays(solids.primitives, pose.translation_m, directions, limit=100.0)
    met = np.maximum(hit, 0)
    owner, material = solids.owners[met], solids.materials[met]
    kind = np.full(len(points), OTHER, np.uint8)
    for one, name in THICK.items():
        kind[(material == one) & (owner == -1)] = KINDS.index(name)
    is_thin = owner <= FIRST_OWNER
    kind[is_thin] = FIRST_OWNER - owner[is_thin]
    kind[(hit < 0) | (np.abs(range_m - true_m) >= GOOD_WITHIN_M)] = OTHER
    kind[range_m < true_m - GOOD_WITHIN_M] = KINDS.index("airborne")
    return kind


def _lidar_poses(params: SyntheticParams, drive: Drive) -> list[Pose]:
    rig = build_rig(params.cameras, radars=params.radars, image_size=params.image_size, calibration=drive.calibration)
    return [drive.world_from_ego.at(time_us) @ rig[LIDAR].ego_from_sensor for time_us in drive.sweep_us.tolist()]


def _as_recorded(poses: list[Pose], seed: int) -> np.ndarray:
    """Return poses (n, 4, 4) with independent errors of the simulator's size."""
    size = [JITTER_M, JITTER_M, JITTER_M / 2] + [np.deg2rad(JITTER_DEG) / np.sqrt(3.0)] * 3
    errors = np.random.default_rng((seed, 102)).normal(0.0, 1.0, (len(poses), 6)) * size
    return np.stack([rigid(pose.translation_m, pose.quaternion) for pose in poses]) @ exponential(errors)


def _percent(part: int, whole: int) -> str:
    """Return a share in percent with two digits that count, and a dash where there is nothing."""
    share = 100 * part / whole if whole else None
    return "-" if share is None else f"{share:.0f}" if share >= 10 else f"{share:.1f}" if share >= 1 else f"{share:.2f}"


if __name__ == "__main__":
    main()
