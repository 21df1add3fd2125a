"""The tests marked ``gpu``, run by pytest; without a GPU they are only collected."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gpu.bench import Bench
from gpu.figure import Figure

REPOSITORY = Path(__file__).resolve().parents[2]


def figures(bench: Bench) -> Iterator[Figure]:
    """Count what passes, fails and is skipped."""
    files = [
        str(file)
        for file in sorted((REPOSITORY / "tests").rglob("test_*.py"))
        if "@pytest.mark.gpu" in file.read_text(encoding="utf-8")
    ]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "--tb=short", "-rfEs", "-p", "no:cacheprovider", *files]
    command += [] if bench.is_gpu else ["--collect-only"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=max(bench.seconds_left - 5, 5))
    print(done.stdout[-20_000:], done.stderr[-5_000:], flush=True)
    counts = dict.fromkeys(("passed", "failed", "error", "skipped"), 0)
    counts |= {
        word.removesuffix("s"): int(number)
        for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)\b", done.stdout)
    }
    if not bench.is_gpu:
        collected = re.search(r"(\d+)/\d+ tests collected", done.stdout)
        yield Figure("tests collected", int(collected[1]) if collected else None, why="" if collected else done.stdout[-300:])
        return
    yield Figure("passed", counts["passed"])
    yield Figure("failed", counts["failed"] + counts["error"], limit=0)
    yield Figure("skipped", counts["skipped"])
    for line in re.findall(r"(?m)^(?:FAILED|ERROR) .*", done.stdout)[:10]:
        yield Figure(line.replace("|", "/")[:200])
    if not sum(counts.values()):
        yield Figure("tests", why=f"pytest ended with {done.returncode}: {' '.join((done.stderr or done.stdout).split())[-300:]}")
