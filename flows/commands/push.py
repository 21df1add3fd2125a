"""``depthmill push``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import AsJson


def push(
    folder: Annotated[Path, typer.Argument(help="folder that depthmill share wrote")],
    model: Annotated[str, typer.Argument(help="name on the hub: USER/NAME")],
    public: Annotated[bool, typer.Option("--public", help="everybody may see it; a new model is private otherwise")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a shared network onto a hub of models.

    The hub is that of Hugging Face, or the one that HF_ENDPOINT names. The token is HF_TOKEN or that of hf auth login.
    """
    from flows.sharing.hub import push as push_folder

    pushed = push_folder(folder, model, is_public=public)
    text = f"pushed {folder} to {pushed.url}, {'private' if pushed.is_private else 'public'}, commit {pushed.commit[:12]}"
    say({"url": pushed.url, "commit": pushed.commit, "is_private": pushed.is_private}, text, as_json=as_json)
