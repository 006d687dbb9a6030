"""The folder of a tuned model: the adapter, the tokeniser with the template, vectors/, langsteer.json.

It is there whole or not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from langsteer.errors import AnalysisError, TuneError
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import save_errors, write_json
from langsteer.storage.records import built, read_json
from langsteer.tuning.adapter import save_adapter
from langsteer.tuning.training import remove
from langsteer.version import __version__

RECORD = "langsteer.json"
FORMAT, FORMAT_VERSION = "langsteer tuning", 1

HeldOutScores = dict[str, dict[str, float]]
"""by language, and `all`: what was measured on the records held out, by name"""


@dataclass(frozen=True)
class Tuned:
    """What a fine-tuning gave.

    `records` and `held_out` count records by language (`all`: together), `too_long` those left out.
    `before` and `after` hold what was measured on the records held out, by language. `seconds` are
    those of training alone. `vectors` describes what steered it. `kept`: it was there already.
    """

    method: str
    folder: str
    model: str
    records: dict[str, int]
    held_out: dict[str, int]
    too_long: int
    steps: int
    seconds: float
    before: HeldOutScores
    after: HeldOutScores
    vectors: tuple[dict[str, Any], ...] = ()
    kept: bool = False


def finished(folder: Path, about: Mapping[str, Any], overwrite: bool) -> Tuned | None:
    """What stands there already, where it was made from the same. Raises TuneError for all else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        record = read_json(folder / RECORD)
        result, same = built(Tuned, record["result"], "result"), record["about"] == about
    except (AnalysisError, KeyError, TypeError) as error:
        raise TuneError(f"{folder} is there and is no tuned model: name another") from error
    if overwrite:
        return None
    for name, size in record.get("bytes", {}).items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise TuneError(
                f"{path} is missing or was cut: copy it again, or pass overwrite=True (--overwrite)"
            )
    if not same:
        raise TuneError(
            f"{folder} was tuned from other records, another model or other options: name another "
            "folder, or pass overwrite=True (--overwrite)"
        )
    return replace(result, folder=str(folder), kept=True)


def write_folder(
    folder: Path,
    model: Model,
    vectors: Sequence[SteeringVector],
    template: str,
    result: Tuned,
    about: Mapping[str, Any],
    work: Path,
) -> None:
    """Put an `adapted` model's folder in its place, whole, and throw away what `work` holds."""
    whole = work / "whole"
    remove(whole)
    save_adapter(model, whole)
    tokenizer = model.tokenizer
    with save_errors(folder):
        own = tokenizer.chat_template
        try:
            tokenizer.chat_template = template
            tokenizer.save_pretrained(str(whole))
        finally:
            tokenizer.chat_template = own
        for vector in vectors:
            vector.save(whole / "vectors" / f"{vector.language}.safetensors")
        kind = {"format": FORMAT, "format_version": FORMAT_VERSION, "langsteer": __version__}
        record = {**kind, "result": asdict(result), "about": about, "bytes": _sizes(whole)}
        write_json(whole / RECORD, record)
        old = folder.with_name(f"{folder.name}.old")
        remove(old)
        if folder.exists():
            folder.rename(old)
        whole.rename(folder)
    remove(old)
    remove(work)


def _sizes(folder: Path) -> dict[str, int]:
    """The length of each file in bytes, by its path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def described(vector: SteeringVector) -> dict[str, Any]:
    """What is noted of a vector that steered a model while it learnt."""
    names = ("language", "pivot", "layer", "strength", "positions", "method")
    about = {name: getattr(vector, name) for name in names}
    return {"file": f"vectors/{vector.language}.safetensors", **about, "model": vector.model}
