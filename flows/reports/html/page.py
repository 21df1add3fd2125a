"""The frame of a page, and writing it whole or not at all.

Why    A report that needs nothing but itself can be mailed, archived beside the data and opened in ten years
Reads  HTML of sections
Writes one HTML file: style, charts and pictures inside, no script, no link to elsewhere
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from flows.reports.html.markup import text
from storage_schemas.errors import StoreError
from storage_schemas.files import explain_write_error, written_whole


def page_html(title: str, *, subtitle: str, contents: Iterable[tuple[str, str]], body: str, footer: str) -> str:
    """Return a whole page.

    Args:
        title: plain text.
        subtitle: HTML below the title.
        contents: anchor and words of each section that the table of contents names.
        body: HTML of the sections.
        footer: plain text.
    """
    style = resources.files("flows.reports.html").joinpath("report.css").read_text(encoding="utf-8")
    links = "".join(f'<li><a href="#{anchor}">{name}</a></li>' for anchor, name in contents)
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
    try:
        with written_whole(out, is_flushed=False) as stream:
            stream.write(page.encode("utf-8", "backslashreplace"))  # paths need not be UTF-8
    except OSError as error:
        raise refused_by_disk(error, out) from error
    return out


def refused_by_disk(error: OSError, out: Path) -> StoreError:
    """Return the error of a page that the disk refuses, with the next step."""
    return explain_write_error(
        error,
        f"report '{out}'",
        if_full="Free some space, or choose another --out",
        if_denied="Choose an --out in a folder that you may write to",
        otherwise="Choose another --out",
    )
