"""The JSON schema of a recipe, by which an editor completes keys, shows what they mean and marks what is wrong.

Why     A wrong key should be seen while it is typed. ``depthmill plan`` checks the same models, so it has the last word
How     Pydantic writes the schema of each model. ``train:`` depends on the family, so it becomes one condition for each family
Writes  depthmill.schema.json, which a recipe names in a comment that yaml-language-server reads
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from storage_schemas.errors import RecipeError

SCHEMA_FILE = "depthmill.schema.json"
"""Its name beside a recipe."""

TITLE = "Recipe of depthmill"
"""By this title a file of ours is told from a user's, which is not overwritten."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def comment_for(schema: str) -> str:
    """Return the line of a recipe that names its schema, without '#'; ``schema`` is a path relative to the recipe."""
    return f"yaml-language-server: $schema={schema}"


def recipe_schema() -> dict[str, Any]:
    """Return the schema, with the sources, stages and families of installed packages; without torch, any ``train:`` fits."""
    from pipeline.recipe import Recipe

    schema = Recipe.model_json_schema()
    schema["properties"]["train"] |= _train_conditions(schema["$defs"])
    variants = schema["$defs"]["AblationChoices"]["properties"]["variants"]
    variants["additionalProperties"] = {"type": ["object", "null"]}  # "baseline:" without a value changes nothing
    return {"$schema": _DIALECT, **schema, "title": TITLE}


def write_schema(path: Path) -> Path:
    """Write the schema to a file, in place of a former one of depthmill, and return its path.

    Raises:
        RecipeError: another file is there, or it cannot be written.
    """
    check_schema_target(path)
    try:
        path.write_text(schema_text(), encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot write the schema '{path}': {error.strerror}. Choose another --out") from error
    return path


def check_schema_target(path: Path) -> None:
    """Refuse to write where something other than a schema of depthmill is: RecipeError."""
    if path.exists() and not (path.is_file() and _is_ours(path)):
        raise RecipeError(f"'{path}' is there already and is no schema of depthmill. Move it away, or choose another --out")


def schema_text() -> str:
    """Return the schema as JSON."""
    return json.dumps(recipe_schema(), indent=1) + "\n"


def _is_ours(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("title") == TITLE


def _train_conditions(definitions: dict[str, Any]) -> dict[str, Any]:
    """Return what ``train:`` must be, and add the models of every family to ``$defs``; nothing where torch is not installed."""
    try:
        from model.families import FAMILIES
    except ImportError:
        return {}
    conditions = []
    for family in FAMILIES:
        name = f"train_{family.name}"
        # a family's groups keep apart from those of another with the same name
        of_family = family.config.model_json_schema(ref_template=f"#/$defs/{name}/$defs/{{model}}")
        definitions[name] = of_family
        is_chosen: dict[str, Any] = {"properties": {"family": {"const": family.name}}}
        if family is not FAMILIES.default:
            is_chosen["required"] = ["family"]
        conditions.append({"if": is_chosen, "then": {"$ref": f"#/$defs/{name}"}})
    return {"properties": {"family": {"enum": list(FAMILIES.names)}}, "allOf": conditions}
