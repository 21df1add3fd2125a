"""``depthmill compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import AsJson, Cap, Metric, Radar, refuse_options


def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="a training (path or URL), or a folder that evaluate wrote")],
    b: Annotated[str, typer.Argument(help="another one")],
    metric: Metric = "mae_mm",
    cap: Cap = 80.0,
    radar: Radar = "on",
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations frame by frame.

    Depth gets an interval by bootstrap over scenes, detectors the differences of their average precisions. Two
    pre-trainings of MIM4D are compared clip by clip.
    """
    from depthmill import networks

    family = networks.family_of_evaluations(a, b)
    refuse_options(family, context, f"these are evaluations of {family.plural}")
    answer = networks.compare(a, b, metric=metric, cap_m=cap, radar=radar)
    say(answer.data, answer.text, as_json=as_json)
