"""The command that installs an optional extra here: it depends on where this depthmill was installed from.

Why    depthmill may come from a folder, a wheel or a git URL. ``pip install 'depthmill[train]'`` then finds no distribution
Reads  ``direct_url.json`` of the installed distribution, where pip and uv write down what they were given
"""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from storage_schemas.shown_text import without_secrets


def install_command(extra: str) -> str:
    """Return the pip command that installs an extra of this depthmill.

    Args:
        extra: name of the extra, or several with commas, e.g. ``train,s3``.
    """
    origin = _origin()
    url = str(origin.get("url", ""))
    if "dir_info" in origin and url.startswith("file://"):
        folder = shlex.quote(f"{url2pathname(urlsplit(url).path)}[{extra}]")
        return f"pip install -e {folder}" if origin["dir_info"].get("editable") else f"pip install {folder}"
    name = f"depthmill[{extra}]"
    if "vcs_info" in origin:
        of = origin["vcs_info"]
        return f"pip install '{name} @ {of.get('vcs', 'git')}+{without_secrets(url)}@{of.get('commit_id', 'main')}'"
    if url.startswith("file://") and not Path(url2pathname(urlsplit(url).path)).exists():
        return f"pip install '<the wheel of depthmill>[{extra}]'"
    return f"pip install '{name} @ {without_secrets(url)}'" if url else f"pip install '{name}'"


def _origin() -> dict[str, Any]:
    """Return what pip noted about where it got depthmill from; empty if it was an index."""
    try:
        text = metadata.distribution("depthmill").read_text("direct_url.json")
        origin = json.loads(text or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}
