"""JSON and YAML that anybody may have written: what is wrong with them is one kind of error."""

import json
from typing import Any

from langsteer.extras import need


def parse_json(text: str | bytes) -> Any:
    """The value that a text of JSON holds.

    Raises json.JSONDecodeError, also for what is nested too deeply, for a number of thousands of
    digits, and for bytes that are no text.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        shown = text if isinstance(text, str) else ""
        raise json.JSONDecodeError(reason, shown, 0) from error


def parse_yaml(text: str) -> Any:
    """The value that a text of YAML holds, by the safe loader. Raises yaml.YAMLError likewise."""
    yaml = need("yaml", "eval", "reading YAML")
    try:
        return yaml.safe_load(text)
    except (RecursionError, ValueError) as error:  # ValueError: a date that is none
        raise yaml.YAMLError(str(error) or "nested too deeply") from error
