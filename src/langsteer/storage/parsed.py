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
    """The value that a text of YAML holds, by the safe loader. Raises yaml.YAMLError likewise, and for a key
    that a mapping has twice.
    """
    yaml = need("yaml", "eval", "reading YAML")

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            seen: set[tuple[str, str]] = set()
            for key in (key for key, _ in pairs if isinstance(key, yaml.ScalarNode)):
                if (key.tag, key.value) in seen:
                    problem = f"the key {key.value} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader=Loader)
    except (RecursionError, ValueError) as error:  # ValueError: a date that is none
        raise yaml.YAMLError(str(error) or "nested too deeply") from error
