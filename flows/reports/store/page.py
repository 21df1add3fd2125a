"""Put the report's sections together and write the page, whole or not at all.

Why    A report that needs nothing but itself can be mailed, archived beside the data and opened in ten years
Reads  the plan's units through the store
Writes one HTML file: style, charts and pictures inside, no script, no link to elsewhere
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from flows.reports.store import store_sections
from flows.reports.store.facts import gather_facts
from flows.reports.store.gallery_section import gallery_section
from flows.reports.store.markup import moment, text
from flows.reports.store.pixel_statistics import measure_pixels
from flows.reports.store.store_sections import manifest_words
from flows.reports.store.supervision_section import supervision_section
from pipeline.plan import Plan
from storage_schemas.errors import StoreError
from storage_schemas.files import explain_write_error
from storage_schemas.store import Store

CONTENTS = (
    ("summary", "Store"),
    ("supervision", "Supervision"),
    ("pictures", "Pictures"),
    ("coverage", "Coverage"),
    ("depth", "Depth"),
    ("timings", "Timings"),
    ("recipe", "Recipe"),
)
"""Table of contents: anchor and words."""


def write_report(plan: Plan, store: Store, out: Path, *, title: str) -> Path:
    """Write a self-contained HTML report about the committed units of a plan.

    Args:
        plan: what the recipe asks for; units that are not built yet are left out.
        store: where the units are.
        out: file to write; replaced if it exists.
        title: words for the page's heading, e.g. the recipe's name.

    Returns:
        ``out``.

    Raises:
        StoreError: no unit is there yet, a unit cannot be read, or the file cannot be written.
    """
    _check_target(out)
    return write_page(out, report_html(plan, store, title=title))


def report_html(plan: Plan, store: Store, *, title: str) -> str:
    """Return the page as text; StoreError if no unit is there yet or a unit cannot be read."""
    known = gather_facts(plan, store)
    found = measure_pixels(store, known.views)
    sections = (
        store_sections.summary_section(known),
        store_sections.sampling_note(found),
        supervision_section(found),
        gallery_section(store, known.views, found),
        store_sections.coverage_section(known),
        store_sections.depth_section(found),
        store_sections.timings_section(known),
        store_sections.recipe_section(known),
    )
    return page_html(
        title,
        subtitle=f"{manifest_words(known)} in <code>{text(known.root)}</code>",
        contents=CONTENTS,
        body="".join(sections),
        footer=f"Units written until {moment(known.written_utc[1])}.",
    )


def page_html(title: str, *, subtitle: str, contents: Iterable[tuple[str, str]], body: str, footer: str) -> str:
    """Return a whole page.

    Args:
        title: plain text.
        subtitle: HTML below the title.
        contents: anchor and words of each section that the table of contents names.
        body: HTML of the sections.
        footer: plain text.
    """
    style = resources.files("flows.reports.store").joinpath("report.css").read_text(encoding="utf-8")
    links = "".join(f'<li><a href="#{anchor}">{words}</a></li>' for anchor, words in contents)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{text(title)} · depthmill report</title><style>\n{style}</style></head>\n<body>"
        f'<header><p class="eyebrow">depthmill report</p><h1>{text(title)}</h1>'
        f'<p class="soft">{subtitle}</p></header>\n'
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n<main>{body}</main>\n'
        f"<footer><p>{text(footer)}</p></footer></body></html>\n"
    )


def write_page(out: Path, page: str) -> Path:
    """Write a page whole or not at all and return its path; StoreError if it cannot be written."""
    _write_whole(out, page.encode("utf-8", "backslashreplace"))  # paths need not be UTF-8
    return out


def _check_target(out: Path) -> None:
    try:
        is_folder, has_parent = out.is_dir(), out.absolute().parent.is_dir()
    except OSError as error:
        raise _explained(error, out) from error
    if is_folder:
        raise StoreError(f"cannot write report '{out}': it is a folder. Give --out a file name, e.g. {out / 'report.html'}")
    if not has_parent:
        raise StoreError(
            f"cannot write report '{out}': folder '{out.absolute().parent}' does not exist. "
            "Create it (mkdir -p) or choose another --out"
        )


def _write_whole(out: Path, content: bytes) -> None:
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        try:
            with open(temporary, "xb") as stream:
                stream.write(content)
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _explained(error, out) from error


def _explained(error: OSError, out: Path) -> StoreError:
    return explain_write_error(
        error,
        f"report '{out}'",
        if_full="Free some space, or choose another --out",
        if_denied="Choose an --out in a folder that you may write to",
        otherwise="Choose another --out",
    )
