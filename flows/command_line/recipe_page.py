"""Every recipe key on one page, made from the schema: ``python -m flows.command_line.recipe_page`` writes docs/recipe.md."""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.ablation_choices import AblationChoices
from pipeline.recipe import Recipe
from pipeline.retrain_choices import RetrainChoices
from pipeline.sources import OWN_SOURCES
from pipeline.stage_list import STAGES
from storage_schemas.frozen_config import group_of


def recipe_page() -> str:
    """Return the reference of all recipe keys as Markdown."""
    lines = [
        "# Recipe keys",
        "",
        "Made from the schema by `python -m flows.command_line.recipe_page`; a test keeps it true. An unknown key is an error",
        "that names the one probably meant. Any key can be changed on the command line: `--set stages.clean_horizon.near_m=25`.",
        "",
        "## Top level",
        "",
        *_table(Recipe, leave_out=("source", "stages", "train", "ablation", "retrain")),
        "",
        "`source:` chooses by `kind`:",
    ]
    for spec in OWN_SOURCES:
        lines += ["", f"### source: {{kind: {spec.kind}}}", "", *_table(spec.config, leave_out=("kind",))]
    lines += ["", "## stages"]
    for stage in STAGES:
        if stage.plug_in is not None:  # the committed page must not depend on which plug-ins are installed
            continue
        reads = (
            ", ".join(f"{layout.name}{' (optional)' if layout in stage.optional else ''}" for layout in stage.reads)
            or "the source's tables"
        )
        lines += ["", f"### {stage.name}", "", f"Reads {reads}. Writes {stage.writes.name}. One unit per {_per(stage.per)}.", ""]
        lines += _table(stage.params) if stage.params.model_fields else ["No keys."]
        lines += _optional_groups(stage.name, stage.params)
    return "\n".join([*lines, *_train_lines(), *_ablation_lines(), *_retrain_lines()]) + "\n"


def _train_lines() -> list[str]:
    """Return the ``train:`` group, its groups after it."""
    from model.families import FAMILIES

    lines = ["", "## train", "", "What `depthmill train` makes of the manifest; `plan` and `run` pay no attention to it."]
    for family in FAMILIES:
        lines += ["", f"### train: {{family: {family.name}}}", "", *_group_lines(f"train ({family.name})", family.config)]
    return lines


def _ablation_lines() -> list[str]:
    what = "Variants of the training that `depthmill ablate` compares; every other command pays no attention to it."
    return ["", "## ablation", "", what, "", *_table(AblationChoices)]


def _retrain_lines() -> list[str]:
    what = "Rules of `depthmill retrain`. Options of the command and parameters of the deployment go before them."
    return ["", "## retrain", "", what, "", *_table(RetrainChoices)]


def _group_lines(where: str, model: Any) -> list[str]:
    """Return the table of a group's keys, then those of the groups in it."""
    groups = {
        name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    lines = _table(model, leave_out=tuple(groups))
    for name, inner in groups.items():
        lines += ["", f"#### {where}.{name}", "", *_group_lines(f"{where}.{name}", inner)]
    return lines


def _optional_groups(where: str, model: type[BaseModel]) -> list[str]:
    """Return a table for each group of keys that may be null."""
    lines: list[str] = []
    for name, field in model.model_fields.items():
        inner = group_of(field.annotation)
        if inner is not None and field.annotation is not inner:
            lines += [
                "",
                f"#### {where}.{name}",
                "",
                f"`{name}: {{}}` takes these defaults; null leaves it out.",
                "",
                *_table(inner),
            ]
    return lines


def _per(per: str) -> str:
    return {"scene": "scene", "camera": "scene and camera", "dataset": "data set"}[per]


def _table(model: Any, leave_out: tuple[str, ...] = ()) -> list[str]:
    lines = ["| key | type | default | what |", "|---|---|---|---|"]
    for name, field in typing.cast(type[BaseModel], model).model_fields.items():
        if name not in leave_out:
            what = (field.description or "").replace("|", "\\|")
            lines.append(f"| {name} | {_type_text(field)} | {_default_text(field)} | {what} |")
    return lines


def _type_text(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "group of keys"
    if group_of(annotation) is not None:
        return "group of keys or null"
    annotation = _without_bounds(annotation)
    text = annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)
    members = typing.get_args(annotation) if type(None) in typing.get_args(annotation) else (annotation,)
    if typing.get_origin(members[0]) is typing.Literal:
        return " or ".join([*map(str, typing.get_args(members[0])), *(["null"] if len(members) > 1 else [])])
    text = text.replace("typing.", "").replace("tuple", "list").replace(", ...", "").replace("|", "or").replace("None", "null")
    return re.sub(r"Literal\[(.*?)\]", lambda match: match[1].replace("'", "").replace(", ", " or "), text)


def _without_bounds(annotation: Any) -> Any:
    """Return a type whose members carry no bounds: ``tuple[int, ...]`` for a tuple of numbers each of which is at least 1."""
    members = typing.get_args(annotation)
    if typing.get_origin(annotation) is not tuple or not any(typing.get_origin(member) is typing.Annotated for member in members):
        return annotation
    plain = tuple(typing.get_args(m)[0] if typing.get_origin(m) is typing.Annotated else m for m in members)
    return types.GenericAlias(tuple, plain)


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return "as the source says"
    return _as_yaml(default)


def _as_yaml(value: Any) -> str:
    """Return a value as a recipe writes it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_as_yaml, value)) + "]"
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


if __name__ == "__main__":
    (Path(__file__).resolve().parents[2] / "docs" / "recipe.md").write_text(recipe_page(), encoding="utf-8")
