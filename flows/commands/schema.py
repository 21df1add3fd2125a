"""``depthmill schema``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import echo, say
from flows.command_line.options import AsJson


def schema(
    out: Annotated[Path | None, typer.Option("--out", help="file to write; without it the schema is printed")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the JSON schema of a recipe, for editors.

    With it an editor completes and checks the keys of a recipe.
    """
    from flows.new_recipe.schema import comment_for, schema_text, write_schema

    if out is None:
        echo(schema_text(), nl=False)
        return
    written = write_schema(out)
    text = f"wrote {written}\nNext: let a recipe beside it begin with the line: # {comment_for(written.name)}"
    say({"schema": str(written)}, text, as_json=as_json)
