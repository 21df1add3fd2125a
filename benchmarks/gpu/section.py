"""The result as Markdown, and how it gets into a file between two marks, so that nobody edits by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu.figure import Figure

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks" / "RESULTS.md"
BEST_TILE = r"best tile: chunk (\d+), block_d (\d+), num_warps (\d+)"
"""What the part ``scan_tiles`` calls its result."""

TILES = REPOSITORY / "model" / "blocks" / "scan_tiles.py"


def section(result: Mapping[str, Any]) -> str:
    """Return the section of one result for RESULTS.md."""
    about, parts = result["machine"], result["parts"]
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    measured = [part for part in parts if part["figures"]]
    lines = [
        f"## {result['utc'][:10]}: {about.get('card', 'no GPU')}, driver {about['driver']}, CUDA {about.get('cuda')}",
        f"`python benchmarks/gpu_check.py`, commit {result['commit'] or 'unknown'}: {len(measured)} of {len(parts)} parts in "
        f"{result['seconds']:.0f} of {result['budget_s']:.0f} s. Python {about['python']}, {packages}."
        + (
            f" Memory of the card {about['memory_gb']:g} GB, compute capability {'.'.join(map(str, about['capability']))}."
            if "card" in about
            else ""
        ),
    ]
    if result["small"]:
        lines.append("**A rehearsal with tiny sizes: the figures mean nothing.**")
    for part in parts:
        if part["figures"]:
            lines += ["", f"### {part['title']}", f"{_status(part)}", "", "| | measured | beside |", "|---|---|---|"]
            lines += [_row(Figure(**figure)) for figure in part["figures"]]
    absent = [part for part in parts if not part["figures"]]
    if absent:
        lines += ["", "### Not measured", *(f"- {part['title']}: {part['why'] or part['status']}" for part in absent)]
    return "\n".join(lines) + "\n"


def _status(part: Mapping[str, Any]) -> str:
    text = f"Part `{part['name']}`, {part['seconds']:.0f} s."
    return text + (f" {part['status'].capitalize()}: {part['why']}." if part["why"] else "")


def _row(figure: Figure) -> str:
    return "| " + " | ".join(text.replace("|", "/") for text in (figure.what, figure.value_text, figure.beside_text)) + " |"


def joined(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several results of one card as one: of each part the last that has figures, of the machine the last.

    Raises:
        ValueError: they are of different cards.
    """
    cards = {result["machine"].get("card", "") for result in results}
    if len(cards) > 1:
        raise ValueError(f"the files are of different cards: {', '.join(sorted(card or 'no GPU' for card in cards))}")
    last = dict(results[-1])
    of_name: dict[str, Any] = {}
    for result in results:
        for part in result["parts"]:
            if part["figures"] or part["name"] not in of_name:
                of_name[part["name"]] = part
    last["parts"] = list(of_name.values())
    last["seconds"] = sum(result["seconds"] for result in results)
    last["budget_s"] = sum(result["budget_s"] for result in results)
    return last


def put_section(path: Path, result: Mapping[str, Any]) -> None:
    """Put the section into a file, in place of the former one of the same card, else at the end."""
    name = f"gpu_check {result['machine'].get('card', 'no GPU')}"
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = path.read_text(encoding="utf-8")
    new = f"{first}\n{section(result)}{last}\n"
    begins, ends = text.find(first), text.find(last)
    if (begins < 0) != (ends < 0) or ends < begins:
        raise ValueError(f"'{path}' has only one of the marks '{first}' and '{last}', or the second first; put them right")
    text = f"{text[:begins]}{new}{text[ends + len(last) + 1 :]}" if begins >= 0 else f"{text.rstrip()}\n\n{new}"
    path.write_text(text, encoding="utf-8")


def put_tile(path: Path, result: Mapping[str, Any]) -> str:
    """Put the best tile of the card's architecture into the table; return what was done."""
    about = result["machine"]
    best = next(
        (match for part in result["parts"] for figure in part["figures"] if (match := re.fullmatch(BEST_TILE, figure["what"]))),
        None,
    )
    if best is None or "capability" not in about or result["small"]:
        return "no tile was searched on a GPU: the table is as it was"
    chunk, block_d, num_warps = map(int, best.groups())
    key = f"({about['capability'][0]}, {about['capability'][1]})"
    line = (
        f"        {key}: Tile(chunk={chunk}, block_d={block_d}, num_warps={num_warps}),  # {about['card']}, {result['utc'][:10]}"
    )
    text = path.read_text(encoding="utf-8")
    found = re.search(r"(?s)( +# <tiles>\n)(.*?)( +# </tiles>)", text)
    if found is None:
        raise ValueError(f"'{path}' has lost its marks '# <tiles>' and '# </tiles>'; put them back")
    kept = [other for other in found[2].splitlines() if not other.strip().startswith(f"{key}:")]
    path.write_text(text[: found.start(2)] + "\n".join(sorted([*kept, line])) + "\n" + text[found.end(2) :], encoding="utf-8")
    return f"{key}: chunk {chunk}, block_d {block_d}, num_warps {num_warps} is in {path.name}"
