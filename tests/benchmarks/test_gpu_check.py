"""The command for the first minutes on a GPU: rehearsed on a CPU, so that it cannot fail on the day, and what it does when parts fail."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
COMMAND = BENCHMARKS / "gpu_check.py"
LONG = ("marked_tests", "compiled")
"""Parts that only the whole command rehearses, in test_benchmarks_run.py: they collect tests and trace a whole network."""
QUICK = ("scan_values", "semodepth", "mim4d", "detector")
"""Parts that are rehearsed each time: one of the scan, and each network. The slow tests rehearse the others."""


@pytest.fixture
def gpu(monkeypatch):
    """Let this process import what the command imports."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run_command(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "TRITON_"))}
    return subprocess.run(
        [sys.executable, str(COMMAND), *words], env={**environment, **variables}, capture_output=True, text=True, timeout=900
    )


def rehearsed(folder: Path, names: list[str]) -> dict[str, list[dict]]:
    """Return figures of parts on tiny sizes, made in one process: to load torch for each would take longer than the rest.

    What a part asks of torch.cuda is answered, so that the lines for a GPU run, too.
    """
    code = """
        import json, sys, time
        from importlib import import_module
        from pathlib import Path
        class Event:
            def __init__(self, enable_timing): pass
            def record(self): self.at = time.perf_counter()
            def elapsed_time(self, later): return 1e3 * (later.at - self.at)
        def main():
            import gpu.bench, torch
            from gpu.parts import PARTS
            gpu.bench.FLUSH_BYTES = 1024
            gpu.bench.Bench.is_gpu = property(lambda bench: True)  # so that what a GPU is asked for is asked here, too
            for name in ("synchronize", "reset_peak_memory_stats", "empty_cache"):
                setattr(torch.cuda, name, lambda *_: None)
            torch.cuda.Event, torch.cuda.memory_allocated, torch.cuda.max_memory_allocated = Event, lambda _: 10**6, lambda _: 10**9
            bench = gpu.bench.Bench(torch.device("cpu"), True, Path(sys.argv[1]), time.monotonic() + 3600)
            for part in PARTS:
                if part.name in sys.argv[2:]:
                    for figure in import_module(f"gpu.{part.name}").figures(bench):
                        print("FIGURE", json.dumps({"part": part.name, **vars(figure)}), flush=True)
        if __name__ == "__main__":
            main()
    """
    script = folder / "rehearsal.py"
    script.write_text("\n".join(line.removeprefix(" " * 8) for line in code.splitlines()))
    variables = {"TRITON_INTERPRET": "1", "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": f"{BENCHMARKS}{os.pathsep}{REPOSITORY}"}
    command = [sys.executable, "-W", "ignore", str(script), str(folder / "data"), *names]
    done = subprocess.run(command, env={**os.environ, **variables}, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, list[dict]] = {}
    for line in re.findall(r"(?m)^FIGURE (.*)$", done.stdout):
        figure = json.loads(line)
        found.setdefault(figure.pop("part"), []).append(figure)
    return found


@pytest.mark.parametrize(
    "is_chosen",
    [
        pytest.param(lambda name: name in QUICK, id="quick"),
        pytest.param(lambda name: name not in (*QUICK, *LONG), id="others", marks=pytest.mark.slow),
    ],
)
def test_rehearsal_when_run_on_a_cpu_then_every_part_measures_and_agrees(gpu, tmp_path, is_chosen):
    from gpu.figure import Figure
    from gpu.parts import PARTS

    names = [part.name for part in PARTS if is_chosen(part.name)]
    rehearsal = rehearsed(tmp_path, names)
    assert list(rehearsal) == names
    for name, figures in rehearsal.items():
        for figure in (Figure(**figure) for figure in figures):
            assert not figure.why and not figure.disagrees, (name, figure)
    expected = {
        "scan_values": "triton, batch, length, channels, states (1, 33, 5, 3), bfloat16 in and out: output",
        "semodepth": "training step, batch 2, bfloat16",
        "scan_times": "triton, length 9, forward + backward, memory beside its inputs",
        "semodepth_profile": "of it the device computes",
        "mim4d": "a step, bfloat16, recompute",
        "drive": "frames to train and to measure on",
        "accumulate": "1 key frames of a drive: pixels and counts that differ from the CPU's",
        "loader": "0 reading processes of",
        "scan_tiles": "best tile: chunk",
        "detector": "training step, batch 2, bfloat16",
        "training": "two trainings, train.deterministic: true: weights that differ",
    }
    assert sorted(expected) == sorted(part.name for part in PARTS if part.name not in LONG)
    for name, what in ((name, expected[name]) for name in names):
        assert any(figure["what"].startswith(what) and figure["value"] is not None for figure in rehearsal[name]), (name, what)


@pytest.fixture(scope="module")
def without_gpu(tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The full command where torch sees no GPU."""
    folder = tmp_path_factory.mktemp("without")
    return run_command("--out", str(folder / "out"), "--data", str(folder / "data"), CUDA_VISIBLE_DEVICES="-1"), folder / "out"


def test_command_when_there_is_no_gpu_then_says_of_each_part_that_it_was_not_measured(without_gpu, gpu):
    from gpu.parts import PARTS

    done, out = without_gpu
    assert done.returncode == 0, done.stderr
    for part in PARTS:
        assert re.search(rf"(?m)^{part.name}: not measured: there is no GPU here: torch .*$", done.stdout), done.stdout
    assert re.search(rf"0 parts measured, 0 parts partly measured, {len(PARTS)} parts not measured, in \d+ of 480 s", done.stdout)
    result = json.loads((out / "gpu-check.json").read_text())
    assert result["seconds"] < result["budget_s"] == 480
    assert {file.name for file in out.iterdir()} == {"gpu-check.json", "gpu-check.md", "gpu-check.log"}
    text = (out / "gpu-check.md").read_text()
    assert "### Not measured" in text and "| measured |" not in text


# -- parts that fail --------------------------------------------------------------------------------------------------------------


def part_of(gpu_module: str, tmp_path: Path, *, code: str, seconds: float = 60.0) -> dict:
    """Run made-up code as a part; it appends to its report, the last word of its command."""
    from gpu import processes

    preamble = (
        "import json, os, sys, time\n"
        f"sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from gpu.figure import Figure\n"
        "from gpu.processes import append_to_report\n"
        "def tell(what, **values): append_to_report(__import__('pathlib').Path(sys.argv[-1]), Figure(what, **values))\n"
    )
    running = processes.begin(gpu_module, [sys.executable, "-c", preamble + code], tmp_path, {})
    return processes.finish(running, seconds)


def test_part_when_it_crashes_then_keeps_what_it_had_measured_and_says_how_it_ended(gpu, tmp_path):
    found = part_of("crash", tmp_path, code="tell('first', value=1.0)\nos.abort()")
    assert (found["status"], found["is_broken"]) == ("partly measured", True)
    assert found["why"] == "it ended with signal SIGABRT: it printed nothing"
    assert [figure["what"] for figure in found["figures"]] == ["first"]


def test_part_when_it_throws_then_the_last_line_of_its_output_is_told(gpu, tmp_path):
    found = part_of("throws", tmp_path, code="raise OSError('No space left on device')")
    assert (found["status"], found["is_broken"]) == ("not measured", True)
    assert found["why"] == "it ended with exit code 1: OSError: No space left on device"


def test_part_when_its_time_is_over_then_it_and_what_it_started_are_ended(gpu, tmp_path):
    code = (
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "tell('child', value=float(child.pid))\n"
        "time.sleep(600)\n"
    )
    from gpu import processes

    preamble = f"import sys, time\nsys.path.insert(0, {str(BENCHMARKS)!r})\nfrom gpu.figure import Figure\nfrom gpu.processes import append_to_report\n"
    preamble += "def tell(what, **values): append_to_report(__import__('pathlib').Path(sys.argv[-1]), Figure(what, **values))\n"
    running = processes.begin("sleeps", [sys.executable, "-c", preamble + code], tmp_path, {})
    while not processes.read_report(running.report):
        assert running.process.poll() is None
        time.sleep(0.05)
    found = processes.finish(running, 0.0)
    assert (found["status"], found["is_broken"]) == ("partly measured", False)
    assert re.fullmatch(r"its time of \d+ s was over", found["why"])
    child = int(found["figures"][0]["value"])
    with pytest.raises(ProcessLookupError):
        for _ in range(600):
            os.kill(child, 0)
            if Path(f"/proc/{child}/stat").read_text().split(") ")[1][0] == "Z":  # ended; whoever inherited it has not asked yet
                raise ProcessLookupError
            time.sleep(0.1)


def test_report_when_a_line_was_cut_then_the_lines_before_count(gpu, tmp_path):
    from gpu.figure import Figure
    from gpu.processes import append_to_report, read_report

    append_to_report(tmp_path / "report", Figure("whole", 1.0, "ms"))
    with open(tmp_path / "report", "a") as stream:
        stream.write('{"what": "cut", "val')
    assert read_report(tmp_path / "report") == [Figure("whole", 1.0, "ms")]


def test_command_when_the_budget_is_short_then_parts_are_not_begun_and_say_how_to_run_them(tmp_path):
    done = run_command("--small", "--minutes", "0.01", "--only", "detector", "mim4d", "--data", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("detector", "mim4d"):
        assert re.search(
            rf"(?m)^{name}: not measured: 0 s of the budget were left, it needs \d+; run it with --only {name}", done.stdout
        )


def test_command_when_ended_by_a_signal_then_its_part_ends_and_what_was_measured_is_written(tmp_path):
    command = [sys.executable, str(COMMAND), "--small", "--only", "detector", "--data", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    report = tmp_path / "gpu-check-parts" / "detector.jsonl"
    while not report.is_file():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 1 and "ended by a signal" in error, (out, error)
    assert json.loads((tmp_path / "gpu-check" / "gpu-check.json").read_text())["parts"][0]["name"] == "detector"


# -- one measurement that fails ---------------------------------------------------------------------------------------------------


def test_attempt_when_memory_runs_out_then_the_part_goes_on(gpu, tmp_path):
    import torch
    from gpu.bench import Bench
    from gpu.figure import Figure

    bench = Bench(torch.device("cpu"), True, tmp_path, 0.0)

    def fails():
        yield Figure("before", 1.0)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 40 GiB")

    found = [*bench.attempt("large", fails), *bench.attempt("small", lambda: [Figure("after", 2.0)])]
    assert [figure.what for figure in found] == ["before", "large", "after"]
    assert found[1].value_text == "not measured: out of memory: OutOfMemoryError: CUDA out of memory. Tried to allocate 40 GiB"


def test_attempt_when_the_gpu_itself_is_lost_then_the_part_ends(gpu, tmp_path, monkeypatch):
    import torch
    from gpu.bench import Bench

    def lost(_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Bench, "wait", lost)
    with pytest.raises(ValueError, match="first error"):
        list(
            Bench(torch.device("cpu"), True, tmp_path, 0.0).attempt(
                "scan", lambda: (_ for _ in ()).throw(ValueError("first error"))
            )
        )


@pytest.mark.parametrize(
    ("value", "limit", "disagrees"), [(1e-5, 1e-4, False), (1e-3, 1e-4, True), (float("nan"), 1e-4, True), (9.0, None, False)]
)
def test_figure_when_beyond_its_tolerance_or_nan_then_disagrees(gpu, value, limit, disagrees):
    from gpu.figure import Figure

    figure = Figure("error", value, limit=limit)
    assert figure.disagrees is disagrees
    assert ("(**disagrees**)" in figure.beside_text) is disagrees


# -- what is written afterwards ---------------------------------------------------------------------------------------------------


def result_of(card: str | None, parts: dict[str, list[dict]], **changes) -> dict:
    machine = {"python": "3.12.3", "packages": {"torch": "2.11.0"}, "driver": "580", "cuda": "13.0", "why_no_gpu": ""}
    machine |= {} if card is None else {"card": card, "capability": [9, 0], "memory_gb": 150.8}
    records = [
        {"name": name, "title": name.upper(), "status": "measured" if figures else "not measured", "why": "" if figures else "no time",
         "seconds": 3.0, "figures": figures} for name, figures in parts.items()
    ]  # fmt: skip
    return {"format": 1, "utc": "2026-12-01T10:00:00+00:00", "commit": "abc", "small": False, "budget_s": 480.0, "seconds": 100.0,
            "machine": machine, "parts": records, **changes}  # fmt: skip


def figure(what: str, value: float | None = 1.0, **others) -> dict:
    return {"what": what, "value": value, "unit": "ms", "beside": "", "limit": None, "why": "", **others}


def test_section_when_put_twice_then_replaces_that_card_and_leaves_all_else(gpu, tmp_path):
    from gpu.section import put_section

    path = tmp_path / "RESULTS.md"
    path.write_text("# Claims\n\n## before\n\nold text\n")
    put_section(
        path, result_of("NVIDIA H200", {"scan": [figure("forward", 0.25, beside="floor 0.1 ms", limit=0.2)], "mim4d": []})
    )
    put_section(path, result_of("NVIDIA L4", {"scan": [figure("forward", 3.5)]}))
    first = path.read_text()
    assert "| forward | 0.25 ms | floor 0.1 ms; at most 0.2 (**disagrees**) |" in first and "- MIM4D: no time" in first
    put_section(path, result_of("NVIDIA H200", {"scan": [figure("forward", 0.125)]}))
    text = path.read_text()
    assert text.startswith(
        "# Claims\n\n## before\n\nold text\n\n<!-- gpu_check NVIDIA H200 -->\n## 2026-12-01: NVIDIA H200, driver 580, CUDA 13.0"
    )
    assert "0.25 ms" not in text and "| forward | 0.125 ms |  |" in text
    assert text.endswith(first[first.index("<!-- gpu_check NVIDIA L4 -->") :])
    path.write_text(text.replace("<!-- /gpu_check NVIDIA L4 -->", ""))
    with pytest.raises(ValueError, match=r"has only one of the marks '<!-- gpu_check NVIDIA L4 -->'"):
        put_section(path, result_of("NVIDIA L4", {"scan": []}))


def test_results_when_joined_then_the_last_figures_of_each_part_count(gpu):
    from gpu.section import joined

    first = result_of("NVIDIA H200", {"scan": [figure("forward", 1.0)], "mim4d": []})
    second = result_of("NVIDIA H200", {"mim4d": [figure("step", 2.0)], "scan": []})
    together = {part["name"]: [one["value"] for one in part["figures"]] for part in joined([first, second])["parts"]}
    assert together == {"scan": [1.0], "mim4d": [2.0]}
    with pytest.raises(ValueError, match="of different cards: NVIDIA H200, no GPU"):
        joined([first, result_of(None, {"scan": []})])


def test_tile_when_kept_then_the_table_has_it_once_and_still_works(gpu, tmp_path):
    from gpu.scan_tiles import BEST
    from gpu.section import TILES, put_tile

    path = tmp_path / "scan_tiles.py"
    path.write_text(TILES.read_text())
    assert (
        put_tile(path, result_of("NVIDIA H200", {"scan_times": [figure("forward")]}))
        == "no tile was searched on a GPU: the table is as it was"
    )
    for chunk in (16, 64):
        result = result_of("NVIDIA H200", {"scan_tiles": [figure(BEST.format(chunk, 32, 2), 1.3)]})
        assert put_tile(path, result) == f"(9, 0): chunk {chunk}, block_d 32, num_warps 2 is in scan_tiles.py"
    names: dict = {"__name__": "scan_tiles"}
    exec(path.read_text(), names)  # the file as it would be imported
    assert dict(names["BY_CAPABILITY"])[9, 0] == (64, 32, 2)
    assert path.read_text().count("(9, 0)") == 1
    small = result_of("NVIDIA H200", {"scan_tiles": [figure(BEST.format(16, 16, 1))]}, small=True)
    assert "as it was" in put_tile(path, small)


def test_from_when_the_file_is_no_result_then_says_what_is_wanted(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    done = run_command("--from", str(tmp_path / "x.json"))
    assert done.returncode == 2
    assert "--from takes files that this command wrote as gpu-check.json" in done.stderr
    done = run_command("--results")
    assert done.returncode == 2 and "--results and --keep go with --from FILE" in done.stderr


# -- what is missing --------------------------------------------------------------------------------------------------------------


def test_command_when_packages_are_missing_then_says_so_at_once_with_the_line_that_brings_them(tmp_path):
    hidden = ("pydantic", "mamba_ssm", "zarr")
    code = "import importlib.util as u\nfind = u.find_spec\n"
    code += f"u.find_spec = lambda name, package=None: None if name in {hidden} else find(name, package)\n"
    (tmp_path / "sitecustomize.py").write_text(code)
    done = run_command(
        "--only", "mim4d", "loader", "--data", str(tmp_path / "data"), PYTHONPATH=str(tmp_path), CUDA_VISIBLE_DEVICES="-1"
    )
    assert done.returncode == 0, done.stderr
    assert (
        "missing: pydantic; not measured without it: mim4d, loader\nmissing: zarr; not measured without it: loader\n"
        in done.stdout
    )
    assert re.search(r"(?m)^  python3 -m pip download .* -d wheels pydantic==[\d.]+ .*zarr==3\.[\d.]+$", done.stdout)
    assert done.stdout.index("missing: zarr") < done.stdout.index("mim4d: not measured")


def test_wheels_when_listed_then_pinned_and_the_page_has_the_very_lines(gpu):
    from gpu.parts import PARTS
    from gpu.wheels import BASICS, CARRIED, DISTRIBUTION, INSTALL_LINE, LARGE, download_line

    page = (REPOSITORY / "docs" / "operations" / "gpu-check.md").read_text()
    for names in (CARRIED, BASICS, LARGE):
        assert f"\n{download_line(list(names), python='3.12', machine='x86_64')}\n" in page
    assert INSTALL_LINE in page
    needed = {DISTRIBUTION.get(module, module) for part in PARTS for module in part.needs}
    by_hand = {"torch", "triton", "pytest", "hypothesis", "tensorboard"}
    assert needed - by_hand <= {*CARRIED, *BASICS, *LARGE}
