"""The file of a search: each candidate's scores as they come, so that a stopped search goes on.

One JSON object a line. The first says what was searched; the others are scores of a candidate on some items, sizes of
rounds, and seconds that fits took.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langsteer.errors import DiagnosisError
from langsteer.evaluation.statistics import Array
from langsteer.storage.files import save_errors, write_text
from langsteer.storage.kept import Difference, as_kept, first_difference
from langsteer.storage.lines import read_json_lines

DIGITS = 4
NAME = "trials.jsonl"
OTHERS = {  # what is told by a hash: how it may differ
    "items": "of other items, or with another --limit",
    "model": "of another model, or its weights have changed",
    "corpus": "with another corpus, or its text has changed",
    "prompts": "of other prompts",
}


class Trials:
    """What is known of candidates by name: the scores of the answers of items, by the items' ids.

    `stage` tells scores of some of the choices from those of all.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], overwrite: bool = False) -> None:
        """Raises DiagnosisError where the file is of another search, SaveError where there can be none."""
        self.path = path
        self._scores: dict[tuple[str, str], dict[str, Array]] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self.seconds = 0.0
        lines = [] if overwrite or not path.is_file() else self._read()
        if lines:
            self._check(lines[0], about)
            for line in lines[1:]:
                self._take(line)
            return
        write_text(path, json.dumps({"about": as_kept(about)}) + "\n")

    def known(self, candidate: str, stage: str) -> dict[str, Array]:
        """The scores of a candidate, by the items' ids."""
        return self._scores.get((candidate, stage), {})

    def add(
        self, candidate: str, stage: str, ids: Sequence[str], rows: Sequence[Array], seconds: float
    ) -> None:
        scores = {name: np.round(row, DIGITS).tolist() for name, row in zip(ids, rows, strict=True)}
        line = {
            "candidate": candidate,
            "stage": stage,
            "seconds": round(seconds, 3),
            "scores": scores,
        }
        self._append(line)

    def told(self, key: str) -> dict[str, Any] | None:
        """What was told under a key, such as the size of a round."""
        return self._told.get(key)

    def tell(self, key: str, seconds: float = 0.0, **values: Any) -> dict[str, Any]:
        """Write something down under a key."""
        self._append({"key": key, "seconds": round(seconds, 3), "values": as_kept(values)})
        return self._told[key]

    def _append(self, line: dict[str, Any]) -> None:
        with save_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        self.seconds += float(line["seconds"])
        if "key" in line:
            self._told[line["key"]] = line["values"]
            return
        own = self._scores.setdefault((line["candidate"], line["stage"]), {})
        own.update({name: np.array(row) for name, row in line["scores"].items()})

    def _read(self) -> list[dict[str, Any]]:
        """The lines; one that was cut off at the end is dropped, also from the file."""
        try:
            lines = read_json_lines(self.path)
        except (OSError, UnicodeDecodeError) as error:
            raise DiagnosisError(f"cannot read {self.path}: {error}") from error
        bad = [line for line in lines if line.error or not isinstance(line.value, dict)]
        if bad and (len(bad) > 1 or bad[0] is not lines[-1] or len(lines) == 1):
            raise DiagnosisError(
                f"{self.path}, line {bad[0].number} is damaged: delete the file, or pass --overwrite"
            )
        values = [line.value for line in lines if line not in bad]
        if bad:
            text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
            with save_errors(self.path):
                self.path.write_text(text, encoding="utf-8")
        return values

    def _check(self, first: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        made = first.get("about")
        difference = first_difference(about, made)
        if difference is None and isinstance(made, Mapping):
            difference = next(
                (Difference(k, None, v) for k, v in made.items() if k not in about), None
            )
        if difference is not None:
            raise DiagnosisError(
                f"{self.path} is of another search ({_told(_within(difference))}): name another output, or "
                "pass --overwrite"
            )


def _within(difference: Difference) -> Difference:
    """Of two mappings that differ, the first key of theirs that does: of a corpus, its name or its lines."""
    made, wanted = difference.made, difference.wanted
    if not (isinstance(made, Mapping) and isinstance(wanted, Mapping)):
        return difference
    plain = [k for k in (*wanted, *made) if made.get(k) != wanted.get(k)]
    key = next((k for k in plain if not _is_digest(wanted.get(k))), plain[0])
    return Difference(f"{key} of {difference.key}", wanted.get(key), made.get(key))


def _told(difference: Difference) -> str:
    """What differs, in words where the values are hashes."""
    made, wanted = difference.made, difference.wanted
    if _is_digest(made) or _is_digest(wanted):
        if made is None or wanted is None:
            return f"{difference.key}: given {'now, and not there' if made is None else 'there, and not now'}"
        key = difference.key.rpartition(" of ")[2]
        return OTHERS.get(key, f"its {difference.key} was another")
    return f"{difference.key} is {_short(made)} there, and {_short(wanted)} now"


def _is_digest(value: Any) -> bool:
    """Whether a value, or one in it, tells a reader nothing but that it is another."""
    if isinstance(value, Mapping):
        return any(map(_is_digest, value.values()))
    return isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{16,}", value))


def _short(value: Any) -> str:
    if value is None:
        return "not given"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
