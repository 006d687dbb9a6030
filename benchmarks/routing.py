"""Telling languages apart: the router, from an early layer of the model, against lingua.

    python -m benchmarks.routing

Fitted on NTREX, tried on FLORES dev in the 19 languages of both and English: whole lines, and their first words.
Prints a table and writes benchmarks/results/routing.json.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from lingua import IsoCode639_1, LanguageDetectorBuilder

import langsteer
from benchmarks.common import SHARED, report
from langsteer.fitting.router import fit_router
from langsteer.progress import show_progress
from langsteer.steering.router import CONFIDENT
from langsteer.text.corpus import spread
from langsteer.text.identify import Identified
from langsteer.text.readers import read_flores, read_ntrex

LANGUAGES = [
    "sw",
    "et",
    "tr",
    "th",
    "id",
    "vi",
    "zh-Hans",
    "it",
    "ta",
    "hi",
    "el",
    "ar",
    "de",
    "es",
    "fr",
    "ja",
    "pt",
    "ru",
    "yo",
]
Ask = Callable[[Sequence[str]], Sequence[Identified | None]]
LENGTHS = (1, 3, 6, None)  # words; None for the whole line
UNSPACED = {"zh-Hans", "ja", "th"}
LETTERS = 2  # of an unspaced script, for a word


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit-lines", type=int, default=60)
    parser.add_argument("--lines", type=int, default=60)
    parser.add_argument("--layer", type=int)
    chosen = parser.parse_args()
    show_progress(False)
    model = langsteer.load_model(dtype="bfloat16")
    fitted = read_ntrex(SHARED / "ntrex", LANGUAGES).checked()
    tried = read_flores(SHARED / "flores200" / "dev", LANGUAGES)
    tried = tried.lines(spread(len(tried), chosen.lines))
    start = time.perf_counter()
    router = fit_router(
        model, fitted.texts, with_builtin=False, layer=chosen.layer, most=chosen.fit_lines
    )
    seconds = time.perf_counter() - start
    rows: list[dict[str, Any]] = []
    asked: dict[str, Ask] = {
        "router": lambda texts: router.identify(model, texts),
        "lingua": by_lingua,
    }
    for words in LENGTHS:
        texts = [(cut(t, words, tag), tag) for tag, lines in tried.texts.items() for t in lines]
        for name, ask in asked.items():
            rows.append({"words": words, "by": name, **measured(ask, texts)})
            print(json.dumps(rows[-1]), flush=True)
    report(
        "routing",
        {
            "fit_lines": chosen.fit_lines,
            "texts": len(texts),
            "layer": router.layer,
            "fit_seconds": round(seconds, 1),
            "rows": rows,
        },
    )


def by_lingua(texts: Sequence[str]) -> list[Identified]:
    """Asked directly: langsteer does not ask it about texts of under 20 letters."""
    languages = [IsoCode639_1.from_str(tag.split("-")[0]) for tag in (*LANGUAGES, "en")]
    detector = LanguageDetectorBuilder.from_iso_codes_639_1(*languages).build()
    tags = {tag.split("-")[0]: tag for tag in (*LANGUAGES, "en")}
    ranked = detector.compute_language_confidence_values_in_parallel(list(texts))
    return [
        Identified(tags[best[0].language.iso_code_639_1.name.lower()], best[0].value)
        for best in ranked
    ]


def cut(text: str, words: int | None, tag: str) -> str:
    if words is None:
        return text
    return text[: words * LETTERS] if tag in UNSPACED else " ".join(text.split()[:words])


def measured(ask: Ask, texts: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Shares in per cent: right, sure, right where sure, and English texts surely called other."""
    start = time.perf_counter()
    answers = ask([text for text, _ in texts])
    seconds = time.perf_counter() - start
    pairs = [(answer, tag) for answer, (_, tag) in zip(answers, texts, strict=True)]
    right = [answer is not None and answer.language == tag for answer, tag in pairs]
    sure = [answer is not None and answer.confidence >= CONFIDENT for answer, _ in pairs]
    right_and_sure = [a and b for a, b in zip(right, sure, strict=True)]
    english = [(answer, s) for (answer, tag), s in zip(pairs, sure, strict=True) if tag == "en"]
    misled = [s and answer is not None and answer.language != "en" for answer, s in english]
    return {
        "right": share(right),
        "sure": share(sure),
        "right_where_sure": round(100 * sum(right_and_sure) / max(1, sum(sure)), 1),
        "english_taken_for_other": share(misled),
        "seconds": round(seconds, 1),
    }


def share(marks: Sequence[bool]) -> float:
    return round(100 * sum(marks) / len(marks), 1)


if __name__ == "__main__":
    main()
