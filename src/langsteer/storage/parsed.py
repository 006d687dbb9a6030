"""JSON and YAML that anybody may have written: what is wrong with them is one kind of error."""

import json
from typing import Any

from langsteer.extras import need


def parse_json(text: str | bytes) -> Any:
    """The value that a text of JSON holds.

    Raises json.JSONDecodeError, also where it is nested too deeply to be read, and
    UnicodeDecodeError for bytes that are no text; both are ValueErrors.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        shown = text if isinstance(text, str) else ""
        raise json.JSONDecodeError("nested too deeply", shown, 0) from error


def parse_yaml(text: str) -> Any:
    """The value that a text of YAML holds, by the safe loader. Raises yaml.YAMLError likewise."""
    yaml = need("yaml", "eval", "reading YAML")
    try:
        return yaml.safe_load(text)
    except (RecursionError, ValueError) as error:  # ValueError: a date that is none
        raise yaml.YAMLError(str(error) or "nested too deeply") from error
