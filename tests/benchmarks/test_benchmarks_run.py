"""Every benchmark still runs: a benchmark that nobody runs breaks unnoticed. Figures are not looked at, only that they are there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = {file.stem: file.read_text() for file in sorted((REPOSITORY / "benchmarks").glob("*.py"))}
SCRIPTS = [name for name, text in SOURCES.items() if '__name__ == "__main__"' in text]

NUMBER = r"[\d.,]+"
WANTED: dict[str, list[str]] = {
    "silence": [rf"(?m)^\| {name} \|( {NUMBER} \|){{2}}( {NUMBER} \({NUMBER}\) \|){{2}}$" for name in ("init", "plan", "run")],
    "accumulate": [
        r"peak memory of a worker .*: \d+ MB \(keep\), \d+ MB \(drop\), \d+ MB \(carry\)",
        r"moving: keep", r"moving: drop", rf"straightforward +{NUMBER} ms CPU a key frame", rf"ours, all of it +{NUMBER} ms CPU",
        rf"ratio +{NUMBER}x; {NUMBER}x for equally many points", rf"ours, projection +{NUMBER} ms; floor {NUMBER} ms",
        r"pixels that differ from float64"],
    "average_precision": [rf"(?m)^plain Python \| 10 \| {NUMBER} s \| {NUMBER} ms$", rf"(?m)^ours, all frames \| 60 \| {NUMBER} s \| {NUMBER} ms$",
                          rf"estimated: {NUMBER} s; ratio {NUMBER}x", r"differs by at most \d\.\de-1\d; counts agree", rf"{NUMBER} us a pair"],
    "clean": [rf"{numbers} numbers, {mono} mono: .*, ratio {NUMBER}x; .*; 0 pixels differ"
              for numbers in ("default", "wide") for mono in ("with", "without")],
    "distillation_study": [rf"(?m)^\| {way} \|( [^|]+ \|){{7}}$" for way in ("baseline", "teacher wrong far away, laplace")] + [
        rf"(?m)^\| table without image and radar \|( \|){{4}} {NUMBER} \|",
        rf"(?m)^\| teacher wrong far away, laplace \| (0|mean of seeds) \| dense error m \| {NUMBER} \| {NUMBER} \| [+-][\d.]+ \(.*%\) \| none \|$"],
    "fleet": [*(rf"(?m)^{count} scenes, {part}: {NUMBER} ms CPU a scene, {NUMBER} ms wall"
                for count in (3, 30) for part in ("bare dask", "plan", "their commit marks alone, no cluster", "depthmill")),
              rf"(?m)^a scene among 30 costs {NUMBER}x the CPU time of one among 3$"],
    "free_space": [
        *(rf"reading the points, {what} +{NUMBER} ms CPU a key frame; [+-]{NUMBER}" for what in ("both_off", "own_car_m", "free_space", "both_on")),
        r"peak of a worker: \d+ MB with both off, \d+ MB with both on", rf"range tables +{NUMBER} ms; \d+ kB a sweep", rf"votes +{NUMBER} ms; floor of both {NUMBER} ms",
        rf"the readable way +{NUMBER} ms a key frame; ratio {NUMBER}x", r"in free votes \d+, in being dropped \d+ of \d+",
        rf"returns good: \d+, dropped {NUMBER} %", rf"returns airborne: \d+, dropped {NUMBER} %", rf"of what was dropped, good: {NUMBER} %"],
    "gpu_check": [*(rf"(?m)^{part}: measured \(\d+ s\)$"
                    for part in ("scan_values", "semodepth", "scan_times", "semodepth_profile", "mim4d", "drive", "accumulate", "loader", "marked_tests",
                                 "scan_tiles", "detector", "training", "compiled")),
                  rf"(?m)^  tests collected: {NUMBER}$", rf"forward, torch.compile on, batch 1: {NUMBER} ms", r"13 parts measured, 0 parts partly measured, 0 parts not"],
    "index_trainval": [rf"{words} the .*index: 3 scenes in {NUMBER} s, .* in {NUMBER} s; peak {NUMBER} GB"
                       for words in ("first time, builds", "again, opens")],
    "interpolate": [rf"(?m)^{count} \| .* \| {NUMBER}x \| .* steps$" for count in ("500", "1,000")],
    "loader": [rf"\*\*ours, batch delivered\*\* \| .* \| \*\*{NUMBER}x\*\*", r"\| dense target \| .* \|", rf"(?m)^\| 2 \| .* \| {NUMBER}x \|$",
               rf"\| ours, 2 workers \| \| {NUMBER} \| \d+ \|"],
    "detection_study": [
        rf"(?m)^\| no image: the mean layout \| \| ({NUMBER}|nan) \| \|$",
        *(rf"(?m)^\| 100% \| {start} \|( (-?[\d.]+|nan) \|){{4}}$" for start in ("scratch", "mim4d"))],
    "mim4d_study": [
        rf"(?m)^\| reconstruct \| {NUMBER} \({NUMBER}\)", rf"(?m)^\| reconstruct_swapped \| {NUMBER} \({NUMBER}\)",
        rf"AbsRel of every seed: direct {NUMBER}", rf"(?m)^\| trained \| {NUMBER} \|", r"(?m)^\| voxel_frequency \|",
        rf"(?m)^table without image and radar, of all training frames: MAE@80 m \d+ mm, delta1 {NUMBER}$",
        r"(?m)^\| 100%, pre-trained \| (0|mean of seeds) \| all \|( \d+ \|){2} [+-]\d+ \([+-][\d.]+%\) \| none \| \d+% \|$",
        rf"(?m)^\| 100% \| {NUMBER} \({NUMBER}\) \| {NUMBER} \({NUMBER}\) \|", rf"100% pre-trained: {NUMBER}, "],
    "mim4d_step": [*(rf"(?m)^\| {part} \| \d \|( [^|]+ \|){{7}}$" for part in ("backbone", "lift by sampling", "lift by splat", "renderer")),
                   *(rf"(?m)^\| {way}, render.recompute true \|( [^|]+ \|){{6}}$" for way in ("float32", "bfloat16 images")),
                   *(rf"(?m)^\| {what}: ours \| \|( [^|]+ \|){{4}}$" for what in ("lift by sampling", "lift by splat", "renderer, look-up")),
                   *(rf"(?m)^{name}, 3 frames of \d cameras, \d+ rays each, .*: \d+ ms CPU .* peak \d+ MB" for name in ("tiny", "full size"))],
    "oracle_analysis": [r"(?m)^40 frames, .* detections, 64 sets of boxes$", rf"(?m)^ours, the whole analysis \| {NUMBER} s$", rf"(?m)^ratio {NUMBER}x$",
                        r"differs by at most 0\.0e\+00$"],
    "plan_850": [rf"plan with all 19 units in the store: {NUMBER} s \(nothing to do", rf"clean_horizon changed: {NUMBER} s \(4 units to do",
                 rf"depthmill --help: {NUMBER} s", rf"floor: {NUMBER} s"],
    "plan_remote": [rf"361 units; plan with the store on a disk: {NUMBER} s", *(rf"(?m)^\| {ms} ms \| \d+ s( \| {NUMBER} s \({NUMBER} s CPU\)){{3}} \| \d+ \|$" for ms in ("0", "20"))],
    "plug_in_study": [r"(?m)^\| table without image and radar \| \| \| \d+ \| \d+ \| [\d.]+ \|$", r"(?m)^\| nothing \| [\d.]+% \|", r"(?m)^\| C alone \| [\d.]+% \|",
                      *(rf"(?m)^\| {way} \|( \d+ \(\d+\) \|){{4}} [\d.]+ \|$"
                        for way in ("no plug-in", "plug-in, monocular depth given", "plug-in, monocular depth withheld", "plug-in alone, monocular depth given", "distilled, laplace"))],
    "precision_interval": [rf"(?m)^10 \| {NUMBER}% \| {NUMBER}% \| {NUMBER} \| {NUMBER} points$", rf"plain {NUMBER} ms, ours {NUMBER} ms CPU; ratio {NUMBER}x",
                           r"the two differ by at most \d\.\de[+-]\d\d points of AP", r"(?m)^nuScenes metric, 160 key frames, 32000 detections"],
    "poses": [rf"(?m)^\d+ sweeps, \d+ key frames: {NUMBER} ms CPU a key frame, of which smoothing {NUMBER} ms; twin of the smoothing {NUMBER} ms$",
              r"(?m)^\d+ flat places; poses", rf"(?m)^\| simulated \| jittered \| none \| {NUMBER} \| {NUMBER} \|$",
              rf"(?m)^\| simulated \| jittered \| 0.15 s \| {NUMBER} \| {NUMBER} \|$"],
    "scaling": [r"(?m)^\| 320 \| 51 \| .* % \|$", rf"(?m)^\| 3 \| 6 \| {NUMBER} \| {NUMBER} \| \d+ \|$", r"(?m)^\| 2 \|( [\d.]+ \|){3} [\d.]+x \| [\d.]+ \| \d+ % \|$",
                r"(?m)^\| 1 \| [\d.]+ \| [\d.]+ \| 1\.00x \| [\d.]+ \| [\d.]+ \|$",
                r"(?m)^\| 2 \| [\d.]+ \| [\d.]+ \| [\d.]+x \| [\d.]+, [\d.]+, [\d.]+ \| [\d.]+ \|$",
                r"(?m)^\| depth_clean \| [\d.]+ \| \d+ \| [\d.]+ \|$", r"(?m)^\| together \| [\d.]+ \| \d+ \| [\d.]+ \|$",
                *(rf"(?m)^\| {way} \| \*\*together\*\* \| [\d.]+ \| [\d.]+ \|$" for way in ("straightforward", "ours")), r"(?m)^ratio [\d.]+x;"],
    "raw_reading": [r"12 files, 0 MB", *(rf"(?m)^\| {ms} ms( \| {NUMBER} s){{2}} \| \d+ %( \| {NUMBER} s){{2}} \|$" for ms in ("0", "20"))],
    "selective_scan": [rf"(?m)^\| 50 \| {work} \| .* \| \*\*{NUMBER}x\*\* \|" for work in ("forward", r"forward \+ backward")],
    "semodepth_network": [rf"(?m)^\| 64x96 \| {work} \| {way} \| {NUMBER} \| \d+ \|$"
                          for work in ("forward", "training step") for way in ("twin", "numba channels_last bf16")],
    "start_up": [rf"(?m)^{way}: {NUMBER} s from the start of the process to its end, {NUMBER} s printed, {NUMBER} s CPU, 15 units$"
                 for way in ("bare loop", "no option, no API configured", "Prefect with a server of its own")],
    "store_codec": [rf"(?m)^{name} +\d+ +{NUMBER} +{NUMBER}$" for name in (r"zstd 1 \(ours\)", "no compression", "PNG by PIL, level 6")],
    "supervision_ablation": [*(rf"(?m)^\| {recipe} \| {NUMBER} % \|" for recipe in ("all of it", "published")),
                             r"(?m)^\| half, removed by \|", r"(?m)^### half: \d frames of 1 scenes against exact depth"],
    "supervision_cost": [
        *(rf"(?m)^{preset}, +cameras: {number} +{NUMBER} ms CPU an image, reading to written; .*accumulate_lidar {NUMBER}, clean_horizon {NUMBER}"
          for preset in ("published", "surface") for number in (1, 6)),
        *(rf"(?m)^  {part} +{NUMBER} ms; +[+-]{NUMBER}; floor +{NUMBER} ms = {NUMBER} MB$"
          for part in ("poses", "own_car_m", "free_space", "surface", "behind_moving", "occluded")),
        rf"all parts of one camera, nothing written: {NUMBER} ms; of published: {NUMBER}"],
    "surface": [rf"nearest, no additions +{NUMBER} ms CPU a key frame", rf"front surface, mask, confidence +{NUMBER} ms, [+-]{NUMBER}; {NUMBER} %",
                rf"closing, 3, 5 and 9 pixels +ours {NUMBER} ms; scipy's grey_closing {NUMBER} ms", rf"float64 NumPy, one key frame: nearest {NUMBER} ms, front surface {NUMBER} ms"],
    "supervision_study": [rf"(?m)^\| {way} \|( \d+ \(\d+\) \|){{4}} [\d.]+ \|$" for way in ("cleaned, scatter, correct", "single sweep")] + [
        rf"(?m)^\| table without image and radar, {target} of: [^|]+ \| \| \| \d+ \| \d* \| [\d.]+ \|$" for target in ("depth_clean", "depth_single")] + [
        r"(?m)^\| single sweep \| (0|mean of seeds) \| all \|( \d+ \|){2} [+-]\d+ \([+-][\d.]+%\) \| none \| \d+% \|$"],
    "thin_objects": [rf"(?m)^\| {kind} \| [\d,]+ \|( ([\d.]+|-) \|){{5}}$" for kind in ("wire across, 2 cm", "leaf of 8 cm", "trunk", "airborne")],
    "world_statistics": [
        *(rf"(?m)^\| {name} \| (-|{NUMBER}) \| {NUMBER} \| (-|{NUMBER})( !)? \| {NUMBER} to {NUMBER} \|$"
          for name in ("depth: R2 of a table", "radar: range_q50", "lidar: returns", "boxes: in CAM_FRONT", "motion: speed q50", "images: day mean")),
        r"(?m)^towns outside a band: \d+$", rf"(?m)^\| scene of 1 s, one camera of 160x90, s \| {NUMBER} \| {NUMBER} \|$",
        *(rf"(?m)^\| {part}, ms \| {NUMBER} \| {NUMBER} \|$" for part in ("a LiDAR sweep", "a radar scan", "a picture"))],
    "training_sizes": [rf"SemoDepth, kept a frame: {NUMBER} GB and -?{NUMBER} GB a megapixel", *(rf"(?m)^{name}: {NUMBER} GB kept a frame, {NUMBER} GB weights" for name in ("SemoDepth, nuScenes", "MonoDDLE, KITTI")),
                       rf"(?m)^\| A100, 80 GB \| \d+ \| \d+ \| {NUMBER} \| {NUMBER} \|$"],
    "training_threads": [rf"(?m)^\| 1 \| sleeping \| 2 \| {NUMBER} / {NUMBER} \| {NUMBER} / {NUMBER} \| {NUMBER} \|$"],
}  # fmt: skip
"""What a small run must print, as regular expressions."""

SLOW = {
    "silence",
    "interpolate",
    "precision_interval",
    "accumulate",
    "clean",
    "distillation_study",
    "fleet",
    "free_space",
    "gpu_check",
    "index_trainval",
    "loader",
    "mim4d_step",
    "detection_study",
    "mim4d_study",
    "plan_850",
    "plan_remote",
    "plug_in_study",
    "poses",
    "raw_reading",
    "scaling",
    "selective_scan",
    "semodepth_network",
    "start_up",
    "store_codec",
    "supervision_ablation",
    "supervision_cost",
    "supervision_study",
    "surface",
    "thin_objects",
    "training_sizes",
    "training_threads",
    "world_statistics",
}
"""Those that take more than 2 s of CPU: most start processes that import torch."""


@pytest.mark.parametrize("script", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SCRIPTS])
def test_benchmark_when_run_small_then_prints_what_a_full_run_prints(script: str, tmp_path: Path) -> None:
    assert script in WANTED, f"benchmarks/{script}.py is new: add the lines that it prints to WANTED in {Path(__file__).name}"
    command = [sys.executable, str(REPOSITORY / "benchmarks" / f"{script}.py"), "--small", "--data", str(tmp_path / "data")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    if "unrecognized arguments: --small" in done.stderr:
        pytest.fail(f"benchmarks/{script}.py has no --small: make its parser with measure.arguments and measure.parsed")
    assert done.returncode == 0, f"{script} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    missing = [line for line in WANTED[script] if not re.search(line, done.stdout)]
    assert not missing, f"{script} did not print {missing}; it printed:\n{done.stdout}"
    assert not re.search(r"\bnan\b", done.stdout), done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["data"], "it wrote outside --data"


def test_small_defaults_when_an_option_is_given_then_the_option_counts(tmp_path: Path) -> None:
    code = (
        "import sys, measure\n"
        "def repeat(*words):\n"
        "    sys.argv = ['x', '--data', 'made', *words]\n"
        "    parser = measure.arguments('x')\n"
        "    parser.add_argument('--repeat', type=int, default=5)\n"
        "    return measure.parsed(parser, repeat=1).repeat\n"
        "print(repeat(), repeat('--small'), repeat('--small', '--repeat', '3'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "benchmarks")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5", "1", "3"]
    assert (tmp_path / "made").is_dir()


def test_files_of_benchmarks_when_not_run_then_are_shared_by_scripts() -> None:
    shared = {name for name in SOURCES if name not in SCRIPTS}
    unused = {name for name in shared if not any(re.search(rf"(?m)^ *(import|from) {name}\b", text) for text in SOURCES.values())}
    assert not unused, f"benchmarks/ has {sorted(unused)}: neither scripts (no __main__) nor imported by one"
    assert not WANTED.keys() - set(SCRIPTS), "WANTED names scripts that are gone"


def test_make_benchmarks_when_printed_then_runs_every_script() -> None:
    done = subprocess.run(["make", "-n", "benchmarks"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = re.search(r"for claim in (.*?);", done.stdout)
    assert listed is not None, done.stdout
    assert sorted(listed[1].split()) == SCRIPTS
