"""``depthmill analyse``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import AsJson


def analyse(
    evaluation: Annotated[str, typer.Argument(help="a training (path or URL), or a folder that evaluate wrote")],
    out: Annotated[
        Path | None, typer.Option("--out", help="folder for tables and plots; default: analysis/ in the evaluation")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say where a detector is wrong, from an evaluation of it.

    Its depth, projected centre, size, heading and image box are replaced by the truth, one at a time. Precision and errors are
    given by distance, occlusion and height, and the precision that an error of every centre would cost.
    """
    from depthmill import networks

    answer = networks.analyse(evaluation, out=out)
    say(answer.data, answer.text, as_json=as_json)
