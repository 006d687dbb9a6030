"""Scores equal those of a plain forward pass a question, whatever is shared between them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langsteer.errors import ModelError
from langsteer.evaluation.harness import caches, head, scoring
from langsteer.evaluation.harness.caches import can_share_contexts
from langsteer.evaluation.harness.predicting import _log_sum_exp_in_place
from langsteer.evaluation.harness.scoring import Change, Question, score
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens, encode, encode_suffix
from langsteer.states.intervention import intervene
from langsteer.steering.logit_bias import LogitBias
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import ARCHITECTURES, build_model, tiny, vector_at

CONTEXTS = ["hello there", "a", "something longer here"]
ANSWERS = [[" x", " yes no"], ["abc", "d", "efgh"], ["q"]]


def questions(model: Model) -> list[Question]:
    encoded = encode(model, CONTEXTS)
    first = encoded[0]
    encoded[0] = Tokens(first.ids, [i % 2 == 0 and s for i, s in enumerate(first.source)])
    return [
        Question(context, tuple(tuple(encode_suffix(model, text)) for text in answers))
        for context, answers in zip(encoded, ANSWERS, strict=True)
    ]


def changes(model: Model) -> list[Change | None]:
    return [
        vector_at(model, 1),
        None,
        vector_at(model, 2, seed=1),
        vector_at(model, 1, "all"),
        vector_at(model, 0, "prompt"),
        vector_at(model, 3, "generated"),
        biasing(model),
        ChangeSequence((vector_at(model, 2, "all"), biasing(model))),
    ]


def biasing(model: Model) -> LogitBias:
    values = torch.randn(model.vocab_size, generator=torch.Generator().manual_seed(0))
    about = {"name": model.name, "fingerprint": model.fingerprint}
    return LogitBias(values, "sw", "en", about, "test", strength=0.5)


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    """The vocabulary and the answers are gone through in parts, as large ones are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langsteer.model.model.LOGIT_BLOCK", 50)
        patch.setattr(scoring, "TAIL_SHARE", 170)
        yield


def by_hand(model: Model, question: Question, change: Change | None) -> list[float]:
    """One answer at a time, without a cache, all logits computed."""
    found = []
    for answer in question.answers:
        inputs = model.batch([[*question.context.ids, *answer[:-1]]])
        with torch.no_grad():
            if change is None:
                logits = model.network(**inputs, use_cache=False).logits
            else:
                mask = torch.tensor([question.context.source])
                with intervene(model, list(change.interventions()), change.positions, mask):
                    logits = model.network(**inputs, use_cache=False).logits
        bias = change.logit_bias() if change is not None else None
        logprobs = torch.log_softmax(logits[0].float() + (0 if bias is None else bias), -1)
        at = len(question.context) - 1
        found.append(sum(float(logprobs[at + t, token]) for t, token in enumerate(answer)))
    return found


def check(model: Model, budget: int = 2048) -> None:
    asked, wanted = questions(model), changes(model)
    for change, scores in zip(wanted, score(model, asked, wanted, budget=budget), strict=True):
        for question, values in zip(asked, scores.loglikelihoods, strict=True):
            assert values == pytest.approx(by_hand(model, question, change), abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equals_a_plain_pass(architecture: str) -> None:
    model = tiny(architecture)
    assert can_share_contexts(model)
    check(model)
    check(model, budget=30)


@pytest.mark.parametrize("architecture", ["llama", "opt", "bloom", "gemma3"])
def test_equals_a_plain_pass_where_contexts_cannot_be_shared(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "cache_window", lambda model: 0)
    model = tiny(architecture)
    asked = questions(model)
    wanted = [None, vector_at(model, 1), vector_at(model, 2)]  # answers are steered in neither
    for change, scores in zip(wanted, score(model, asked, wanted), strict=True):
        for question, values in zip(asked, scores.loglikelihoods, strict=True):
            assert values == pytest.approx(by_hand(model, question, change), abs=1e-4)


def test_an_answer_at_a_time_where_contexts_cannot_be_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("llama")
    asked, wanted = questions(model), [None, vector_at(model, 1)]
    together = score(model, asked, wanted, where=True)
    monkeypatch.setattr(caches, "cache_window", lambda model: 0)
    for budget in (1, 30):
        apart = score(model, asked, wanted, budget=budget, where=True)
        for one, other in zip(together, apart, strict=True):
            assert one.greedy == other.greedy
            assert one.touched == other.touched
            assert str(one.where) == str(other.where)
            for values, again in zip(one.loglikelihoods, other.loglikelihoods, strict=True):
                assert values == pytest.approx(again, abs=1e-4)


@pytest.mark.parametrize("held", [3, 6])
def test_no_more_is_held_than_may_be(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, copied, budget = tiny("llama"), list[int](), 40
    start = encode(model, ["once upon a time"])[0]
    asked = [Question(start.followed_by(q.context.ids), q.answers) for q in questions(model)]
    expected = score(model, asked)[0].loglikelihoods
    real = caches.rows_of

    def spied(cache: Any, rows: Any) -> Any:
        copied.append(len(rows) * cache.get_seq_length() if len(rows) > 1 else 0)
        return real(cache, rows)

    monkeypatch.setattr(caches, "rows_of", spied)
    monkeypatch.setattr(scoring, "SHORTEST_STEM", 4)
    monkeypatch.setattr(scoring, "HELD", held)
    monkeypatch.setattr(scoring, "token_budget", lambda model: budget)
    for values, again in zip(expected, score(model, asked)[0].loglikelihoods, strict=True):
        assert values == pytest.approx(again, abs=1e-4)
    assert 0 < max(copied) <= held * budget


@pytest.mark.parametrize("architecture", ["gemma3", "mistral"])
def test_sliding_windows_shorter_than_the_context(architecture: str) -> None:
    check(build_model(architecture, sliding_window=4))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_all_contexts_begin_with_is_run_once(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "SHORTEST_STEM", 4)
    model, wanted = tiny(architecture), changes(tiny(architecture))
    start = encode(model, ["once upon"])[0]
    asked = [
        Question(start.followed_by(q.context.ids), q.answers) for q in questions(tiny(architecture))
    ]
    read = sum(len(q) - len(start) - 1 for q in asked) + len(start) + 1
    for change, scores in zip(wanted, score(model, asked, wanted, budget=40), strict=True):
        assert scores.tokens == read
        for question, values in zip(asked, scores.loglikelihoods, strict=True):
            assert values == pytest.approx(by_hand(model, question, change), abs=1e-4)


def test_a_start_is_not_shared_beyond_a_sliding_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SHORTEST_STEM", 4)
    model = build_model("gemma3", sliding_window=12)
    start = encode(model, ["once upon"])[0]
    asked = [Question(start.followed_by(q.context.ids), q.answers) for q in questions(model)]
    for question, values in zip(asked, score(model, asked)[0].loglikelihoods, strict=True):
        assert values == pytest.approx(by_hand(model, question, None), abs=1e-4)


def test_greedy_answers_are_told(llama: Model) -> None:
    context = encode(llama, ["hello"])[0]
    ids = list(context.ids)
    for _ in range(3):
        with torch.no_grad():
            ids.append(int(llama.network(torch.tensor([ids])).logits[0, -1].argmax()))
    best = tuple(ids[len(context) :])
    other = (*best[:2], (best[2] + 1) % llama.vocab_size)
    found = score(llama, [Question(context, (best, other))])[0]
    assert found.greedy == [[True, False]]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(4, 90), min_size=1, max_size=9),
            st.lists(st.lists(st.integers(4, 90), min_size=1, max_size=4), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 40),
)
def test_any_questions_under_any_budget(
    asked: list[tuple[list[int], list[list[int]]]], budget: int
) -> None:
    model = tiny("qwen2")
    made = [
        Question(Tokens(ids, [True] * len(ids)), tuple(map(tuple, answers)))
        for ids, answers in asked
    ]
    change = vector_at(model, 1)
    plain, steered = score(model, made, [None, change], budget=budget)
    for i, question in enumerate(made):
        assert plain.loglikelihoods[i] == pytest.approx(by_hand(model, question, None), abs=1e-4)
        assert steered.loglikelihoods[i] == pytest.approx(
            by_hand(model, question, change), abs=1e-4
        )


def test_only_layers_that_differ_are_run_again(llama: Model) -> None:
    ran = dict.fromkeys(range(llama.layers), 0)
    hooks = [
        block.self_attn.register_forward_hook(
            lambda *_, layer=layer: ran.__setitem__(layer, ran[layer] + 1)
        )
        for layer, block in enumerate(llama.blocks)
    ]
    can_share_contexts(llama)
    score(llama, questions(llama)[2:], [None, vector_at(llama, 1)])
    ran = dict.fromkeys(range(llama.layers), 0)
    score(llama, questions(llama)[2:], [None, vector_at(llama, 1)])
    for hook in hooks:
        hook.remove()
    assert ran == {0: 1, 1: 1, 2: 2, 3: 2}


def test_the_same_change_twice(llama: Model) -> None:
    change = vector_at(llama, 1)
    found = score(llama, questions(llama), [None, change, None, change])
    assert found[0].loglikelihoods == found[2].loglikelihoods
    assert found[1].loglikelihoods == found[3].loglikelihoods
    assert found[0].loglikelihoods != found[1].loglikelihoods


def test_an_answer_without_tokens_is_refused(llama: Model) -> None:
    context = encode(llama, ["hello"])[0]
    with pytest.raises(ModelError, match="tokenises to nothing"):
        score(llama, [Question(context, ((5,), ()))])


def test_the_sum_of_a_part_of_the_vocabulary_is_torchs() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)) * 40
    logits[1] = -torch.inf  # a part that a model never says
    wanted = logits.logsumexp(-1)
    assert torch.allclose(_log_sum_exp_in_place(logits, logits.amax(-1)), wanted)


def test_a_bias_of_what_is_written_counts_in_the_answers(llama: Model) -> None:
    bias = biasing(llama)
    question = Question(encode(llama, ["abc"])[0], ((5, 6), (7,)))
    flat = replace(bias, values=torch.full_like(bias.values, 3.0))
    plain, biased, same = score(llama, [question], [None, bias, flat])
    assert not np.allclose(biased.loglikelihoods[0], plain.loglikelihoods[0])
    assert np.allclose(same.loglikelihoods[0], plain.loglikelihoods[0], atol=1e-4)
    assert (plain.touched, biased.touched) == ([[0, 0]], [[2, 1]])


@pytest.mark.parametrize("rows", [512, 9, 1])
def test_the_head_waits_for_states_of_several_batches(
    llama: Model, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    asked = [Question(own.context, tuple(a[:1] for a in own.answers)) for own in questions(llama)]
    asked = [own for own in asked for _ in range(4)]
    batches: list[int] = []
    sizes: list[int] = []

    def run(batch: Any, change: int) -> Any:
        batches.append(len(batch.questions))
        return whole(batch, change)

    def predict(model: Model, states: torch.Tensor, *more: Any) -> Any:
        sizes.append(len(states))
        return predicted(model, states, *more)

    whole, predicted = scoring._Batch.run, head.predicted
    monkeypatch.setattr(scoring._Batch, "run", run)
    monkeypatch.setattr(head, "predicted", predict)
    monkeypatch.setattr(head, "HEAD_ROWS", rows)
    (found,) = score(llama, asked, budget=30)
    assert len(batches) > 3
    assert max(sizes) <= rows
    assert sum(sizes) == sum(batches) == 12
    if rows == 512:
        assert sizes == [12]
    for own, row in zip(asked, found.loglikelihoods, strict=True):
        assert row == pytest.approx(by_hand(llama, own, None), abs=1e-4)
