import json

import pytest
import yaml

from langsteer.storage.parsed import parse_json, parse_yaml


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
