"""GGUF files that llama.cpp has split: found by the name of any part, and joined.

Part 2 of 3 is called `NAME-00002-of-00003.gguf`; the first part holds what describes the model.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf

from langsteer.errors import ModelError

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.gguf)", re.I)
# What the writer writes itself, and what only a part has.
_NOT_COPIED = (gguf.Keys.General.ARCHITECTURE, "GGUF.", "split.")


def parts_of(file: Path) -> list[Path]:
    """All parts of the file that `file` is a part of, in their order; else `file` alone.

    Raises ModelError where parts are not beside it.
    """
    named = _PART.fullmatch(file.name)
    if named is None:
        return [file]
    count = int(named["count"])
    parts = [
        file.with_name(f"{named['stem']}-{number:05}-of-{named['count']}{named['ending']}")
        for number in range(1, count + 1)
    ]
    absent = [part.name for part in parts if not part.is_file()]
    if absent:
        listed = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
        raise ModelError(
            f"{file} is one of {count} parts, and {len(absent)} are not beside it: {listed}. "
            f"Put them all into {file.parent}"
        )
    return parts


def join(parts: Sequence[Path], whole: Path) -> None:
    """Write the file that `parts` were split from, a tensor at a time."""
    readers = [gguf.GGUFReader(part) for part in parts]
    fields = readers[0].fields
    writer = gguf.GGUFWriter(whole, _value(fields[gguf.Keys.General.ARCHITECTURE]))
    for name, field in fields.items():
        if not name.startswith(_NOT_COPIED):
            kind = field.types[0]
            part = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, _value(field), kind, sub_type=part)
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    for tensor in tensors:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.data)
    writer.close()


def _value(field: Any) -> Any:
    """What a field of a file holds, as the writer takes it."""
    values = [
        bytes(part).decode() if field.types[-1] == gguf.GGUFValueType.STRING else part.tolist()[0]
        for part in (field.parts[index] for index in field.data)
    ]
    return values if field.types[0] == gguf.GGUFValueType.ARRAY else values[0]
