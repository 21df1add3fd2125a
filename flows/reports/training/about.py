"""The section "Training": what was trained on what, by which code, on which machine, with which options.

Reads  training.json
Writes HTML
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flows.reports.html import markup
from flows.reports.html.markup import MISSING, facts, number, section, table, text, tiles
from flows.reports.training.files import TrainingFiles

_SHORT_COMMIT = 12

Headline = Callable[[Mapping[str, Any]], tuple[str, str]]
"""From training.json to name and value of the best figure of a training, each HTML."""

Tile = tuple[str, str, str]
"""Name, value and more of a big number, each HTML."""


def about_section(training: TrainingFiles[Any], notes: Sequence[str], *, headline: Headline) -> str:
    """Return the section; ``notes`` says, a sentence each, what the page lacks, ``headline`` how good the result is.

    What was to be known before the training stands before the notes.
    """
    if training.about is None:
        notes = ("No training.json yet: the training has not come to its end, and this page shows what is there.", *notes)
    about = training.about
    notes = (*(about or {}).get("notices", ()), *notes)
    missing = f'<p class="note">{" ".join(map(text, notes))}</p>' if notes else ""
    if about is None:
        return section("about", "What was trained", missing)
    headline_tiles = tiles(((*headline(about), _best_step(about)), *_tiles(about)))
    return section("about", "What was trained", missing + headline_tiles + facts(_facts(about)) + _config_table(training.config))


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested options with their dotted keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _best_step(about: Mapping[str, Any]) -> str:
    """Return when the kept checkpoint was made, in words."""
    best = about.get("best") or {}
    return f"at step {number(best['step'])}" if "step" in best else "not measured yet"


def _tiles(about: Mapping[str, Any]) -> Iterator[Tile]:
    yield "Frames trained on", number(about.get("train_frames")), f"{number(about.get('val_frames'))} measured on"
    yield "Steps", number(about.get("num_steps")), _duration(about)
    yield "Parameters", _millions(about.get("num_parameters")), text((about.get("config") or {}).get("family", ""))
    engine = about.get("scan_engine")
    yield "Device", text(about.get("device", MISSING)), "" if engine is None else f"scan engine {text(engine)}"


def _facts(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Manifest", f"<code>{text(about.get('manifest', MISSING))}</code> in <code>{text(about.get('store', MISSING))}</code>"
    if about.get("start_file"):
        yield (
            "Began with",
            (
                f"step {text(about['start_step'])} of a {text(about['start_family'])} training on manifest "
                f"<code>{text(about['start_manifest'])}</code>: <code>{text(about['start_file'])}</code>"
            ),
        )
    if about.get("choice"):
        yield "Best checkpoint", text(about["choice"])
    dirty = " with changes that are not committed" if _is_true(about.get("is_dirty")) else ""
    yield "Code", f"commit <code>{text(str(about.get('commit', MISSING))[:_SHORT_COMMIT])}</code>{dirty}"
    for key, name in (("started_utc", "Started"), ("finished_utc", "Finished")):
        if about.get(key):
            yield name, f"{text(about[key])} (UTC)"
    versions = about.get("versions") or {}
    if versions:
        yield "Versions", ", ".join(f"{text(name)} {text(value)}" for name, value in versions.items())


def _config_table(config: Mapping[str, Any]) -> str:
    rows = [[f"<code>{text(key)}</code>", f"<code>{text(_value(value))}</code>"] for key, value in flat(config)]
    if not rows:
        return ""
    options = table(("Option", "|Value"), [[row[0], markup.Cell(row[1], "text wrap")] for row in rows], caption="All options")
    return f"<details><summary>Configuration, {markup.plural(len(rows), 'option')}</summary>{options}</details>"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(map(_value, value)) if isinstance(value, list) else str(value)


def _duration(about: Mapping[str, Any]) -> str:
    seconds = about.get("seconds")
    return "" if seconds is None else f"in {markup.seconds(float(seconds))}"


def _millions(count: float | None) -> str:
    return number(count) if count is None or count < 10_000 else number(count / 1e6, digits=2, unit="million")


def _is_true(value: object) -> bool:
    return value is True or str(value).lower() == "true"  # the provenance of a process holds texts
