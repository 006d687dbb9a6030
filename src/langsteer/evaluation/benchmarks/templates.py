"""Templates of a benchmark's file: `{code}` filled once a language, `{{field}}` rendered an item.

The harness renders jinja outside a sandbox, where a template can reach any Python object. Those of
a file that did not come with an installed package are rendered here instead, in jinja's sandbox.
"""

import ast
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.extras import need

_PLACE = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")


def filled_in(pattern: str, values: Mapping[str, Any], where: str) -> str:
    """`pattern` with its `{name}`s replaced; names in double braces are left for the harness."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise BenchmarkError(
                f"{where}: {{{match[1]}}} is not known; there are {', '.join(map(str, values))}"
            )
        return str(values[match[1]])

    return _PLACE.sub(value, pattern)


def sandboxed(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A task's keys with functions in place of templates: they render as the harness does."""
    makers: dict[str, Callable[[str, str], Callable[[Mapping[str, Any]], Any]]] = {
        "doc_to_text": functools.partial(_text, choice="doc_to_choice" in config),
        "doc_to_target": functools.partial(_target, choice="doc_to_choice" in config),
        "doc_to_choice": _choices,
    }
    return {
        key: makers[key](value, f"{where}: {key}")
        if key in makers and isinstance(value, str)
        else value
        for key, value in config.items()
    }


@functools.cache
def _environment() -> Any:
    sandbox = need("jinja2.sandbox", "eval", "a benchmark's file")
    jinja2 = need("jinja2", "eval", "a benchmark's file")
    environment = sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["regex_replace"] = lambda text, pattern, by, count=0: re.sub(
        pattern, by, text, count=count
    )
    return environment


def renderer(template: str, where: str) -> Callable[[Mapping[str, Any]], str]:
    """A function that renders a template over an item, in the sandbox. Raises BenchmarkError."""
    jinja2 = need("jinja2", "eval", "a benchmark's file")
    try:
        compiled = _environment().from_string(template)
    except jinja2.TemplateError as error:
        raise BenchmarkError(f"{where} is not a jinja template ({error})") from error

    def render(doc: Mapping[str, Any]) -> str:
        try:
            return str(compiled.render(**doc))
        except Exception as error:  # a template may raise whatever its expressions do
            raise BenchmarkError(f"{where}, item {doc.get('id')}: {error}") from error

    return render


def _text(template: str, where: str, *, choice: bool) -> Callable[[Mapping[str, Any]], Any]:
    render = renderer(template, where)

    def text(doc: Mapping[str, Any]) -> Any:
        if template in doc:
            return doc[template]
        value = render(doc)
        return ast.literal_eval(value) if choice and value.isdigit() else value

    return text


def _target(template: str, where: str, *, choice: bool) -> Callable[[Mapping[str, Any]], Any]:
    text = _text(template, where, choice=choice)

    def target(doc: Mapping[str, Any]) -> Any:
        value = text(doc)
        if template not in doc and isinstance(value, str) and value[:1] + value[-1:] == "[]":
            try:
                return ast.literal_eval(value)
            except (SyntaxError, ValueError):
                return value
        return value

    return target


def _choices(template: str, where: str) -> Callable[[Mapping[str, Any]], list[str]]:
    render = renderer(template, where)

    def choices(doc: Mapping[str, Any]) -> list[str]:
        if template in doc:
            return list(doc[template])
        try:
            values = ast.literal_eval(render(doc))
        except (SyntaxError, ValueError):
            values = None
        if not isinstance(values, list):
            raise BenchmarkError(f"{where}, item {doc.get('id')}: not a list of choices")
        return values

    return choices
