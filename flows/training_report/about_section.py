"""The section "Training": what was trained on what, by which code, on which machine, with which options.

Reads  training.json
Writes HTML
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flows.training_report.training_files import TrainingFiles
from pipeline.report import markup
from pipeline.report.markup import MISSING, facts, number, section, table, text, tiles

_SHORT_COMMIT = 12


def title_of(found: TrainingFiles) -> str:
    """Return the training's name, or that of its folder while it has none."""
    return str((found.about or {}).get("name") or found.folder.absolute().name)


def about_section(found: TrainingFiles, notes: Sequence[str]) -> str:
    """Return the section; ``notes`` says, a sentence each, what the page lacks."""
    if found.about is None:
        notes = ("No training.json yet: the training has not come to its end, and this page shows what is there.", *notes)
    missing = f'<p class="note">{" ".join(map(text, notes))}</p>' if notes else ""
    about = found.about
    if about is None:
        return section("about", "What was trained", missing)
    body = missing + tiles(_tiles(about)) + facts(_facts(about)) + _config_table(about.get("config") or {})
    return section("about", "What was trained", body)


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested options with their dotted keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _tiles(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    best = about.get("best") or {}
    step = f"at step {number(best['step'])}" if "step" in best else "not measured yet"
    yield "Best MAE to 80 m on validation", _metres(best.get("mae_mm")), step
    yield "Frames trained on", _count(about, "train_frames"), f"{_count(about, 'val_frames')} validated on"
    yield "Steps", _count(about, "num_steps"), _duration(about)
    yield "Parameters", _millions(about.get("num_parameters")), text((about.get("config") or {}).get("family", ""))
    yield "Device", text(about.get("device", MISSING)), f"scan engine {text(about.get('scan_engine', MISSING))}"


def _facts(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Manifest", f"<code>{text(about.get('manifest', MISSING))}</code> in <code>{text(about.get('store', MISSING))}</code>"
    dirty = " with changes that are not committed" if _is_true(about.get("is_dirty")) else ""
    yield "Code", f"commit <code>{text(str(about.get('commit', MISSING))[:_SHORT_COMMIT])}</code>{dirty}"
    for key, words in (("started_utc", "Started"), ("finished_utc", "Finished")):
        if about.get(key):
            yield words, f"{text(about[key])} (UTC)"
    versions = about.get("versions") or {}
    if versions:
        yield "Versions", ", ".join(f"{text(name)} {text(value)}" for name, value in versions.items())


def _config_table(config: Mapping[str, Any]) -> str:
    rows = [[f"<code>{text(key)}</code>", f"<code>{text(_value(value))}</code>"] for key, value in flat(config)]
    if not rows:
        return ""
    shown = table(("Option", "|Value"), [[row[0], markup.Cell(row[1], "text wrap")] for row in rows], caption="All options")
    return f"<details><summary>Configuration, {markup.plural(len(rows), 'option')}</summary>{shown}</details>"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(map(_value, value)) if isinstance(value, list) else str(value)


def _metres(mm: float | None) -> str:
    return MISSING if mm is None else number(mm, unit="mm")


def _count(about: Mapping[str, Any], key: str) -> str:
    return number(about.get(key))


def _duration(about: Mapping[str, Any]) -> str:
    seconds = about.get("seconds")
    return "" if seconds is None else f"in {markup.seconds(float(seconds))}"


def _millions(count: float | None) -> str:
    return MISSING if count is None else number(count / 1e6, digits=2, unit="million")


def _is_true(value: object) -> bool:
    return value is True or str(value).lower() == "true"  # the provenance of a process holds texts
