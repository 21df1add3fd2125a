"""``depthmill share``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import AsJson


def share(
    training: Annotated[str, typer.Argument(help="folder or URL of a complete training")],
    out: Annotated[Path, typer.Option("--out", help="folder to write; must not exist or be empty")],
    name: Annotated[str | None, typer.Option(help="name of the model; default: that of the folder")] = None,
    data_licence: Annotated[
        str | None,
        typer.Option(
            "--data-licence",
            help="licence of the data it was trained on, as a hub calls it: cc-by-nc-sa-4.0 for nuScenes, cc-by-nc-sa-3.0 for "
            "KITTI; needed unless the drives are simulated",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained network as a folder to pass on.

    It holds the weights as safetensors, and a model card with measures and licence.
    """
    from flows.run.runs import local_path
    from flows.settings import settings_of_machine
    from flows.sharing.folder import share_training
    from flows.text import size

    folder = local_path(training, settings_of_machine().cache_dir)
    shared = share_training(folder, out, name=name, data_licence=data_licence)
    files = list(shared.files)
    text = (
        f"wrote {out}: {', '.join(files)} ({size(shared.num_bytes)})\n"
        f"Next: read {out}/README.md, then depthmill push {out} USER/NAME"
    )
    data = {"folder": str(out), "files": files, "bytes": shared.num_bytes, "data_licence": shared.data_licence}
    say(data, text, as_json=as_json)
