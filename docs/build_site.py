"""Build the site of these pages: ``python docs/build_site.py``. The extra ``docs`` has what it needs.

The site has the README, every page in docs/, and every page that one of them links to (model/, storage_schemas/, benchmarks/).
Pages keep their places, so a link that works in the repository works on the site. Other files that a page links to are copied.
Warnings are errors: a link or an anchor that leads nowhere stops the build, as does a docstring that cannot be read.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = REPOSITORY / "zensical.toml"
STYLE = REPOSITORY / "docs" / "site.css"
PAGES = REPOSITORY / "build" / "site-pages"
"""Where zensical.toml says that the pages are."""

CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:|mailto:)(?P<target>[^)#\s]+)(?:#[^)\s]+)?\)")


def main() -> None:
    """Gather the pages and build the site."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages-only", action="store_true", help="gather the pages in build/site-pages and build nothing")
    args = parser.parse_args()
    shutil.rmtree(PAGES, ignore_errors=True)
    for file in sorted(files_of_site()):
        target = PAGES / file.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    if not args.pages_only:
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(SETTINGS)]
        if code := subprocess.run(command, cwd=REPOSITORY, check=False).returncode:
            sys.exit(code)
        print("the site is in build/site. To look at it, with its search: python -m http.server -d build/site")


def files_of_site() -> set[Path]:
    """Return every page of the site and every file that they link to."""
    todo = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    found = {*todo, STYLE}
    while todo:
        page = todo.pop()
        for file in linked_files(page):
            if file not in found:
                found.add(file)
                todo += [file] if file.suffix == ".md" else []
    return found


def linked_files(page: Path) -> Iterator[Path]:
    """Yield the files of the repository that a page links to; SystemExit names a link that leads to none."""
    for match in LINK.finditer(CODE.sub("", page.read_text(encoding="utf-8"))):
        file = (page.parent / match["target"]).resolve()
        if not file.is_file() or not file.is_relative_to(REPOSITORY):
            raise SystemExit(f"{page.relative_to(REPOSITORY)} links to {match['target']}, which is no file of the repository")
        yield file


if __name__ == "__main__":
    main()
