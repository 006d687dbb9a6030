"""Words to pieces, pieces to rows of a step, and to the keys of blocks."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langsteer.engines.vllm.catalogue import Catalogue, make_catalogue
from langsteer.engines.vllm.prefix import block_key
from langsteer.engines.vllm.spans import text_spans
from langsteer.engines.vllm.steering import (
    OPEN,
    Prompt,
    Steering,
    is_plain,
    read_steering,
    steering_of,
)
from langsteer.engines.vllm.steps import FIRST_EDGES, FIRST_SLOTS, Slots
from langsteer.engines.vllm.word import Word
from langsteer.errors import VectorError
from langsteer.states.intervention import POSITIONS, steered_tokens
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import BOS, character_tokenizer, make_vector, tiny

IDS = (BOS, 10, 11, 2, 12, 13)
SPECIAL = frozenset({0, 1, 2, 3})
PROMPT = Prompt(IDS, BOS, SPECIAL, None)
PLACES = {"": 0, "a": 1, "b": 2, "c": 3}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    model = tiny("llama")
    reading = make_vector(model, 1, language="et", positions="source", layer=1)
    writing = make_vector(model, 2, language="et", positions="generated", layer=1)
    return make_catalogue(
        {"sw": make_vector(model, strength=2.0), "et": ChangeSequence((reading, writing))}
    )


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("source", [None, (3, 5)])
def test_the_tokens_are_those_that_transformers_steers(
    catalogue: Catalogue, positions: Any, source: tuple[int, int] | None
) -> None:
    spans = None if source is None else (source,)
    steering = steering_of(Word("sw", 0.5, positions, spans=spans), catalogue, PROMPT)
    assert steering is not None
    assert steering.scale == 0.5
    length = len(IDS) + 3
    token = torch.arange(length)
    ordinary = torch.tensor([id not in SPECIAL for id in IDS] + [False] * 3)
    wanted = steered_tokens(
        positions,
        source=ordinary if source is None else (token >= source[0]) & (token < source[1]),
        prompt=token < len(IDS),
        never=token == 0,
    )
    got = torch.zeros(length, dtype=torch.bool)
    for first, end, _ in steering.pieces:
        got[first : length if end == OPEN else end] = True
    assert torch.equal(got, wanted)


def test_parts_at_their_own_positions(catalogue: Catalogue) -> None:
    steering = steering_of(Word("et"), catalogue, PROMPT)
    assert steering is not None
    _, reading, writing = catalogue.entries["et"].rows[None]
    assert steering.pieces == ((1, 3, reading), (4, 6, reading), (6, OPEN, writing))


@pytest.mark.parametrize("word", [Word(None), Word("en"), Word("sw", 0.0)])
def test_no_steering(catalogue: Catalogue, word: Word) -> None:
    assert steering_of(word, catalogue, PROMPT) is None


def test_what_there_is_not(catalogue: Catalogue) -> None:
    with pytest.raises(VectorError, match="there is no vector for fr: there are et, sw"):
        steering_of(Word("fr"), catalogue, PROMPT)
    with pytest.raises(VectorError, match="a span ends after the prompt's 6 tokens"):
        steering_of(Word("sw", positions="source", spans=((3, 7),)), catalogue, PROMPT)
    with pytest.raises(VectorError, match="texts need a tokeniser"):
        steering_of(Word("sw", positions="source", texts=("a",)), catalogue, PROMPT)


def test_what_travels_with_a_request(catalogue: Catalogue) -> None:
    steering = steering_of(Word("et"), catalogue, PROMPT)
    assert steering is not None
    plain = steering.plain()
    assert is_plain(plain)
    assert read_steering(plain, catalogue) == steering
    assert read_steering(None, catalogue) is None
    for wrong in ("sw", {"language": "sw"}, {**plain, "more": 1}):
        with pytest.raises(VectorError, match="was not made out"):
            read_steering(wrong, catalogue)
    with pytest.raises(VectorError, match="is not understood"):
        read_steering({"scale": 1, "pieces": [[1, 2]]}, catalogue)
    other = {"scale": 1.0, "pieces": [[1, 2, "00"]]}
    with pytest.raises(VectorError, match="the engine has no vector 00"):
        read_steering(other, catalogue)


def pieces() -> st.SearchStrategy[tuple[tuple[int, int, str], ...]]:
    """Pieces in rising order, some of them next to one another, the last perhaps open."""
    edges = st.lists(st.integers(0, 40), min_size=2, max_size=14, unique=True).map(sorted)

    @st.composite
    def made(draw: Any) -> tuple[tuple[int, int, str], ...]:
        spans = list(itertools.pairwise(draw(edges)))
        kept = [(a, b, draw(st.sampled_from("abc"))) for a, b in spans if draw(st.booleans())]
        if kept and draw(st.booleans()):
            kept[-1] = (kept[-1][0], OPEN, kept[-1][2])
        return tuple(kept)

    return made()


def row_at(steering: Steering | None, position: int) -> tuple[int, float]:
    for first, end, digest in steering.pieces if steering is not None else ():
        if first <= position and (end == OPEN or position < end):
            return PLACES[digest], steering.scale if steering is not None else 0.0
    return 0, 0.0


steerings = st.none() | st.builds(Steering, st.sampled_from((0.5, -2.0, 3.0)), pieces())
batches = st.lists(st.tuples(steerings, st.integers(0, 45), st.integers(1, 9)), max_size=8)


@settings(deadline=None)
@given(st.lists(batches, min_size=1, max_size=4))
def test_each_token_gets_the_row_of_its_position(steps: list[Any]) -> None:
    slots = Slots(PLACES)
    index, scale = np.full(100, 9, dtype=np.int32), np.full(100, 9, dtype=np.float32)
    for batch in steps:
        own = np.array([slots.put(steering) for steering, *_ in batch], dtype=np.int64)
        starts = np.array([start for _, start, _ in batch], dtype=np.int64)
        counts = np.array([count for *_, count in batch], dtype=np.int32)
        index[:] = 9
        total = slots.fill(own, starts, counts, index, scale)
        wanted = [row_at(s, start + i) for s, start, count in batch for i in range(count)]
        if not own.any():
            assert total == 0
            assert (index == 9).all()
        else:
            assert total == len(wanted)
            assert index[:total].tolist() == [row for row, _ in wanted]
            assert all(row == 0 or scale[i] == factor for i, (row, factor) in enumerate(wanted))
            assert (index[total:] == 9).all()
        for slot in own.tolist():
            slots.free(slot)


def test_slots_grow_and_are_used_again() -> None:
    slots = Slots(PLACES)
    many = Steering(2.0, tuple((2 * i, 2 * i + 1, "b") for i in range(3 * FIRST_EDGES)))
    taken = [slots.put(Steering(1.0, ((i, i + 1, "a"),))) for i in range(3 * FIRST_SLOTS)]
    assert sorted(taken) == list(range(1, 3 * FIRST_SLOTS + 1))
    slots.free(taken[5])
    assert slots.put(many) == taken[5]
    index, scale = np.zeros(200, dtype=np.int32), np.zeros(200, dtype=np.float32)
    own, counts = np.array([taken[5], taken[70]]), np.array([30, 80])
    assert slots.fill(own, np.array([0, 0]), counts, index, scale) == 110
    assert index[:30].tolist() == [2, 0] * 12 + [0] * 6
    assert np.flatnonzero(index[30:110]).tolist() == [70]
    assert slots.put(None) == 0


def test_a_block_is_known_by_what_is_added_in_it() -> None:
    steering = Steering(0.5, ((5, 20, "a"), (20, OPEN, "b")))
    assert block_key(steering, 0, 5) is None
    assert block_key(None, 0, 16) is None
    assert block_key(steering, 0, 16) == (0.5, 5, 16, "a")
    assert block_key(steering, 16, 32) == (0.5, 0, 4, "a", 4, 16, "b")
    assert block_key(steering, 32, 48) == (0.5, 0, 16, "b")
    same = Steering(0.5, ((5, OPEN, "a"),))
    assert block_key(same, 0, 16) == block_key(steering, 0, 16)
    assert block_key(Steering(0.6, same.pieces), 0, 16) != block_key(same, 0, 16)


class Slow:
    """A tokeniser that cannot say where its tokens are."""

    is_fast = False

    def __init__(self) -> None:
        self._own = character_tokenizer()

    def decode(self, ids: Any, **options: Any) -> str:
        return str(self._own.decode(ids, **options))


@pytest.mark.parametrize("make", [character_tokenizer, Slow])
def test_texts_are_found_in_the_tokens_of_a_prompt(make: Any) -> None:
    ids = list(character_tokenizer()("user: abc\nmodel: abc def\nuser: ghi")["input_ids"])
    found = text_spans(make(), ids, ["abc", "", "  def ", "ghi"])
    assert found == [(7, 10), (22, 25), (32, 35)]
    with pytest.raises(VectorError, match="the text 'abc' is not in the prompt"):
        text_spans(make(), ids, ["ghi", "abc"])
