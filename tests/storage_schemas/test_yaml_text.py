from __future__ import annotations

import pytest

from storage_schemas.yaml_text import YamlTextError, parse_yaml
from tests.hostile.attacks import bomb


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(8), r"stands for more than 200,000 values, aliases written out \(line 6, column 5\)"),
        (bomb(40), "stands for more than 200,000 values"),
        ("a: &x [1, *x]", "an alias that stands for a group with itself in it"),
        ("a: 1\nb: 2\na: 3", "has the key 'a' twice, in lines 1 and 3. Delete one of the two"),
        ("g: {a: 1, a: 2}", "has the key 'a' twice, in lines 1 and 1"),
        ('a: "x\\0y"', r"has a NUL character in a text \(line 1, column 4\)"),
        ("[" * 60 + "]" * 60, "has more than 50 groups within groups"),
        ("[" * 5000, "is not valid YAML: more than 50 groups within groups"),
        ("a: b: c", "is not valid YAML: mapping values are not allowed here"),
        ("a: 2026-13-45", "is not valid YAML: month must be in 1..12"),
        ("? [1, 2]\n: 3", "is not valid YAML: while constructing a mapping"),
        ("a: !!python/object:os.system x", "is not valid YAML: could not determine a constructor"),
    ],
)
def test_parse_yaml_when_it_is_hostile_then_a_short_error_that_says_where(text, said):
    with pytest.raises(YamlTextError, match=said) as caught:
        parse_yaml(text)
    assert len(str(caught.value)) < 500


def test_parse_yaml_when_aliases_and_merged_groups_are_few_then_they_stand_for_what_they_say():
    assert parse_yaml("a: &g {x: 1}\nb: {<<: *g, y: 2}\nc: *g") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}}
    assert parse_yaml("") is None
