"""JSON and YAML that anybody may have written: what is wrong with them is one kind of error."""

import json
import re
from pathlib import Path
from typing import Any

from langsteer.extras import need

# What PyYAML says of a text, what that means to who wrote it, and which of its two places to show.
_FAULTS = (
    ("flow sequence", "a list begins with [ and has no ] at its end, or lacks a comma", "context"),
    (
        "flow mapping",
        "a mapping begins with { and has no } at its end, or lacks a comma",
        "context",
    ),
    ("quoted scalar.*end of stream", "a quotation mark begins text and none ends it", "context"),
    (
        "unknown escape character '(.*)'",
        r"a backslash and \1 mean nothing in double quotes: use single quotes",
        "problem",
    ),
    (
        "mapping values are not allowed",
        "a colon is where none can be: indent keys alike, and put text that holds a colon in quotes",
        "problem",
    ),
    ("could not find expected ':'", "a key has no colon after it", "context"),
    (r"character '\\t'", "a tab is where none can be: indent with spaces", "problem"),
    ("character '(.*)' that cannot", r"no text begins with \1: put it in quotes", "problem"),
    ("undefined alias '(.*)'", r"*\1 refers to nothing: put text with a * in quotes", "problem"),
    ("for the tag '(.*)'", r"the tag \1 is unknown: put text with a ! in quotes", "problem"),
    ("expected <block end>", "its indentation does not fit the lines before it", "problem"),
    ("found '<stream end>'", "the file ends in a list or mapping that has no ] or }", "problem"),
    (
        "sequence entries are not allowed",
        "a list begins with - after something else: begin it on a line of its own",
        "problem",
    ),
    (
        "node content, but found '([^<]*)'",
        r"no value begins with \1: put text in quotes",
        "problem",
    ),
    ("unhashable key", "a list or a mapping is no key", "problem"),
    ("another document", "a second document begins, and a file may have one", "problem"),
)


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
        deep = isinstance(error, RecursionError)
        raise yaml.YAMLError("it is nested too deeply" if deep else str(error)) from error


def not_yaml(path: str | Path, error: Exception, kind: str = "YAML") -> str:
    """That a file is not of this kind: in which line, and what is wrong there, in plain words."""
    if (character := getattr(error, "character", None)) is not None:
        return f"{path} is not {kind}: it holds U+{character:04X}, which no text does; save it as UTF-8"
    said = f"{getattr(error, 'context', None)} {getattr(error, 'problem', None) or error}"
    for pattern, meaning, place in _FAULTS:
        if match := re.search(pattern, said):
            line = getattr(error, f"{place}_mark").line + 1
            return f"{path} is not {kind}: line {line}: {match.expand(meaning)}"
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    reason = " ".join(str(getattr(error, "problem", None) or error).split())
    return f"{path} is not {kind}: {where}{reason}"


def not_utf8(path: str | Path, error: UnicodeDecodeError) -> str:
    """That a file is not UTF-8, where, and what to do."""
    line = error.object[: error.start].count(b"\n") + 1
    return f"{path} is not UTF-8: line {line} has an invalid byte; save it as UTF-8"
