"""Claim: dense depth distillation makes a monocular detector better, and the uncertainty finds where the teacher is wrong.

World     that of supervision_study.py: 28 simulated drives of 8 s at 800x450, 240 images to train on, 180 to measure on, all annotated;
          exact depth is known at every pixel; --world chooses which
Teachers  exact depth on a grid of 112 rows; the same wrong by chance: smooth relative noise of 5 % and a fifth of the image covered by
          patches of a wrong depth, of which the image says nothing; the same wrong far away: beyond 25 m every frame's depth is
          multiplied by a number of its own (its logarithm has a deviation of 0.5), as the teachers that there are fail with distance;
          the same wrong in scale: all of it times 1.2, as with a wrong focal length; and that, scaled by the annotated boxes
Network   MonoDDLE's DLA-34 with widths 8 8 16 32 48 64 and heads of 32 (0.6 M parameters), input 160x288, from scratch, the same few
          hundred steps for every way; small because two cores must do it. Read differences, not absolute numbers
Measures  cars: AP_R40 with overlaps 0.5 (3D and from above), least heights scaled with the images; error of depth of the cars that are
          found (2D overlap above 0.5) and nearer than 40 m; error of dense depth against the truth; mean log scale s of the uncertainty
          head where the teacher is wrong by more than a tenth, and where it is right
Table     the last row sees no image: the median exact depth of each pixel over the training frames, on the network's grid
Seeds     of weights, order and views; mean and spread (largest minus smallest)
Pairs     the mean over seeds of each way's AP, minus that of the first way; one interval is over scenes, both drawn alike. The other
          is over seeds (Student's t of the paired differences), for these few trainings are a draw too
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

import measure  # isort: skip  (before numpy and torch: it limits the thread pools)

import numpy as np
from scipy.stats import t as student_t
from study_store import made_manifest, opened_recipe
from study_world import add_world_arguments, folder_ending, name_of, scenes_of, source_of, world_words
from supervision_study import SMALL_WORLD, WORLD
from table_without_image import NAME, filled_from_nearest, median_of_measured

EXACT = {"teacher": "truth", "truth_output": "metric", "truth_scale_spread": 0.0, "truth_noise": 0.0, "short_side_px": 112}
TEACHERS = {
    "exact": EXACT,
    "wrong by chance": {**EXACT, "truth_noise": 0.05, "truth_gross": 0.2},
    "wrong far away": {"teacher": "depth_maps"},  # written by this script, see _write_wrong_maps
    "wrong in scale": {"teacher": "depth_maps"},
    "wrong in scale, by boxes": {"teacher": "depth_maps"},
}
FAR_M, FAR_SPREAD = 25.0, 0.5
WRONG_SCALE = 1.2
ALIGNED_BY = {"wrong in scale, by boxes": "boxes"}
BASE = {
    "family": "monoddle",
    "network": {"dla_widths": [8, 8, 16, 32, 48, 64], "head_width": 32, "input_px": [160, 288], "uncertainty": True},
    "data": {"batch_size": 4, "mono": True, "augment": {"crop_probability": 0.0}},
    "targets": {"min_height_px": 10.0},
    "evaluation": {"height_scale": 0.5, "metric": "3d", "overlap": "loose", "num_pictures": 4},
    "learning_rate": 4e-3,
    "max_steps": 1200,
    "epochs": 100000,
    "warm_up_epochs": 0,
    "evaluate_every_epochs": 100000,
}
STEPS_OF_EPOCH = 60
DECAYS = (0.75, 0.9)
"""Shares of the training after which the learning rate falls."""
WAYS: dict[str, tuple[str, dict]] = {
    "baseline": ("exact", {"form": "none"}),
    "exact teacher, l1": ("exact", {"form": "l1"}),
    "exact teacher, laplace": ("exact", {"form": "laplace"}),
    "teacher wrong by chance, l1": ("wrong by chance", {"form": "l1"}),
    "teacher wrong by chance, laplace": ("wrong by chance", {"form": "laplace"}),
    "teacher wrong far away, l1": ("wrong far away", {"form": "l1"}),
    "teacher wrong far away, laplace": ("wrong far away", {"form": "laplace"}),
    "teacher wrong in scale, l1": ("wrong in scale", {"form": "l1"}),
    "teacher wrong in scale, laplace": ("wrong in scale", {"form": "laplace"}),
    "teacher wrong in scale, by boxes, l1": ("wrong in scale, by boxes", {"form": "l1"}),
}
MEASURES = ("AP 3D@0.5", "AP BEV@0.5", "car depth error m", "cars found", "dense error m", "s wrong", "s right")


def main() -> None:
    parser = measure.arguments(__doc__, data=measure.DATA / "distillation_study")
    add_world_arguments(parser)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=BASE["max_steps"])
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="trainings side by side, one thread each")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = measure.parsed(
        parser, scenes=SMALL_WORLD["scenes"], seeds=1, steps=2, ways=["baseline", "teacher wrong in scale, by boxes, l1"]
    )
    if args.child:
        _train(args, *json.loads(args.child))
        return
    print(f"{measure.machine()}; {name_of(args)}")
    for teacher in {WAYS[way][0]: None for way in args.ways}:
        _materialize(args, teacher)
    jobs = [(way, seed) for seed in range(args.seeds) for way in args.ways]
    with ThreadPoolExecutor(args.at_once) as pool:
        results = dict(zip(jobs, pool.map(lambda job: _in_child(args, *job), jobs), strict=True))
    print(f"{args.seeds} seeds, {args.steps} steps; mean, spread over seeds in brackets")
    print(f"| way | {' | '.join(MEASURES)} |\n|{'---|' * (len(MEASURES) + 1)}")
    for way in args.ways:
        rows = [results[way, seed] for seed in range(args.seeds)]
        print(f"| {way} | {' | '.join(_cell([row[name] for row in rows]) for name in MEASURES)} |")
    print(f"| {NAME} |{' |' * 4} {_table_error_m(args):.3g} | | |")
    _print_pairs(args, results)
    _print_precision_pairs(args, results)
    for way in args.ways[1:]:
        better = sum(results[way, seed][MEASURES[0]] > results[args.ways[0], seed][MEASURES[0]] for seed in range(args.seeds))
        nearer = sum(results[way, seed][MEASURES[2]] < results[args.ways[0], seed][MEASURES[2]] for seed in range(args.seeds))
        print(
            f"{way} against {args.ways[0]}: better {MEASURES[0]} in {better}, smaller {MEASURES[2]} in {nearer} of {args.seeds} seeds"
        )


def _print_pairs(args: argparse.Namespace, results: dict) -> None:
    """Print the difference of every way to the first one, on the frames where both have an error, with its interval over scenes."""
    from model.train.paired_bootstrap import bootstrap_interval, interval_text

    first = args.ways[0]
    print(f"\nminus that of '{first}', on frames where both have one; 95 % interval over scenes")
    print("| way | seed | measure | mean | of the first | difference | interval |\n|---|---|---|---|---|---|---|")
    for way in args.ways[1:]:
        for name in ("dense error m", "car depth error m", "cars found"):
            errors = {
                side: np.array([results[side, seed]["frames"][name] for seed in range(args.seeds)], dtype=np.float64)
                for side in (first, way)
            }
            both = np.isfinite(errors[first]) & np.isfinite(errors[way])
            keys = np.array(results[way, 0]["keys"])
            of_seeds = [(str(seed), both[seed], errors[first][seed], errors[way][seed]) for seed in range(args.seeds)]
            whole = both.all(axis=0)
            of_seeds.append(("mean of seeds", whole, errors[first].mean(axis=0), errors[way].mean(axis=0)))
            for seed, used, a, b in of_seeds:
                if used.any():
                    found = bootstrap_interval(b[used] - a[used], keys[used].tolist())
                    difference = float((b[used] - a[used]).mean())
                    cells = (
                        f"{b[used].mean():.3f} | {a[used].mean():.3f} | {difference:+.3f} ({difference / a[used].mean():+.1%})"
                    )
                    print(f"| {way} | {seed} | {name} | {cells} | {interval_text(found.low, found.high, decimals=3)} |")


def _print_precision_pairs(args: argparse.Namespace, results: dict) -> None:
    """Print the difference of every way's AP, the mean over seeds, to the first way's, with its interval over scenes."""
    from model.monoddle.evaluation import scaled_difficulties
    from model.monoddle.measured_objects import read_measured_objects
    from model.monoddle.precision.precision_resampling import PrecisionRow, drawn_precision, scene_numbers, score_changes
    from model.train.paired_bootstrap import MIN_SCENES, expanded_quantiles, interval_text

    moderate = next(level for level in scaled_difficulties(0.5) if level.name == "moderate")
    objects = {job: read_measured_objects(Path(result["evaluation"])) for job, result in results.items()}
    print(
        f"\nAP_R40, mean over seeds, minus that of '{args.ways[0]}'; 95 % intervals over scenes and over seeds; each seed's difference"
    )
    print(
        "| way | AP | mean | of the first | difference | over scenes | over seeds | of each seed |\n|---|---|---|---|---|---|---|---|"
    )
    for metric in ("3d", "bev"):
        row = PrecisionRow("Car", metric, "loose", moderate)
        changes = {}
        for job, measured in objects.items():
            frames = [measured.frames[key] for key in sorted(measured.frames)]
            scenes = scene_numbers(sorted(measured.frames))
            changes[job] = score_changes([frame.truth for frame in frames], [frame.found for frame in frames], scenes, row)
        any_one = next(iter(changes.values()))
        num_scenes, num_with = len(any_one.num_truth), int(np.count_nonzero(any_one.num_truth))
        generator, once = np.random.default_rng(0), np.ones(num_scenes, np.int64)
        draws = [np.bincount(generator.integers(0, num_scenes, num_scenes), minlength=num_scenes) for _ in range(1000)]
        of_draws = {
            way: np.array(
                [
                    [drawn_precision(changes[way, seed], times) for seed in range(args.seeds)]
                    for times in (once, *(draws if num_with >= MIN_SCENES else []))
                ]
            )
            for way in args.ways
        }
        for way in args.ways[1:]:
            by_seed = of_draws[way] - of_draws[args.ways[0]]
            differences = by_seed.mean(axis=1)
            low, high = expanded_quantiles(differences[1:], num_with) if num_with >= MIN_SCENES else (None, None)
            means = f"{of_draws[way][0].mean():.2f} | {of_draws[args.ways[0]][0].mean():.2f} | {differences[0]:+.2f}"
            seeds = ", ".join(f"{one:+.1f}" for one in by_seed[0])
            ends = [interval_text(*one, decimals=2) for one in ((low, high), _over_seeds(by_seed[0]))]
            print(f"| {way} | {metric}@0.5 | {means} | {' | '.join(ends)} | {seeds} |")


def _over_seeds(differences: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of the mean of differences between trainings of the same seed; none of a single one."""
    if len(differences) < 2:
        return None, None
    reach = student_t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    return float(differences.mean() - reach), float(differences.mean() + reach)


def _cell(values: list[float]) -> str:
    if any(np.isnan(values)):  # no car was detected, or this way does not give the number
        return "-"
    return f"{mean(values):.3g} ({max(values) - min(values):.2g})"


def _materialize(args: argparse.Namespace, teacher: str):
    """Make what is missing of one teacher's data; return its manifest."""
    store = args.data / f"store{folder_ending(args)}"
    choices = TEACHERS[teacher]
    if choices["teacher"] == "depth_maps":
        is_far = teacher == "wrong far away"
        maps = args.data / f"{'maps' if is_far else 'maps-scale'}{folder_ending(args)}"
        choices = {**choices, "maps": str(maps)}
        if not maps.is_dir():
            _write_wrong_maps(_materialize(args, "exact"), maps, is_far=is_far)
    recipe = {
        "source": source_of(args, SMALL_WORLD if args.small else WORLD),
        "store": str(store),
        "cameras": ["CAM_FRONT"],
        **scenes_of(args),
        "stages": {
            "project_boxes": {"enabled": True},
            "predict_mono_depth": choices,
            "align_mono_depth": {"method": ALIGNED_BY.get(teacher, "as_is"), "sky": "none"},
        },
    }
    return made_manifest(opened_recipe(recipe, workers=args.at_once), what=f"{teacher} teacher: ")


def _write_wrong_maps(manifest, folder: Path, *, is_far: bool) -> None:
    """Write a map a key frame: exact near by and wrong by one factor a frame far away, or all times ``WRONG_SCALE``.

    The folder appears when it is complete.
    """
    from pipeline.mono_depth.maps import map_key

    temporary, generator = folder.with_name(f".{folder.name}"), np.random.default_rng(0)
    for path, row in {manifest.unit_of(row, "depth_truth"): row for row in manifest.rows()}.items():
        unit = manifest.store.open_unit(path)
        lines = ((np.arange(112) + 0.5) * row["height"] / 112).astype(int)
        columns = ((np.arange(200) + 0.5) * row["width"] / 200).astype(int)
        for frame, time_us in enumerate(unit.array("timestamp_us")):  # the last key frame too, which manifests leave out
            depth_m = unit.array("depth_m", frame)[np.ix_(lines, columns)] / np.float32(256.0)
            factor = np.float32(np.exp(FAR_SPREAD * generator.standard_normal()) if is_far else WRONG_SCALE)
            depth_m = np.where(depth_m > (FAR_M if is_far else 0), np.minimum(depth_m * factor, np.float32(250.0)), depth_m)
            key = f"{row['scene']}/{row['camera']}/{time_us}"
            file = temporary / f"{map_key(row['split'], '', key)}.npz"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(file, depth=depth_m)
    temporary.rename(folder)


def _in_child(args: argparse.Namespace, way: str, seed: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--data", str(args.data), *world_words(args), "--steps", str(args.steps)]
    command += ["--child", json.dumps([way, seed])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measures = json.loads(done.stdout.splitlines()[-1])
    print(f"{way}, seed {seed}: { {name: measures[name] for name in MEASURES} }", file=sys.stderr, flush=True)
    return measures


def _train(args: argparse.Namespace, way: str, seed: int) -> None:
    import torch

    from model.families import evaluate_training, parse_train_config, train
    from model.train.config import Machine
    from model.train.loop import is_complete

    torch.set_num_threads(1)
    teacher, distill = WAYS[way]
    changed = {**BASE, "seed": seed, "data": {**BASE["data"], "seed": seed}, "distill": distill, "max_steps": args.steps}
    changed["decay_epochs"] = [round(share * args.steps / STEPS_OF_EPOCH) for share in DECAYS]
    config = parse_train_config(changed, where="study")
    manifest = _materialize(args, teacher)
    folder = Path(manifest.store.root) / "runs" / "trainings" / config.fingerprint(manifest.path.fingerprint)
    if not is_complete(folder):
        train(config, manifest, folder, machine=Machine(accelerator="cpu"))
        evaluate_training(config, manifest, folder, machine=Machine(accelerator="cpu"))
    kept = args.data / f"distillation-measures{folder_ending(args)}" / f"{folder.name}.json"  # measuring takes a minute
    if not kept.is_file():
        kept.parent.mkdir(exist_ok=True)
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(_measured(folder, manifest, uses_teacher=distill["form"] != "none")), encoding="utf-8")
        temporary.rename(kept)
    print(json.dumps(json.loads(kept.read_text(encoding="utf-8"))))


def _measured(folder: Path, manifest, *, uses_teacher: bool) -> dict[str, Any]:
    """Measure the network on the validation split; also what pairs need: each frame's own key and errors, NaN where it has none."""
    import torch

    from model.data.objects import Objects
    from model.families import load_network
    from model.monoddle.evaluation import Inference, detect, scaled_difficulties
    from model.monoddle.heads import UNCERTAINTY_HEAD, depth_m_of
    from model.monoddle.precision.average_precision import average_precision
    from model.monoddle.precision.box_overlap import overlap_2d
    from model.train.config import Machine

    network = load_network(folder / "best.pt")
    truths: list[Objects] = []
    detections: list[Objects] = []
    wrong_by, dense, scales = [], [], {True: [], False: []}
    keys, cars_wrong_by, shares_found = [], [], []
    exact = _exact_maps(manifest, network.config)
    frames = detect(
        network, manifest, Inference(torch.device("cpu"), with_uncertainty=True), split="val", with_teacher=True,
        machine=Machine("cpu"),
    )  # fmt: skip
    for frame in frames:
        truth, detected = frame.batch.objects[0], frame.detections[0]
        truths.append(truth)
        detections.append(detected)
        cars = truth[(truth.category == "Car") & (truth.location_m[:, 2] < 40.0) & (truth.occlusion <= 1)]
        first_car = len(wrong_by)
        for i in range(len(cars)):
            if len(detected):
                overlaps = overlap_2d(np.repeat(cars.box_px[i : i + 1], len(detected), axis=0), detected.box_px)
                if overlaps.max() > 0.5:
                    wrong_by.append(abs(detected.location_m[int(overlaps.argmax()), 2] - cars.location_m[i, 2]))
                    continue
            wrong_by.append(np.nan)
        found = [error for error in wrong_by[first_car:] if np.isfinite(error)]
        keys.append(frame.batch.frame_keys[0])
        cars_wrong_by.append(float(np.mean(found)) if found else None)
        shares_found.append(len(found) / len(cars) if len(cars) else None)
        exact_m = exact[frame.batch.frame_keys[0]]
        depth_m = depth_m_of(frame.maps["depth"][0, 0]).numpy()
        seen = (exact_m > 2) & (exact_m < 80)
        dense.append(np.abs(np.minimum(depth_m, 80) - exact_m)[seen].mean())
        if uses_teacher:
            teacher_m, log_scale = frame.batch.teacher_m[0].numpy(), frame.maps[UNCERTAINTY_HEAD][0, 0].numpy()
            is_wrong = np.abs(teacher_m / np.maximum(exact_m, 1) - 1) > 0.1
            for case in (True, False):
                scales[case] += log_scale[seen & (teacher_m > 0) & (is_wrong == case)].tolist()
    rows = average_precision(truths, detections, classes=("Car",), difficulties=scaled_difficulties(0.5))
    ap = {(row.metric, row.overlap): row.r40 for row in rows if row.difficulty == "moderate"}
    values = [ap["3d", "loose"], ap["bev", "loose"], np.nanmean(wrong_by), np.isfinite(wrong_by).mean(), np.mean(dense)]
    values += [np.mean(scales[case]) if scales[case] else np.nan for case in (True, False)]
    measured = {name: round(float(value), 4) for name, value in zip(MEASURES, values, strict=True)}
    return {
        **measured,
        "evaluation": str(folder / "evaluation"),
        "keys": keys,
        "frames": {
            "dense error m": [float(one) for one in dense],
            "car depth error m": cars_wrong_by,
            "cars found": shares_found,
        },
    }


def _table_error_m(args: argparse.Namespace) -> float:
    """Return the mean error of dense depth, as networks are measured, of the median exact depth of the training frames."""
    from model.families import parse_train_config

    manifest, network = _materialize(args, "exact"), parse_train_config(BASE, where="study").network
    trained = np.stack(list(_exact_maps(manifest, network, split="train").values()))
    table_m = filled_from_nearest(median_of_measured(np.rint(trained * 256.0).astype(np.uint16)))
    errors_m = []
    for exact_m in _exact_maps(manifest, network).values():
        seen = (exact_m > 2) & (exact_m < 80)
        errors_m.append(np.abs(np.minimum(table_m, 80) - exact_m)[seen].mean())
    return float(np.mean(errors_m))


def _exact_maps(manifest, network_config, *, split: str = "val") -> dict[str, np.ndarray]:
    """Return the exact depth of every image of a split on the network's grid, metres."""
    from model.monoddle.affine_view import resting_view, warp_depth_steps

    exact_by_key, units = {}, {}
    for row in manifest.rows():
        if row["split"] == split:
            path = manifest.unit_of(row, "depth_truth")
            steps = units.setdefault(path, manifest.store.open_unit(path)).array("depth_m", row["frame"])
            view = resting_view((row["height"], row["width"]), network_config.input_px)
            exact_by_key[row["frame_key"]] = warp_depth_steps(steps, view, stride=network_config.stride) / 256.0
    return exact_by_key


if __name__ == "__main__":
    main()
