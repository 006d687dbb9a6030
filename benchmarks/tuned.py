"""Steering and fine-tuning together: each a line of benchmarks/results/tuned.jsonl.

    langsteer fit -l es,hi,id,sw,tr -o vectors/
    langsteer tune sft -o sft/
    langsteer tune dpo sft/ -o dpo/
    langsteer tune sft -v vectors/ -o steered/
    python -m benchmarks.tuned --sft sft/ --dpo dpo/ --steered steered/

The base and its tuned versions, each without steering (`none`), with a vector fitted on that very model (`own`), and with
the base's vector carried over (`base`); a model that was tuned with steering on also with the vectors that it was
tuned with (`trained`). SIB-200, items that nothing else reports on, batch-calibrated accuracy; changes are in points, with
paired 95% bootstrap intervals. Runs that are there are not made again. `--table` prints the table of what is there.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import langsteer
from benchmarks.common import (
    RESULTS,
    SHARED,
    add_line,
    markdown,
    marks,
    read_lines,
    right_topics,
    rounded,
)
from langsteer.evaluation.benchmarks import get_benchmark, load_docs
from langsteer.evaluation.demo import AFTER, BEFORE, TOPICS
from langsteer.evaluation.harness.choices import batch_calibrated, choice_scores
from langsteer.evaluation.statistics import Array, Interval, difference, paired_bootstrap
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.progress import show_progress
from langsteer.steering.change import Change
from langsteer.text.languages import language_name
from langsteer.tuning import Record
from langsteer.tuning.prompts import prompt_of, template_of
from langsteer.version import __version__

FILE = RESULTS / "tuned.jsonl"
ASK = "Text: {}\nWhat is the topic of this text? Answer in one word."
SETTING = ("parts", "items", "frame", "method", "layer", "strength", "dtype")
NONE, OWN, BASE, TRAINED = "none", "own", "base", "trained"


def conditions(name: str, language: str, folder: Path | None) -> list[str]:
    """What a model is asked under in a language: in English, which vectors lead to, `none` alone."""
    if language == "en":
        return [NONE]
    kinds = [NONE, OWN] if name == "base" else [NONE, OWN, BASE]
    return [*kinds, TRAINED] if folder and _trained(folder, language).is_file() else kinds


def framed(model: Model, frame: str, texts: Sequence[str]) -> tuple[list[Prompt], list[str]]:
    """Prompts and answer choices: in the frame of the strength benchmark, or as tuned models are asked."""
    if frame == "text":
        return [Prompt(text, BEFORE, AFTER) for text in texts], list(TOPICS.values())
    record = Record("", None, (("user", ASK.format("\ue001")),), "")
    rendered = str(prompt_of(model, template_of(model), record))
    before, _, after = rendered.partition("\ue001")
    return [Prompt(text, before, after) for text in texts], [t.strip() for t in TOPICS.values()]


def hits(
    model: Model,
    language: str,
    setting: Mapping[str, Any],
    vectors: Sequence[Change | None],
) -> list[tuple[Array, Array]]:
    """Which items are right, 0 or 100, calibrated and raw, under each vector."""
    docs = [
        doc
        for part in setting["parts"].split("+")
        for doc in load_docs(get_benchmark("sib200"), language, part, SHARED)
    ][: setting["items"]]
    right = right_topics(docs)
    prompts, answers = framed(model, setting["frame"], [doc["text"] for doc in docs])
    return [
        (marks(batch_calibrated(scores), right), marks(scores, right))
        for scores in choice_scores(model, prompts, answers, vectors)
    ]


def main() -> None:
    chosen = _arguments()
    setting = {name: getattr(chosen, name) for name in SETTING}
    if chosen.table:
        print(table(read_lines(FILE), setting, chosen.languages))
        return
    show_progress(False)
    named = {"base": chosen.base, "sft": chosen.sft, "dpo": chosen.dpo, "steered": chosen.steered}
    vectors: dict[str, Change] = {}
    for name, path in named.items():
        if path is not None:
            _run_model(name, path, chosen.base, chosen.languages, setting, vectors)
    print(table(read_lines(FILE), setting, chosen.languages))


def table(lines: Sequence[Mapping[str, Any]], setting: Mapping[str, Any], languages: Any) -> str:
    """Accuracy, and the change against the base without steering; the mean is over the languages."""
    measured: dict[tuple[str, str, str], Array] = {}
    for line in lines:
        if all(line[name] == setting[name] for name in SETTING):
            measured[line["model"], line["steering"], line["language"]] = _unpacked(line["right"])
    tags = [tag for tag in languages if any(key[2] == tag for key in measured)]
    others = [tag for tag in tags if tag != "en"]
    heads = ["model", "steering", *map(language_name, tags), "mean of all but English"]
    rows: list[list[str]] = []
    for name, steering in dict.fromkeys(key[:2] for key in measured):
        cells = [_cell(measured, (name, steering), [tag]) for tag in tags]
        rows.append([name, steering, *cells, _cell(measured, (name, steering), others)])
    return markdown(heads, rows)


def _cell(
    measured: Mapping[tuple[str, str, str], Array], row: tuple[str, str], tags: Sequence[str]
) -> str:
    """The mean over languages item by item: they share their items."""
    steered = [measured.get((*row, tag)) for tag in tags]
    unsteered = [measured.get(("base", NONE, tag)) for tag in tags]
    known = [part for part in steered if part is not None]
    if not tags or len(known) < len(tags):
        return ""
    after = np.mean(known, axis=0)
    text = f"{after.mean():.1f}"
    base = [part for part in unsteered if part is not None]
    if row == ("base", NONE) or len(base) < len(tags):
        return text
    return f"{text} ({_interval(paired_bootstrap(difference, np.mean(base, axis=0), after))})"


def _run_model(
    name: str,
    path: str,
    base: str,
    languages: Sequence[str],
    setting: Mapping[str, Any],
    vectors: dict[str, Change],
) -> None:
    folder = Path(path) if Path(path).is_dir() else None
    about = {"model": name, "weights": _digest(folder), **setting}
    done = {_key(line) for line in read_lines(FILE)}
    missing = {
        tag: left
        for tag in languages
        if (
            left := [
                c
                for c in conditions(name, tag, folder)
                if _key({**about, "language": tag, "steering": c}) not in done
            ]
        )
    }
    if not missing:
        return
    wanted = [tag for tag, left in missing.items() if BASE in left and tag not in vectors]
    if wanted:
        vectors |= _fitted(langsteer.load_model(base, dtype=setting["dtype"]), wanted, setting)
    model = langsteer.load_model(path, dtype=setting["dtype"])
    for tag, left in missing.items():
        _run(model, tag, left, about, folder, vectors)


def _run(
    model: Model,
    language: str,
    left: Sequence[str],
    about: Mapping[str, Any],
    folder: Path | None,
    vectors: dict[str, Change],
) -> None:
    """Measure what is left in a language; without steering too, which changes are against."""
    start = time.perf_counter()
    used: dict[str, Change | None] = {NONE: None}
    if OWN in left:
        own = _fitted(model, [language], about)
        used[OWN] = own[language]
        if about["model"] == "base":
            vectors |= own
    if BASE in left:
        used[BASE] = vectors[language].carried_to(model)
    if TRAINED in left and folder is not None:
        used[TRAINED] = langsteer.load(_trained(folder, language)).carried_to(model)
    answers = hits(model, language, about, list(used.values()))
    seconds = time.perf_counter() - start
    direct = answers[0][0]
    for (steering, vector), (right, raw) in zip(used.items(), answers, strict=True):
        if steering not in left:
            continue
        change = paired_bootstrap(difference, direct, right)
        line = {
            **about,
            "language": language,
            "steering": steering,
            "accuracy": round(float(right.mean()), 1),
            "raw": round(float(raw.mean()), 1),
            "change": rounded(change),
            "relative_strength": round(vector.relative_strength, 3) if vector else None,
            "seconds": round(seconds, 1),
            "version": __version__,
            "right": "".join("1" if hit else "0" for hit in right),
        }
        add_line(FILE, line)
        print(json.dumps({k: v for k, v in line.items() if k != "right"}), flush=True)


def _fitted(
    model: Model, languages: Sequence[str], setting: Mapping[str, Any]
) -> dict[str, Change]:
    texts = {tag: langsteer.builtin(tag).split()["fit"] for tag in languages}
    options = {"method": setting["method"], "layer": setting["layer"]}
    return {
        tag: langsteer.fit(model, text, **options).with_strength(setting["strength"])
        for tag, text in texts.items()
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--sft", help="the folder of an adapter")
    parser.add_argument("--dpo", help="the folder of an adapter")
    parser.add_argument("--steered", help="the folder of an adapter tuned with steering on")
    parser.add_argument("--languages", nargs="+", default=["en", "es", "hi", "id", "sw", "tr"])
    parser.add_argument("--parts", default="train+development", help="joined by +, in this order")
    parser.add_argument("--items", type=int, default=800, help="at most so many a language")
    parser.add_argument("--frame", choices=("text", "chat"), default="text")
    parser.add_argument("--method", default="mean_difference")
    parser.add_argument("--layer", type=int, default=8)
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    return parser.parse_args()


def _key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(line[name] for name in ("model", "weights", "language", "steering", *SETTING))


def _digest(folder: Path | None) -> str:
    """Of an adapter's weights; nothing where the base itself is asked."""
    file = folder / "adapter_model.safetensors" if folder else None
    if file is None or not file.is_file():
        return ""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _trained(folder: Path, language: str) -> Path:
    return folder / "vectors" / f"{language}.safetensors"


def _unpacked(bits: str) -> Array:
    return np.array([100.0 if bit == "1" else 0.0 for bit in bits])


def _interval(change: Interval) -> str:
    return f"{change.value:+.1f} [{change.low:+.1f}, {change.high:+.1f}]"


if __name__ == "__main__":
    main()
