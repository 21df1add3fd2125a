"""Claims: which part of the supervision brings what, on exact depth and on real drives with the key sweep held out.

Worlds   simulated drives whose exact depth is known: "full" 1600x900 of 20 s, one scene a seed; "half" 800x450 of 6 s, four
         scenes a seed. Seeds 0 to 9 were looked at while values were chosen; figures to publish come from others
Drives   nuScenes databases given by --drives NAME=ROOT[=NEIGHBOURS]; their key sweep is held out, and NEIGHBOURS on either side
Rows     the recipe with every addition; the published one; each addition left out; each addition alone
Removed  what an addition took away: the pixels that the recipe without it has and the full one has not, and how many were good
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import measure  # isort: skip  (before numpy: it limits the thread pools)

WORLDS = {
    "full": {"kind": "synthetic", "scenes": 1, "seconds": 20, "image_size": [1600, 900]},
    "half": {"kind": "synthetic", "scenes": 4, "seconds": 6, "image_size": [800, 450]},
}
SMALL_WORLD = {"kind": "synthetic", "scenes": 1, "seconds": 2, "image_size": [320, 180], "lidar_azimuth_steps": 100}
GOALS = {"full": (0.35, 0.6, 0.08, 35.0), "half": (0.5, 0.8, 0.09, 48.0)}
"""What the figures are held against: gross and bad pixels at most, %; MAE of the others at most, m; coverage at least, %."""

ADDITIONS: dict[str, dict[str, Any]] = {
    "accumulate_lidar": {
        "own_car_m": 2.5,
        "free_space": {},
        "behind_moving": "drop",
        "surface": "front",
        "least_front_share": 0.2,
    },
    "clean_horizon": {"occluded": {}},
}
"""The parts, where a stage has them; --set changes one, and preset: surface takes their place once it sets any."""


def main() -> None:
    parser = measure.arguments(__doc__, data=measure.DATA / "supervision_ablation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of the simulated worlds")
    parser.add_argument("--worlds", nargs="*", choices=[*WORLDS], default=[*WORLDS])
    parser.add_argument("--drives", nargs="*", default=[], help="NAME=ROOT[=NEIGHBOURS] of nuScenes databases")
    parser.add_argument("--frames", type=int, default=1_000_000, help="key frames of a seed or drive at most, evenly")
    parser.add_argument(
        "--set", action="append", default=[], help="change a key of the recipe, e.g. stages.accumulate_lidar.moving=carry"
    )
    parser.add_argument("--only-totals", action="store_true", help="the full and the published recipe alone")
    parser.add_argument("--at-once", type=int, default=1, help="seeds and drives side by side, one process each")
    args = measure.parsed(parser, seeds=[0], worlds=["half"], frames=3)
    jobs = [(world, seed) for world in args.worlds for seed in args.seeds]
    jobs += [(drive, None) for drive in args.drives]
    print(measure.machine())
    with ProcessPoolExecutor(args.at_once) as pool:
        done = list(pool.map(_measured, [args] * len(jobs), jobs))
    for name in dict.fromkeys(job[0] for job in jobs):
        _print_tables(name, [summary for (world, _), summary in zip(jobs, done, strict=True) if world == name], args)


def _measured(args: argparse.Namespace, job: tuple[str, int | None]) -> Any:
    """Return the sums of one seed or drive."""
    from flows.assessment.summary import Summary
    from flows.run.opening import open_recipe
    from flows.settings import Settings
    from pipeline.assessment.assess import Contender, assess_frames, reference_kind, sampled_frames
    from pipeline.assessment.variants import additions_of, only, published, without
    from pipeline.plan import make_plan

    name, seed = job
    recipe, neighbours = _recipe(args, name, seed)
    opened = open_recipe(recipe, Settings())
    opened.source.prepare(num_workers=1)
    variants = {"all of it": recipe, "published": published(recipe)}
    if not args.only_totals:
        variants |= {f"without {part}": without(recipe, part) for part in additions_of(recipe)}
        variants |= {f"only {part}": only(recipe, part) for part in additions_of(recipe)}
    contenders = [Contender(key, one, make_plan(one, opened.source, opened.store)) for key, one in variants.items()]
    plan, raw = contenders[0].plan, opened.source.reader()
    against = reference_kind(plan, None)
    summary = Summary(against, neighbours, tuple(variants))
    frames = sampled_frames(plan, raw, (), most=args.frames)
    for of_frame in assess_frames(contenders, frames, opened.store, raw, against=against, neighbours=neighbours):
        summary.add([errors for errors in of_frame if errors.layout in ("depth_accumulated", "depth_clean")])
    return summary


def _recipe(args: argparse.Namespace, name: str, seed: int | None) -> tuple[Any, int]:
    """Return the recipe of a world or a drive with every addition, and how many neighbours of a key sweep are held out."""
    from pipeline.assessment.variants import additions_of
    from pipeline.recipe import parse_recipe
    from pipeline.stage_list import stage_named

    if seed is None:
        _, root, *neighbours = name.split("=")
        source: dict[str, Any] = {"kind": "nuscenes", "root": root, "version": "v1.0-mini"}
    else:
        world = SMALL_WORLD if args.small else WORLDS[name]
        folder = args.data / f"{name}{'-small' if args.small else ''}-{seed}"
        source, neighbours = {**world, "seed": seed, "root": str(folder)}, []
    data: dict[str, Any] = {"source": source, "store": str(args.data / "no-store"), "cameras": ["CAM_FRONT"]}
    data["preset"] = "surface"
    if not additions_of(parse_recipe(data, where="ablation")):
        fields = {stage: stage_named(stage).params.model_fields for stage in ADDITIONS}
        data["stages"] = {
            stage: {key: value for key, value in params.items() if key in fields[stage]} for stage, params in ADDITIONS.items()
        }
    for change in args.set:
        _apply(data, change)
    return parse_recipe(data, where="ablation"), int(neighbours[0]) if neighbours else 0


def _apply(data: dict[str, Any], change: str) -> None:
    import yaml

    path, _, value = change.partition("=")
    *parents, last = path.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
    data[last] = yaml.safe_load(value)


def _print_tables(name: str, summaries: list[Any], args: argparse.Namespace) -> None:
    from flows.assessment.tables import change_text
    from pipeline.kernels.depth_errors import ErrorReadings, add_groups

    layout = "depth_clean"
    sums = {
        key: _sum(add_groups, [summary.groups.get((key, layout), {}) for summary in summaries]) for key in summaries[0].contenders
    }
    scenes = sum(summary.num_scenes for summary in summaries)
    title = name.split("=")[0]
    against = "exact depth" if summaries[0].against == "truth" else "the key sweep, held out"
    frames = sum(summary.num_frames for summary in summaries)
    print(f"\n### {title}: {frames} frames of {scenes} scenes against {against}")
    print(
        "| recipe | coverage | gross | near | far | signed m | MAE m | bad | bad near | gross ambiguous (chance) | bad ambiguous (chance) |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for key, groups in sums.items():
        errors = groups.get(("all", "all"), ErrorReadings())
        counts = errors.plain
        cells = [f"{100 * counts.coverage:.2f} %"]
        cells += [_percent(share) for share in (counts.gross_share, counts.near_share, counts.far_share)]
        cells += [f"{counts.signed_m:+.3f}", f"{counts.mae_m:.3f}", _percent(counts.bad_share), _percent(counts.bad_near_share)]
        cells += [
            f"{_whole(errors.gross_ambiguous)} ({_whole(errors.gross_by_chance)})",
            f"{_whole(errors.bad_ambiguous)} ({_whole(errors.bad_by_chance)})",
        ]
        print(f"| {key} | {' | '.join(cells)} |")
    if title in GOALS and not args.small:
        _print_goals(sums["all of it"]["all", "all"].plain, GOALS[title])
    change = change_text(*(sums[key].get(("all", "all"), ErrorReadings()).plain for key in ("all of it", "published")))
    print(f"\n{title}, all of it to published: {change}")
    print(
        f"\n| {title}, removed by | of the measured pixels | compared | good | good at a boundary | too near | too far | good of scattered returns |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for key, groups in sums.items():
        removed, total = groups.get(("removed", key), ErrorReadings()), groups.get(("all", "all"), ErrorReadings()).plain
        if key == "all of it" or key.startswith("only "):
            continue
        counts, boundary = removed.plain, removed.boundary
        cells = [_percent(counts.measured / total.measured if total.measured else 0.0), f"{counts.compared:,}"]
        cells += [_whole(counts.good_share), _whole(boundary.good_share), _percent(counts.near_share), _percent(counts.far_share)]
        scattered = groups.get(("removed, shape", "scattered"), ErrorReadings()).plain
        cells += [f"{_whole(scattered.good_share)} of {scattered.compared:,}" if scattered.compared else "-"]
        print(f"| {'all of it' if key == 'published' else key.removeprefix('without ')} | {' | '.join(cells)} |")


def _print_goals(counts: Any, goals: tuple[float, float, float, float]) -> None:
    gross, bad, mae, coverage = goals
    rows = [
        ("gross", 100 * counts.gross_share, "at most", gross, 100 * counts.gross_share <= gross),
        ("bad", 100 * counts.bad_share, "at most", bad, 100 * counts.bad_share <= bad),
        ("MAE", counts.mae_m, "at most", mae, counts.mae_m <= mae),
        ("coverage", 100 * counts.coverage, "at least", coverage, 100 * counts.coverage >= coverage),
    ]
    print(
        "\n"
        + "; ".join(
            f"{what} {value:.3f} ({word} {goal}: {'reached' if ok else 'MISSED'})" for what, value, word, goal, ok in rows
        )
    )


def _sum(add: Any, groups: list[Any]) -> Any:
    total: Any = {}
    for one in groups:
        total = add(total, one)
    return total


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.3f} %"


def _whole(share: float) -> str:
    return "-" if share != share else f"{100 * share:.0f} %"


if __name__ == "__main__":
    main()
