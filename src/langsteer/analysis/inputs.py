"""What is analysed: which lines of a corpus, in which languages, with which vectors."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from langsteer.analysis import alignment
from langsteer.errors import AnalysisError
from langsteer.model.model import Model
from langsteer.steering.folder import read_vectors
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import BUILTIN, ParallelCorpus, builtin, spread
from langsteer.text.languages import language_name, parse_tag
from langsteer.text.readers import read_corpus


def check_languages(languages: Sequence[str], pivot: str) -> list[str]:
    """The tags to analyse. Raises AnalysisError where there is none, or the pivot is one."""
    tags = list(dict.fromkeys(map(parse_tag, languages)))
    if not tags:
        raise AnalysisError("name a language to analyse, such as --languages sw, or a vector")
    if parse_tag(pivot) in tags:
        raise AnalysisError(
            f"{language_name(pivot)} ({parse_tag(pivot)}) is the pivot that the languages are "
            "compared with: name others, or another pivot"
        )
    return tags


def vectors_for(
    languages: Sequence[str], files: Sequence[str | Path], folder: str | Path | None
) -> dict[str, SteeringVector]:
    """The vectors of `files`, and those of a folder that are for these languages (all for none).

    Raises VectorError where one is damaged, or two are for one language.
    """
    named = read_vectors(*files)
    if folder is None:
        return named
    tags = [parse_tag(tag) for tag in languages]
    every = read_vectors(*files, folder)
    return {tag: vector for tag, vector in every.items() if tag in named or tag in tags or not tags}


def chosen_lines(corpus: ParallelCorpus, lines: int | None) -> ParallelCorpus:
    """The lines that are read. Raises AnalysisError where they are too few, or empty."""
    if lines is not None and lines < alignment.FEWEST_LINES:
        raise AnalysisError(
            f"an analysis needs {alignment.FEWEST_LINES} lines or more, not {lines}"
        )
    places = list(range(len(corpus)))
    if corpus.parts:
        places = [i for i, part in enumerate(corpus.parts) if part == "report"]
    if len(places) < alignment.FEWEST_LINES:
        raise AnalysisError(
            f"{corpus.name} has {len(places)} lines to analyse: "
            f"{alignment.FEWEST_LINES} are the least"
        )
    chosen = spread(len(places), lines or len(places))
    text = corpus.lines(places[i] for i in chosen)
    for tag, texts in text.texts.items():
        for place, line in zip(chosen, texts, strict=True):
            if not line.strip():
                raise AnalysisError(
                    f"{corpus.name} has no {language_name(tag)} ({tag}) in line "
                    f"{places[place] + 1}: fill it in, or read the corpus with its checks"
                )
    return text


def checked_vectors(
    model: Model,
    corpus: ParallelCorpus,
    vectors: Mapping[str, SteeringVector],
    other_weights: bool = False,
) -> dict[str, SteeringVector]:
    """The vectors by tag. Raises AnalysisError or VectorError for one that cannot be analysed."""
    by_tag = {parse_tag(tag): vector for tag, vector in vectors.items()}
    for tag, vector in by_tag.items():
        if tag not in corpus.languages:
            raise AnalysisError(
                f"there is a vector for {language_name(tag)} ({tag}), which is not analysed: add "
                f"it to the languages ({', '.join(corpus.languages)}), or leave the vector out"
            )
        if vector.language != tag:
            raise AnalysisError(f"the vector given for {tag} is one for {vector.language}")
        if vector.pivot != corpus.pivot:
            raise AnalysisError(
                f"the vector for {tag} leads to {vector.pivot}, and the analysis compares with "
                f"{corpus.pivot}: name {vector.pivot} as the pivot"
            )
        if vector.positions == "generated":
            raise AnalysisError(
                f"the vector for {tag} steers generated tokens only, and an analysis reads text: "
                "it would show nothing"
            )
        vector.check_fits(model, other_weights=other_weights)
    return by_tag


def texts_for(
    vectors: Iterable[SteeringVector],
    source: str | Path = BUILTIN,
    pivot_file: str | Path | None = None,
    split: str | None = None,
) -> ParallelCorpus:
    """Parallel text in the languages of some vectors and their pivot; see `read_corpus`.

    Of the built-in corpus, in those that it has. Raises AnalysisError where it has none.
    """
    known = list(vectors)
    tags, pivot = [vector.language for vector in known], known[0].pivot if known else "en"
    if str(source) == BUILTIN:
        has = builtin().texts
        tags = [tag for tag in tags if tag in has]
        if not tags:
            raise AnalysisError(
                "the built-in corpus has none of the vectors' languages: give text of your own "
                f"(--corpus), or text in {', '.join(has)}"
            )
    return read_corpus(source, tags, pivot=pivot, pivot_file=pivot_file, split=split)
