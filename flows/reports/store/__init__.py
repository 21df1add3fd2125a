"""One self-contained HTML page about a store: is the supervision good, what is in it, how did it come to be.

Why    Numbers alone hide a wrong calibration; pictures alone hide a trend
Reads  the committed units of a plan
Writes report.html
"""

from __future__ import annotations

from pathlib import Path

from flows.reports.html.markup import moment, text
from flows.reports.html.page import page_html, refused_by_disk, write_page
from flows.reports.store.assessment import assessment_section
from flows.reports.store.facts import gather_facts
from flows.reports.store.pictures import pictures_section
from flows.reports.store.pixel_statistics import measure_pixels
from flows.reports.store.sections import (
    coverage_section,
    depth_section,
    manifest_words,
    recipe_section,
    sampling_note,
    summary_section,
    timings_section,
)
from flows.reports.store.supervision import supervision_section
from pipeline.plan import Plan
from storage_schemas.awaited import awaited
from storage_schemas.errors import OutTakenError
from storage_schemas.files import StoreFiles
from storage_schemas.store import Store

CONTENTS = (
    ("summary", "Store"),
    ("supervision", "Supervision"),
    ("assessment", "Assessment"),
    ("pictures", "Pictures"),
    ("coverage", "Coverage"),
    ("depth", "Depth"),
    ("timings", "Timings"),
    ("recipe", "Recipe"),
)
"""Table of contents: anchor and words."""


def write_report(plan: Plan, store: Store, out: Path, *, title: str, runs: StoreFiles | None = None) -> Path:
    """Write a self-contained HTML report about the committed units of a plan.

    Args:
        plan: what the recipe asks for; units that are not built yet are left out.
        store: where the units are.
        out: file to write; replaced if it exists.
        title: words for the page's heading, e.g. the recipe's name.
        runs: files of the store's runs folder, where assessments are kept.

    Returns:
        ``out``.

    Raises:
        StoreError: no unit is there yet, a unit cannot be read, or the file cannot be written.
    """
    _check_target(out)
    with awaited("the report is written"):
        return write_page(out, report_html(plan, store, title=title, runs=runs))


def report_html(plan: Plan, store: Store, *, title: str, runs: StoreFiles | None = None) -> str:
    """Return the page as text; StoreError if no unit is there yet or a unit cannot be read."""
    store_facts = gather_facts(plan, store)
    pixels = measure_pixels(store, store_facts.views)
    sections = (
        summary_section(store_facts),
        sampling_note(pixels),
        supervision_section(pixels),
        assessment_section(plan, runs),
        pictures_section(store, store_facts.views, pixels),
        coverage_section(store_facts),
        depth_section(pixels),
        timings_section(store_facts),
        recipe_section(store_facts),
    )
    return page_html(
        title,
        subtitle=f"{manifest_words(store_facts)} in <code>{text(store_facts.root)}</code>",
        contents=CONTENTS,
        body="".join(sections),
        footer=f"Units written until {moment(store_facts.written_utc[1])}.",
    )


def _check_target(out: Path) -> None:
    try:
        is_folder, has_parent = out.is_dir(), out.absolute().parent.is_dir()
    except OSError as error:
        raise refused_by_disk(error, out) from error
    if is_folder:
        raise OutTakenError(f"cannot write report '{out}': it is a folder. Give --out a file name, e.g. {out / 'report.html'}")
    if not has_parent:
        raise OutTakenError(
            f"cannot write report '{out}': folder '{out.absolute().parent}' does not exist. "
            "Create it (mkdir -p) or choose another --out"
        )
