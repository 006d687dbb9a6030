"""Translation memories: TMX files of any version, with or without the standard's namespace."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import regex

from langsteer.errors import CorpusError
from langsteer.text.columns import file_tag
from langsteer.text.files import cleaned, open_bytes

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

# What these hold is code of the format that a text came from, not text; a footnote or the like inside
# it (`sub`) is not part of the sentence either.
_CODES = {"bpt", "ept", "ph", "it", "ut"}
_BREAK = regex.compile(r"<\s*/?\s*(br|p|li|div|tr|td)\b|\\(par|line|tab|cell)\b|[\n\t]", regex.I)

Unit = dict[str, str]


def read_units(path: str | Path) -> list[Unit]:
    """The units of a file: each language's text by its tag, the first where there are several.

    Native codes are left out, runs of spaces are one. Raises CorpusError.
    """
    units: list[Unit] = []
    ended = False
    try:
        with open_bytes(path) as file:
            body: ElementTree.Element | None = None
            depth = 0
            for event, element in ElementTree.iterparse(file, events=("start", "end")):
                name = _local(element)
                depth += 1 if event == "start" else -1
                ended = depth == 0
                if event == "start":
                    body = element if name == "body" else body
                elif name == "tu":
                    units.append(_unit(element))
                    (element if body is None else body).clear()
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        if not ended:  # what follows the last element, such as DOS' end of file, is nothing
            raise CorpusError(f"{path} is not a whole TMX file: {error}") from error
    return units


def _unit(element: ElementTree.Element) -> Unit:
    unit: Unit = {}
    for variant in element.iter():
        if _local(variant) != "tuv":
            continue
        tag = file_tag(variant.get(_XML_LANG) or variant.get("lang") or "", any_case=True)
        segment = next((child for child in variant if _local(child) == "seg"), None)
        if tag and segment is not None:
            unit.setdefault(tag, cleaned(" ".join("".join(_text(segment)).split())))
    return unit


def _text(element: ElementTree.Element) -> Iterator[str]:
    """The text in an element, without codes; a space where one broke a line."""
    yield element.text or ""
    for child in element:
        if _local(child) not in _CODES:
            yield from _text(child)
        elif _BREAK.search("".join(child.itertext())):
            yield " "
        yield child.tail or ""


def _local(element: ElementTree.Element) -> str:
    """The name of an element without its namespace; "" of a comment or an instruction."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
