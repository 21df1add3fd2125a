"""``depthmill pull``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import AsJson


def pull(
    model: Annotated[str, typer.Argument(help="name on the hub: USER/NAME")],
    out: Annotated[Path, typer.Option("--out", help="folder to write; must not exist or be empty")],
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit; default: the newest")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a shared network from a hub of models.

    The hub is that of Hugging Face, or the one that HF_ENDPOINT names. Every file is checked to be whole.
    """
    from flows.sharing.hub import pull as pull_folder

    pulled = pull_folder(model, out, revision=revision)
    family, manifest = pulled.record["config"]["family"], pulled.record["manifest"]
    text = (
        f"wrote {out}: family {family}, trained on manifest {manifest}, commit {pulled.commit[:12]}\n"
        f"Next: read {out}/README.md, then depthmill evaluate {out} RECIPE"
    )
    say({"folder": str(out), "commit": pulled.commit, "family": family, "manifest": manifest}, text, as_json=as_json)
