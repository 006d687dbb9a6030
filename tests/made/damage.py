"""Ways in which a file comes out wrong: cut, mixed up, somebody else's."""

import json
import random
import struct
from collections.abc import Callable

Damage = Callable[[bytes, random.Random], bytes]
FOREIGN = (
    b"",
    b"\x00" * 4096,
    b"\xff\xfe" * 500,
    b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    b"PK\x03\x04" + bytes(60),
    b"\x89PNG\r\n\x1a\n" + bytes(60),
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    b"<!DOCTYPE html><html><body>404: not found</body></html>",
    b"x" * 200_000,
    b'{"a": ' * 2000,
    b"[" * 100_000,
    b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x8c\x04exec\x93.",
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;&b;'>]><a>&c;</a>",
    b"GGUF" + bytes(20),
    b"null",
    b"NaN",
)
VALUES = (
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    float("nan"),
    "",
    "\x00",
    "x" * 1000,
    [],
    {},
    [[]],
    ["a"],
)


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) or 1)]


def flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 30))):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def inserted(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    piece = chance.choice(
        (b"\x00", b"\n\n", b"\xc3", b"\xef\xbb\xbf", b'"', b"}", b"\t", b"{{", b"\r")
    )
    return data[:place] + piece + data[place:]


def left_out(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    return data[:start] + data[start + chance.choice((1, 8, 100)) :]


def doubled(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    end = start + chance.choice((1, 50, len(data)))
    return data[:end] + data[start:]


def foreign(data: bytes, chance: random.Random) -> bytes:
    return chance.choice(FOREIGN)


def other_values(data: bytes, chance: random.Random) -> bytes:
    """JSON, also in the header of safetensors, with a value that is something else."""
    if len(data) > 8 and data[8:9] == b"{":
        size = struct.unpack("<Q", data[:8])[0]
        if 0 < size < len(data):
            header = _other_value(data[8 : 8 + size], chance)
            return struct.pack("<Q", len(header)) + header + data[8 + size :]
    return _other_value(data, chance)


def _other_value(text: bytes, chance: random.Random) -> bytes:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return flipped(text, chance)
    places = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        keys = (
            part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        )
        for key in keys:
            places.append((part, key))
            waiting.append(part[key])
    if not places:
        return json.dumps(chance.choice(VALUES)).encode()
    part, key = chance.choice(places)
    if isinstance(part, dict) and chance.random() < 0.3:
        del part[key]
    else:
        part[key] = chance.choice(VALUES)
    return json.dumps(value).encode()


DAMAGES: tuple[Damage, ...] = (
    cut, flipped, inserted, left_out, doubled, foreign, other_values, other_values,
)  # fmt: skip
