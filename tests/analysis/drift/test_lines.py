import pytest

from langsteer.analysis.drift.lines import split_lines
from langsteer.errors import CorpusError
from langsteer.text.corpus import ParallelCorpus
from tests.made.drift import corpus_of


def test_lines_of_a_split_corpus() -> None:
    corpus = corpus_of("sw")
    lines = split_lines(corpus)
    assert set(lines.fit) == {i for i, part in enumerate(corpus.parts) if part == "fit"}
    assert len(lines.fit) + len(lines.measured) == len(corpus)
    fewer = split_lines(corpus, 50)
    assert (len(fewer.fit), len(fewer.measured)) == (20, 30)
    assert set(fewer.fit) < set(lines.fit)
    assert set(fewer.measured) < set(lines.measured)
    assert max(fewer.measured) > len(corpus) * 0.9


def test_lines_of_a_corpus_in_one_piece() -> None:
    texts = {
        "sw": tuple(f"neno {i}" for i in range(40)),
        "en": tuple(f"word {i % 39}" for i in range(40)),
    }
    lines = split_lines(ParallelCorpus(texts, "en", "made up"))
    assert not set(lines.fit) & set(lines.measured)
    assert sorted((*lines.fit, *lines.measured)) == list(range(40))
    # The first and the last line have their English in common, and stay together.
    assert (0 in lines.fit) == (39 in lines.fit)
    assert abs(len(lines.fit) - 20) <= 1
    small = {tag: rows[:7] for tag, rows in texts.items()}
    with pytest.raises(CorpusError, match="too small to split: 7 lines"):
        split_lines(ParallelCorpus(small, "en", "made up"))
    with pytest.raises(CorpusError, match="too small: 4 lines to fit directions on and 3 to"):
        split_lines(ParallelCorpus(texts, "en", "made up"), 7)
