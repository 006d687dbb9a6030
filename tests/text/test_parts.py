"""Parts of a corpus that have their least, whatever the number of lines."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langsteer.errors import CorpusError
from langsteer.text.corpus import ParallelCorpus, builtin, spread
from langsteer.text.parts import evened, with_least

LEARNED = {"fit": 0.8, "choose": 0.2, "report": 0.0}


def lines(*sentences: str, parts: tuple[str, ...] = ()) -> ParallelCorpus:
    """Line i in both languages; a sentence that is there twice joins its lines."""
    own = tuple(f"sw {i}" for i in range(len(sentences)))
    return ParallelCorpus({"sw": own, "en": sentences}, "en", "own", parts=parts)


@pytest.mark.parametrize("count", [*range(12, 70), 200, 419])
def test_some_lines_of_the_built_in_corpus_can_be_split(count: int) -> None:
    text = builtin("sw")
    part = text.some(count)
    assert len(part) == len(set(part.texts["sw"])) == count
    assert all(len(own) >= 4 for own in part.split(**LEARNED).values())
    even = text.lines(spread(len(text), count))
    if min(Counter(even.parts)[own] for own in ("fit", "choose", "report")) >= 4:
        assert part == even


def test_too_few_lines_of_the_built_in_corpus_say_how_many_are_enough() -> None:
    with pytest.raises(CorpusError, match=r"11 lines leave 2 .*'choose'.*: give 12 lines or more"):
        builtin("sw").some(11).split(**LEARNED)


def test_a_part_that_is_too_small_as_it_comes_is_named() -> None:
    text = lines(*map(str, range(40)), parts=("fit",) * 37 + ("choose",) * 3)
    with pytest.raises(CorpusError, match=r"leave 3 for the part 'choose'.*give that part more"):
        text.split(**LEARNED)


@given(st.lists(st.sampled_from(["fit", "choose", "report"]), min_size=1), st.integers(1, 40))
def test_lines_are_exchanged_only_for_parts_with_too_few(parts: list[str], count: int) -> None:
    even = spread(len(parts), count)
    found = with_least(parts, even, 4)
    assert found == sorted(set(found))
    assert len(found) == len(even)
    wanted = {part: min(4, total) for part, total in Counter(parts).items()}
    counts = Counter(parts[i] for i in found)
    before = Counter(parts[i] for i in even)
    if sum(wanted.values()) <= len(even):
        assert all(counts[part] >= least for part, least in wanted.items())
    if all(before[part] >= least for part, least in wanted.items()):
        assert found == list(even)


@given(st.integers(20, 60), st.sets(st.integers(0, 59), max_size=8), st.integers(0, 50))
def test_lines_that_share_a_sentence_leave_each_part_its_least(
    count: int, joined: set[int], seed: int
) -> None:
    """Up to three groups of lines, wherever the hash deals them."""
    sentences = [f"en {i}" for i in range(count)]
    for i in joined:
        sentences[i % count] = f"shared {i % 3}"
    text = lines(*sentences)
    parts = text.split(seed=seed)
    assert all(len(part) >= 4 for part in parts.values())
    sets = [set(part.texts["en"]) for part in parts.values()]
    assert sum(map(len, sets)) == len(set().union(*sets))
    assert sum(map(len, parts.values())) == count


def test_groups_move_to_a_part_with_too_few() -> None:
    dealt = {"fit": [[0, 1], [2], [3, 4, 5], [6, 7]], "choose": [[8, 9]]}
    assert evened(dealt, 4) == {"fit": [[0, 1], [2], [3, 4, 5]], "choose": [[8, 9], [6, 7]]}
    enough = {"fit": [[0, 1], [2, 3]], "choose": [[4, 5, 6, 7]]}
    assert evened(enough, 4) == enough


def test_lines_that_share_too_much_are_told_apart_from_too_few() -> None:
    with pytest.raises(CorpusError, match=r"30 lines leave .* share a sentence stay in one part"):
        lines(*["the same"] * 28, "another", "a third").split(**LEARNED)
    with pytest.raises(CorpusError, match="give 20 lines or more"):
        lines(*map(str, range(19))).split(**LEARNED)
