"""Links in Prefect's pages to what a run has written: something that a browser opens, or else how to get it."""

from __future__ import annotations

import os
import platform
from urllib.parse import unquote, urlsplit

from prefect.artifacts import create_link_artifact, create_markdown_artifact

OPENED_BY_BROWSERS = ("http", "https", "file")


def leave_link(key: str, link: str, name: str) -> None:
    """Leave an artifact that leads to a file.

    Args:
        key: of the artifact.
        link: URL of the file.
        name: of the file, for people.
    """
    if urlsplit(link).scheme in OPENED_BY_BROWSERS:
        create_link_artifact(key=key, link=link, link_text=name, description=where_it_is(link, name))
    else:
        create_markdown_artifact(key=key, markdown=where_it_is(link, name), description=name)


def where_it_is(link: str, name: str) -> str:
    """Say in Markdown where a file is and how to open it; a browser opens no file of another machine, and no object store."""
    parts = urlsplit(link)
    if parts.scheme == "file":
        return (
            f"`{unquote(parts.path)}` on {platform.node()}. A browser opens the link on that machine, or where the disk is shared"
        )
    if parts.scheme in ("s3", "s3a"):
        server = os.environ.get("AWS_ENDPOINT_URL")
        option = f" --endpoint-url {server}" if server else ""
        host = f"{server.rstrip('/')}/{parts.netloc}" if server else f"https://{parts.netloc}.s3.amazonaws.com"
        return (
            f"`{link}`\n\nTo open it:\n\n```\naws s3 cp{option} {link} .\n```\n\n"
            f"Where the bucket may be read without keys, a browser opens it: [{name}]({host}{parts.path})"
        )
    return f"`{link}`. Fetch it with the tool of that store, then open {name} in a browser"
