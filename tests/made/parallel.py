"""Small parallel text, and the files that it comes in."""

import bz2
import gzip
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path

import zstandard

from langsteer.text.corpus import ParallelCorpus

PAIRS = (
    ("Mtoto anasoma kitabu nyumbani.", "The child reads a book at home."),
    ("Mwalimu anapika chakula cha jioni.", "The teacher cooks the evening meal."),
    ("Daktari anasubiri basi shuleni.", "The doctor waits for the bus at school."),
    ("Mkulima ananunua matunda sokoni.", "The farmer buys fruit at the market."),
)

COMPRESS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


def corpus(pairs: Sequence[tuple[str, str]] = PAIRS, tag: str = "sw") -> ParallelCorpus:
    texts = {tag: tuple(a for a, _ in pairs), "en": tuple(b for _, b in pairs)}
    return ParallelCorpus(texts, "en", "test")


def write_tmx(path: Path, units: Sequence[Mapping[str, str]], root: str = "") -> Path:
    """A memory of units: the inside of each language's `seg`, by its `xml:lang`."""
    body = "".join(
        "<tu>"
        + "".join(f'<tuv xml:lang="{tag}"><seg>{seg}</seg></tuv>' for tag, seg in unit.items())
        + "</tu>"
        for unit in units
    )
    path.write_text(f'<tmx version="1.4"{root}><header/><body>{body}</body></tmx>', "utf-8")
    return path


def write_rows(path: Path, rows: Sequence[Sequence[str]], mark: str = "\t") -> Path:
    path.write_bytes("".join(mark.join(row) + "\n" for row in rows).encode())
    return path
