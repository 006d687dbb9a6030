"""Small runs of the commands that work for hours, and what they leave."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from tests.helpers import build_model
from tests.made.instructions import lines, toy
from tests.made.own import own_data, own_file

MEASURED = {  # what no two runs have alike
    "seconds", "training_seconds", "fitting_seconds", "peak_bytes", "memory", "created", "date",
    "wall", "time", "elapsed",
}  # fmt: skip
COMPARISON = """
output: {out}
models: model
benchmarks: colours
languages: [sw]
methods: [direct, english, mean_difference, projection]
corpus: {{path: corpus.jsonl}}
data: data
"""


@dataclass(frozen=True)
class Work:
    """A command, whose results lie in the folder `out` of the folder in which it runs."""

    name: str
    arguments: tuple[str, ...]


WORKS = (
    Work("fit", ("fit", "-m", "model", "-c", "corpus.jsonl", "-l", "sw,et", "--layer", "0", "-o", "out")),
    Work("compare", ("compare", "out.yaml", "--benchmarks", "colours.yaml")),
    Work(
        "tune",
        ("tune", "sft", "-m", "model", "-d", "answers.jsonl", "--rate", "0.01", "--epochs", "2",
         "--held-out", "0.2", "-o", "out"),
    ),
    Work(
        "analyze",
        ("analyze", "-m", "model", "-c", "corpus.jsonl", "-l", "sw,et", "-n", "8", "--items", "2",
         "-o", "out"),
    ),
)  # fmt: skip


def lay_out(folder: Path) -> Path:
    """The model, the corpus, the items and the answers that all of WORKS need."""
    model = build_model("llama", num_hidden_layers=2, max_position_embeddings=1024)
    model.network.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    rows = [
        {"sw": f"neno la {i} ya hapa", "et": f"sõna {i} on siin", "en": f"the word {i} is here"}
        for i in range(30)
    ]
    lines(folder / "corpus.jsonl", *rows)
    answers = [
        {"id": r.id, "language": r.language, "instruction": r.instruction}
        | {"chosen": r.chosen, "rejected": r.rejected}
        for r in toy()
    ]
    lines(folder / "answers.jsonl", *answers)
    own_file(folder)
    own_data(folder / "data")
    (folder / "out.yaml").write_text(COMPARISON.format(out="out"))
    return folder


def files_in(folder: Path) -> list[Path]:
    """What is finished there: no file that is still being written, and none that says who writes."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def contents(folder: Path) -> dict[Path, Any]:
    """All that is finished in a folder; an error where a file is not whole."""
    return {path.relative_to(folder): read_whole(path) for path in files_in(folder)}


def read_whole(path: Path) -> Any:
    """What a file holds, less what is measured; an error where it is cut."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            about = {key: _parsed(value) for key, value in (file.metadata() or {}).items()}
            return about, {key: file.get_tensor(key).tolist() for key in file.keys()}  # noqa: SIM118
    if path.name.endswith(".json.gz"):
        return _less_measured(json.loads(gzip.decompress(path.read_bytes())))
    if path.suffix == ".json":
        return _less_measured(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".png":
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
        return "png"
    if path.suffix in (".svg", ".html"):
        assert (
            path.read_text(encoding="utf-8").rstrip().endswith((f"</{path.suffix[1:]}>", "</html>"))
        )
        return path.suffix
    return path.read_text(encoding="utf-8", errors="replace")


def same(left: Any, right: Any) -> bool:
    """Equal, numbers to rounding."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return bool(np.isclose(left, right, rtol=1e-4, atol=1e-6, equal_nan=True))
    return bool(left == right)


def _parsed(value: str) -> Any:
    try:
        return _less_measured(json.loads(value))
    except ValueError:
        return value


def _less_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _less_measured(part) for key, part in value.items() if key not in MEASURED}
    if isinstance(value, list):
        return [_less_measured(part) for part in value]
    return value
