"""Claim: minutes on a GPU answer what has never run there; each part in a process of its own, the most telling first.

Runs     with the Python of a bare GPU machine: it installs nothing, says at once what is missing, and goes on with the rest
Ends     within ``--minutes``; what a part had measured when its time was over is kept, and every part that was not begun says why
Writes   gpu-check.json, gpu-check.md (a section for RESULTS.md) and gpu-check.log, after each part anew
Later    ``--from FILE ... --results --keep`` puts the section into RESULTS.md and the best tile into the scan's table; several
         files of one card are joined, so that a second session needs to run only what the first had no time for (``--only``)
Without a GPU nothing is measured, and it says so; ``--small`` rehearses every part on a CPU

docs/operations/gpu-check.md says how to bring it to a machine without a network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
for _folder in (str(HERE.parent), str(HERE.parents[1])):  # the repository need not be installed
    if _folder not in sys.path:
        sys.path.insert(0, _folder)

from gpu import processes, section
from gpu.figure import Figure, in_one_line
from gpu.parts import PARTS, Part, part_named
from gpu.wheels import INSTALL_LINE, download_line, is_importable, missing_tools, wheels_of

CARD_S = 120.0
"""The first start of CUDA may take long."""

RESERVE_S = 8.0
"""Kept for ending the last part and writing."""

CORES_BESIDE = 6
"""With so many cores the drive is made beside the parts that use the GPU."""

LEAST_FREE_GB = 3.0


def main() -> int:
    """Run the command; return its exit code: 1 if a part broke or a figure is beyond its tolerance."""
    args = _arguments()
    if args.part:
        return _run_part(args)
    if args.from_files:
        return _write_later(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # so that a running part is ended, too
    args.out.mkdir(parents=True, exist_ok=True)
    args.data.mkdir(parents=True, exist_ok=True)
    return Check(args).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [part.name for part in PARTS]
    parser.add_argument("--minutes", type=float, help="time for all of it; 8 unless given, 60 with --small")
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help=f"only these parts: {', '.join(names)}")
    parser.add_argument("--small", action="store_true", help="rehearse every part with tiny sizes, on a CPU too; no figures")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(tempfile.gettempdir()) / "depthmill-benchmark",
        help="folder for data, kept between runs",
    )
    parser.add_argument("--out", type=Path, help="folder for the three files; gpu-check below --data unless given")
    parser.add_argument(
        "--from", dest="from_files", type=Path, nargs="+", metavar="JSON", help="measure nothing; take these results"
    )
    parser.add_argument("--results", action="store_true", help="with --from: put the section into benchmarks/RESULTS.md")
    parser.add_argument("--keep", action="store_true", help="with --from: put the best tile into model/blocks/scan_tiles.py")
    parser.add_argument("--part", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if (args.results or args.keep) and not args.from_files:
        parser.error("--results and --keep go with --from FILE: measure first, look at gpu-check.md, then put it there")
    args.minutes = args.minutes or (60.0 if args.small else 8.0)
    if args.minutes < 0:
        parser.error(f"--minutes is {args.minutes:g}, expected more than 0")
    args.data = args.data.absolute()
    args.out = (args.out or args.data / "gpu-check").absolute()
    return args


class Check:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.began_at = time.monotonic()
        self.parts = [part for part in PARTS if not args.only or part.name in args.only]
        self.folder = args.data / "gpu-check-parts"
        self.beside: dict[str, processes.Running] = {}
        self.result: dict[str, Any] = {
            "format": 1,
            "utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "small": args.small,
            "budget_s": 60 * args.minutes,
            "seconds": 0.0,
            "machine": {},
            "parts": [{"name": part.name, "title": part.title, "status": "not measured", "why": "not begun", "seconds": 0.0, "figures": []}
                      for part in self.parts],
        }  # fmt: skip

    @property
    def seconds_left(self) -> float:
        """Return how much of the budget is left for parts."""
        return 60 * self.args.minutes - RESERVE_S - (time.monotonic() - self.began_at)

    def run(self) -> int:
        """Run all parts and write what they found."""
        (self.args.out / "gpu-check.log").write_bytes(b"")
        self.result["machine"] = self._card()
        about = self.result["machine"]
        print(
            f"{about.get('card', 'no GPU')}, driver {about['driver']}, Python {about['python']}, {about['packages']}", flush=True
        )
        absent = self._say_what_is_missing()
        is_gpu = not about["why_no_gpu"]
        try:
            if is_gpu or self.args.small:
                self._begin_beside(absent, is_gpu=is_gpu)
            for part, record in zip(self.parts, self.result["parts"], strict=True):
                record.update(self._measured(part, absent, is_gpu=is_gpu, why_no_gpu=about["why_no_gpu"]))
                self._print(record)
                self._write()
        finally:
            for running in self.beside.values():
                running.end()
            self._write()
        return self._verdict()

    def _card(self) -> dict[str, Any]:
        command = [sys.executable, str(HERE.parent / "gpu" / "card.py")]
        seconds = min(CARD_S, max(self.seconds_left, 1.0))
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
            return dict(json.loads(done.stdout))
        except (subprocess.TimeoutExpired, ValueError, OSError) as error:
            why = f"looking for it did not end well: {in_one_line(error)}"
            return {
                "python": sys.version.split()[0],
                "machine": os.uname().machine,
                "packages": {},
                "driver": "unknown",
                "why_no_gpu": why,
            }

    def _say_what_is_missing(self) -> set[str]:
        """Print what parts of this run lack, and the lines that bring it; return the modules."""
        absent = {module for part in self.parts for module in part.needs if not is_importable(module)}
        for module in sorted(absent):
            lacking = [part.name for part in self.parts if module in part.needs]
            print(f"missing: {module}; not measured without it: {', '.join(lacking)}")
        if absent - {"torch", "triton"}:
            print(
                f"to bring it from a machine with a network:\n  {download_line(wheels_of(absent - {'torch', 'triton'}))}\n  {INSTALL_LINE}"
            )
        for tool in missing_tools():
            print(f"missing: {tool}")
        free_gb = shutil.disk_usage(self.args.data).free / 1e9
        if free_gb < LEAST_FREE_GB:
            print(
                f"little room: {free_gb:.1f} GB are free in {self.args.data}; {LEAST_FREE_GB:g} are needed. Choose another folder with --data"
            )
        sys.stdout.flush()
        return absent

    def _begin_beside(self, absent: set[str], *, is_gpu: bool) -> None:
        """Begin what needs no GPU, while other parts use it."""
        if not is_gpu or len(os.sched_getaffinity(0)) < CORES_BESIDE:
            return
        for part in self.parts:
            if part.is_made_beside and not absent & set(part.needs):
                self.beside[part.name] = self._begin(part, part.most_s, is_gpu=is_gpu)

    def _measured(self, part: Part, absent: set[str], *, is_gpu: bool, why_no_gpu: str) -> dict[str, Any]:
        """Run a part, or say why not."""
        lacking = [module for module in part.needs if module in absent]
        if not is_gpu and not self.args.small:
            return {"why": f"there is no GPU here: {why_no_gpu}"}
        if lacking:
            return {"why": f"{', '.join(lacking)} missing"}
        running = self.beside.pop(part.name, None)
        if running is None:
            if self.seconds_left < (1.0 if self.args.small else part.least_s):
                return {
                    "why": f"{max(self.seconds_left, 0):.0f} s of the budget were left, it needs {part.least_s:.0f}; run it with --only {part.name}"
                }
            running = self._begin(part, min(self._most_s(part), self.seconds_left), is_gpu=is_gpu)
        spent = time.monotonic() - running.began_at
        try:
            return processes.finish(running, min(self._most_s(part) - spent, self.seconds_left))
        finally:
            with open(self.args.out / "gpu-check.log", "ab") as stream:
                stream.write(f"\n===== {part.name}\n".encode() + running.log.read_bytes()[-200_000:])

    def _most_s(self, part: Part) -> float:
        return 3600.0 if self.args.small else part.most_s  # a rehearsal may be slow

    def _begin(self, part: Part, seconds: float, *, is_gpu: bool) -> processes.Running:
        command = [sys.executable, str(HERE), "--part", part.name, "--seconds", str(seconds), "--data", str(self.args.data)]
        environment = {
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])),
        }
        for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR"):  # the home folder may not be writable
            environment.setdefault(name, os.environ.get(name, str(self.args.data / name.lower())))
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # as in every benchmark; set before torch starts its threads
            environment[name] = os.environ.get(name, "1")
        environment |= {} if is_gpu else part.rehearsed_by
        return processes.begin(part.name, [*command, *(["--small"] if self.args.small else [])], self.folder, environment)

    def _print(self, record: dict[str, Any]) -> None:
        why = f": {record['why']}" if record["why"] and record["status"] != "measured" else ""
        print(f"\n{record['name']}: {record['status']}{why} ({record['seconds']:.0f} s)")
        for figure in (Figure(**figure) for figure in record["figures"]):
            print(f"  {figure.what}: {figure.value_text}" + (f" [{figure.beside_text}]" if figure.beside_text else ""))
        sys.stdout.flush()

    def _write(self) -> None:
        self.result["seconds"] = round(time.monotonic() - self.began_at, 1)
        for name, text in (("gpu-check.json", json.dumps(self.result, indent=1)), ("gpu-check.md", section.section(self.result))):
            unfinished = self.args.out / f"{name}.new"
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(self.args.out / name)

    def _verdict(self) -> int:
        records, about = self.result["parts"], self.result["machine"]
        states = ("measured", "partly measured", "not measured")
        counts = {state: sum(record["status"] == state for record in records) for state in states}
        figures = [(record["name"], Figure(**figure)) for record in records for figure in record["figures"]]
        beyond = [f"{name}: {figure.what}" for name, figure in figures if figure.disagrees]
        broken = [record["name"] for record in records if record.get("is_broken")]
        spent = f"in {self.result['seconds']:.0f} of {self.result['budget_s']:.0f} s"
        print(f"\n{', '.join(f'{number} parts {state}' for state, number in counts.items())}, {spent}")
        for what in beyond:
            print(f"beyond its tolerance: {what}")
        for name in broken:
            print(f"broke: {name}; its output is in {self.args.out / 'gpu-check.log'}")
        written = self.args.out / "gpu-check.json"
        print(f"wrote {written}, gpu-check.md and gpu-check.log")
        if not about["why_no_gpu"] and not self.args.small:
            print(f"then, in the repository: python benchmarks/gpu_check.py --from {written} --results --keep")
        return 1 if beyond or broken else 0


def _run_part(args: argparse.Namespace) -> int:
    """Run one part in this process; its figures go to the report."""
    import site
    from importlib import import_module

    for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        site.addsitedir(folder)  # numba-cuda takes numba's place by a .pth file, which Python does not read there by itself

    import torch
    from gpu.bench import Bench

    part = part_named(args.part)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = Bench(device, args.small, args.data, time.monotonic() + args.seconds)
    for figure in import_module(f"gpu.{part.name}").figures(bench):
        processes.append_to_report(args.report, figure)
    return 0


def _write_later(args: argparse.Namespace) -> int:
    try:
        results = [json.loads(path.read_text(encoding="utf-8")) for path in args.from_files]
        result = section.joined(results)
        if args.results:
            section.put_section(section.RESULTS, result)
            print(f"the section of {result['machine'].get('card', 'no GPU')} is in {section.RESULTS}")
        if args.keep:
            print(section.put_tile(section.TILES, result))
        if not args.results and not args.keep:
            print(section.section(result), end="")
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: {in_one_line(error)}. --from takes files that this command wrote as gpu-check.json", file=sys.stderr)
        return 2
    return 0


def _commit() -> str:
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["git", "-C", str(HERE.parent), "rev-parse", "--short", "HEAD"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return ""


if __name__ == "__main__":
    sys.exit(main())
