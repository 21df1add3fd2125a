"""Where a link into a Markdown page can lead: its headings, by GitHub's rule, and its explicit anchors."""

from __future__ import annotations

import re


def explicit_anchors(text: str) -> list[str]:
    """Return the names of ``<a id="..."></a>``, in their order."""
    return re.findall(r'<a id="([^"]*)"></a>', text)


def anchors_of(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    slugs = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    return slugs | set(explicit_anchors(text))
