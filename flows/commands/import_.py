"""``depthmill import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import echo, say
from flows.command_line.options import AsJson


def import_(
    folder: Annotated[Path, typer.Argument(help="folder in the public layout")],
    store: Annotated[str, typer.Option(help="store to fill")],
    layout: Annotated[str, typer.Option(help="semodepth")] = "semodepth",
    as_json: AsJson = False,
) -> None:
    """Read a folder in the public layout into a store.

    It is the inverse of export.
    """
    from flows.run.interchange import import_folder, import_warnings
    from pipeline.exporters.semodepth_lists import absent_lists

    for key in absent_lists(folder):
        echo(f"warning: there is no list '{folder / key}', so nothing of it is imported", err=True)
    manifest = import_folder(folder, store, layout=layout)
    for warning in import_warnings(manifest):
        echo(f"warning: {warning}", err=True)
    text = f"imported {len(manifest)} samples as manifest {manifest.path.fingerprint} into {store}"
    say({"store": store, "manifest": manifest.path.fingerprint, "samples": len(manifest)}, text, as_json=as_json)
