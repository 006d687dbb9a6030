import json

import pytest
import yaml

from langsteer.storage.parsed import not_utf8, not_yaml, parse_json, parse_yaml


def test_what_json_and_yaml_hold() -> None:
    assert parse_json('{"a": [1]}') == parse_yaml("a: [1]") == {"a": [1]}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 5000, "{", ""])
def test_no_json(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        parse_json(text)


@pytest.mark.parametrize(
    "text", ["[" * 5000, "a: b: c", "when: 2024-99-99", "a: 1\nb: 2\na: 3", "!!map [a]"]
)
def test_no_yaml(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nmodels: [a\nb: c", "line 2: a list begins with [ and has no ] at its end, or"),
        ("a: 1\nmodels: [", "line 2: the file ends in a list or mapping that has no ] or }"),
        ("a: - b", "line 1: a list begins with - after something else: begin it on a line of"),
        ("a: {b: c", "line 1: a mapping begins with { and has no } at its end, or lacks a comma"),
        ("a: 1\nb: 'x\nc: d\n", "line 2: a quotation mark begins text and none ends it"),
        ('a: "\\q"', "line 1: a backslash and q mean nothing in double quotes: use single quotes"),
        ("a: b\n  c: d", "line 2: a colon is where none can be: indent keys alike, and put text"),
        ("a: b\nd", "line 2: a key has no colon after it"),
        ("a:\n\t- b", "line 2: a tab is where none can be: indent with spaces"),
        ("a: @x", "line 1: no text begins with @: put it in quotes"),
        ("a: *x", "line 1: *x refers to nothing: put text with a * in quotes"),
        ("a: !x y", "line 1: the tag !x is unknown: put text with a ! in quotes"),
        ("- a\nb: c", "line 2: its indentation does not fit the lines before it"),
        ("a: ]", "line 1: no value begins with ]: put text in quotes"),
        ("? [a]\n: b", "line 1: a list or a mapping is no key"),
        ("a: 1\n---\na: 1", "line 2: a second document begins, and a file may have one"),
        ("a: 1\na: 2", "line 2: the key a is there twice"),
        ("a: \x00", "it holds U+0000, which no text does; save it as UTF-8"),
        ("[" * 5000, "it is nested too deeply"),
        ("when: 2024-99-99", "month must be in 1..12"),
        ("!!map [a]", "line 1: expected a mapping node, but found sequence"),
    ],
)
def test_what_is_wrong_with_yaml_is_said_plainly(text: str, told: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        parse_yaml(text)
    assert not_yaml("c.yaml", caught.value).startswith(f"c.yaml is not YAML: {told}")


def test_what_is_not_utf8_says_where() -> None:
    with pytest.raises(UnicodeDecodeError) as caught:
        b"a: 1\nb: \xff".decode()
    assert (
        not_utf8("c", caught.value)
        == "c is not UTF-8: line 2 has an invalid byte; save it as UTF-8"
    )
