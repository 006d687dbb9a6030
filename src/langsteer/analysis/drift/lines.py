"""Which lines of a corpus fit directions, and which are measured on."""

from dataclasses import dataclass, replace

from langsteer.errors import CorpusError
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import SMALLEST_PART, ParallelCorpus, spread


@dataclass(frozen=True)
class Lines:
    """Places of lines in a corpus: those that fit directions, and those that are measured on."""

    fit: tuple[int, ...]
    measured: tuple[int, ...]


def split_lines(corpus: ParallelCorpus, limit: int | None = None) -> Lines:
    """The lines that fit and those that are measured, disjoint.

    A corpus that comes split is fitted on its `fit` part, as vectors are, and measured on the
    rest. `limit` takes so many lines, evenly spaced, in the same proportion. Raises CorpusError
    where a side would have under 4.
    """
    if corpus.parts:
        fit = [i for i, part in enumerate(corpus.parts) if part == "fit"]
    else:
        numbered = replace(corpus, topics=tuple(map(str, range(len(corpus)))))
        fit = sorted(map(int, numbered.split(fit=0.5, choose=0, report=0.5)["fit"].topics))
    chosen = set(fit)
    measured = [i for i in range(len(corpus)) if i not in chosen]
    if limit is not None and limit < len(corpus):
        count = round(limit * len(fit) / len(corpus))
        fit, measured = (
            [fit[i] for i in spread(len(fit), count)],
            [measured[i] for i in spread(len(measured), limit - count)],
        )
    if min(len(fit), len(measured)) < SMALLEST_PART:
        raise CorpusError(
            f"{corpus.name} is too small: {len(fit)} lines to fit directions on and {len(measured)} "
            f"to measure on, and each needs {SMALLEST_PART}"
        )
    return Lines(tuple(fit), tuple(measured))


def text_of(vector: SteeringVector, corpus: ParallelCorpus, lines: Lines) -> str:
    """What is known of the text that a vector was fitted on, beside the lines measured on."""
    if vector.corpus.get("name") != corpus.name:
        return "other text"
    pair = corpus.only(vector.language)
    apart = [i for i in range(len(corpus)) if i not in set(lines.measured)]
    candidates = [apart, [i for i, part in enumerate(corpus.parts) if part == "fit"]]
    prints = [pair.lines(index).fingerprint for index in candidates if index]
    if vector.corpus.get("fingerprint") in prints:
        return "lines kept apart"
    return "this corpus, perhaps the lines measured on: cosines may be too high"
