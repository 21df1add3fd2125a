"""``depthmill onnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import AsJson, Checkpoint, MaxDepth, PlugIn, Reference


def onnx(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option("--out", help="file to write, e.g. model.onnx; must not exist")],
    size: Annotated[
        str | None, typer.Option(help="rows x columns of the images, e.g. 352x1216; a detector knows its own")
    ] = None,
    reference: Reference = False,
    max_depth: MaxDepth = 120.0,
    plug_in: PlugIn = False,
    as_json: AsJson = False,
) -> None:
    """Write a network as ONNX, for programs without torch.

    It takes one frame of a fixed size. The file is written after ONNX Runtime gave the same answers as torch.
    """
    from depthmill.networks import load_model
    from flows.sharing.onnx import check_before_onnx, parse_size, write_onnx
    from flows.text import size as size_text
    from storage_schemas.awaited import awaited

    check_before_onnx(out)
    rows_columns = None if size is None else parse_size(size)
    model = load_model(checkpoint, reference=reference, max_depth_m=max_depth, plug_in=plug_in)
    with awaited("torch traces the network, and ONNX Runtime runs what came of it"):
        written = write_onnx(model, out, size=rows_columns)
    lines = [f"  {name} {'x'.join(map(str, shape))}" for name, shape in written.shapes.items()]
    lines = [
        f"{line}, at most {written.differences[name]:.2g} from torch" if name in written.differences else line
        for line, name in zip(lines, written.shapes, strict=True)
    ]
    data = {
        "file": str(out),
        "bytes": written.num_bytes,
        "differences": written.differences,
        "shapes": {name: list(shape) for name, shape in written.shapes.items()},
    }
    say(data, "\n".join([f"wrote {out} ({size_text(written.num_bytes)})", *lines]), as_json=as_json)
