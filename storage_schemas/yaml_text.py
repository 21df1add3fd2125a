"""YAML that a user writes: short errors for what YAML allows and no recipe needs.

Why    Eight levels of aliases in 350 bytes stand for millions of values, a key that is there twice loses the first value in
       silence, and brackets without end exhaust the stack
"""

from __future__ import annotations

from typing import Any

import yaml

from storage_schemas.errors import DepthmillError

MAX_VALUES = 200_000
"""Values of a file with its aliases written out; a recipe that names a hundred thousand scenes has half as many."""

MAX_DEPTH = 50
"""Groups within groups; recipes have five."""

_NOT_YAML = (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError)
"""What PyYAML raises; ValueError for a date like 2026-13-45, the last two for a number too large and brackets without end."""


class YamlTextError(DepthmillError):
    """A text that is not YAML, or not such as a recipe may be; the text is a clause without the file's name."""


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML text: mappings, lists, texts, numbers.

    Raises:
        YamlTextError: it is no YAML, has a key twice, a NUL within a text, aliases that stand for too much or for themselves, or
            too many groups within groups; says where.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _num_values(node, {}, ())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except YamlTextError:
        raise
    except RecursionError as error:
        raise YamlTextError(f"is not valid YAML: more than {MAX_DEPTH} groups within groups") from error
    except _NOT_YAML as error:
        raise YamlTextError(f"is not valid YAML: {_short(error)}") from error


def _num_values(node: yaml.Node, counts: dict[int, int], parents: tuple[int, ...]) -> int:
    """Count the values that a node stands for, aliases written out, and refuse what no recipe needs.

    Args:
        node: of the graph in which an alias is its anchor's node.
        counts: of nodes that were counted before, by their id.
        parents: ids of the nodes that hold this one.
    """
    if id(node) in parents:
        raise YamlTextError(f"has an alias that stands for a group with itself in it{_place(node)}. Write the group out")
    if id(node) in counts:
        return counts[id(node)]
    if len(parents) > MAX_DEPTH:
        raise YamlTextError(f"has more than {MAX_DEPTH} groups within groups{_place(node)}. Correct its brackets")
    count, within = 1, (*parents, id(node))
    if isinstance(node, yaml.MappingNode):
        _refuse_twice(node)
        for pair in node.value:
            count += sum(_num_values(part, counts, within) for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        count += sum(_num_values(part, counts, within) for part in node.value)
    elif "\0" in node.value:
        raise YamlTextError(f"has a NUL character in a text{_place(node)}, which no name or path may have. Take it out")
    if count > MAX_VALUES:
        raise YamlTextError(f"stands for more than {MAX_VALUES:,} values, aliases written out{_place(node)}. Take aliases out")
    counts[id(node)] = count
    return count


def _refuse_twice(node: yaml.MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        line = key.start_mark.line + 1
        if before := lines.get((key.tag, key.value)):
            raise YamlTextError(f"has the key '{key.value[:80]}' twice, in lines {before} and {line}. Delete one of the two")
        lines[key.tag, key.value] = line


def _place(node: yaml.Node) -> str:
    return f" (line {node.start_mark.line + 1}, column {node.start_mark.column + 1})"


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else f"{text[:400]} (cut)"
