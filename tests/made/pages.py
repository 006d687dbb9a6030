"""What a page holds, and what a picture's edge is."""

import io
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image

_VOID = ("meta", "input", "link", "path", "use", "rect", "br", "image", "img", "hr")


class Loaded(HTMLParser):
    """A page's tags, ids, what it would load, and what is left open."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.loaded: list[str] = []
        self.open: list[str] = []

    @classmethod
    def of(cls, text: str) -> "Loaded":
        page = cls()
        page.feed(text)
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        given = dict(attrs)
        if given.get("id"):
            self.ids[str(given["id"])] += 1
        for name, value in attrs:
            link = tag == "a" and name == "href"
            if name in ("src", "href", "xlink:href", "data", "srcset") and not link:
                self.loaded += [] if str(value).startswith(("#", "data:")) else [str(value)]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


def edge(png: bytes) -> Any:
    """The outermost pixels of a picture, 0 black to 255 white."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
