"""What reading for an analysis costs: all layers of parallel text, against plain passes over the same batches.

    python -m benchmarks.analysis_cost
    python -m benchmarks.analysis_cost --rounds 1 --dtype bfloat16 --only-reading

The built-in corpus, its lines repeated where more are asked for. The reading pools each text's states in three ways, keeps
those of some tokens, and sums up norms, at every layer; the plain pass runs the backbone alone. `processor_ratio` is of
processor time in the same rounds, which other programs on the machine disturb less. What else an analysis does is timed
once and given beside, in seconds: read-out with the head, and the measures.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import langsteer
from benchmarks.common import paired, plain_passes, report
from langsteer.analysis.layers.analyze import AnalysisOptions, analyze
from langsteer.analysis.layers.reading import Pick, read_texts
from langsteer.model.tokens import Tokens, encode
from langsteer.progress import show_progress
from langsteer.text.corpus import ParallelCorpus, spread

LANGUAGES = ("sw", "et", "tr", "hi", "el", "de", "ar", "zh-Hans", "fr", "ja", "ru", "vi")


def corpus(languages: int, lines: int) -> ParallelCorpus:
    builtin = langsteer.builtin(*LANGUAGES[:languages])
    places = spread(len(builtin), lines) if lines <= len(builtin) else range(lines)
    text = builtin.lines(i % len(builtin) for i in places)
    return replace(text, parts=(), topics=())


def read(model: langsteer.Model, texts: list[list[Tokens]]) -> None:
    for tokens in texts:
        picks: list[Pick] = [
            (i, len(tokens[i]) - 2) for i in spread(len(tokens), AnalysisOptions.items)
        ]
        read_texts(model, tokens, picks=picks)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--languages", type=int, default=len(LANGUAGES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--only-reading", action="store_true", help="not what else there is to do")
    chosen = parser.parse_args()
    show_progress(False)
    model, text = langsteer.load_model(dtype=chosen.dtype), corpus(chosen.languages, chosen.lines)
    texts = [encode(model, text.texts[tag]) for tag in text.languages]
    spent: dict[str, list[float]] = {"reading": [], "plain": []}

    def run(name: str, work: Callable[[langsteer.Model, list[list[Tokens]]], None]) -> None:
        start = time.process_time()
        work(model, texts)
        spent[name].append(time.process_time() - start)

    ratio = paired(
        lambda: run("reading", read), lambda: run("plain", plain_passes), chosen.rounds, warm=0
    )
    processor = [a / b for a, b in zip(spent["reading"], spent["plain"], strict=True)]
    seconds = None if chosen.only_reading else analyze(model, text).seconds
    report(
        "analysis_cost",
        {
            "languages": list(text.languages),
            "lines": chosen.lines,
            "tokens": sum(len(line) for tokens in texts for line in tokens),
            "layers": model.layers,
            "dtype": str(model.dtype),
            "ratio": ratio,
            "processor_ratio": statistics.median(processor),
            "seconds_of_one_analysis": seconds,
        },
    )


if __name__ == "__main__":
    main()
