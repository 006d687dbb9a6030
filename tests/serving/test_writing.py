"""Rows that come and go: each says what it says alone, whoever was beside it and left or came."""

from typing import Any

import pytest
import torch

from langsteer.errors import VectorError
from langsteer.model.tokens import encode
from langsteer.serving import asked, writing
from langsteer.serving.asked import Asked
from langsteer.serving.engine import EmbeddedEngine
from langsteer.serving.rows import Piece, Row, Sampling
from langsteer.serving.writing import Running, WholeBatches, writer_for
from langsteer.steering.generation import generate
from langsteer.steering.logit_bias import LogitBias
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.steered import Steered
from tests.helpers import build_model, make_vector

PROMPTS = ("abcabc", "klmnoklmnoklmnoklmno", "fg", "edcbaedcba", "hijhijhijhijhij")
TAGS = ("sw", None, "tr", "sw", "tr")


def steered_model(architecture: str, **changes: Any) -> Steered:
    model = build_model(architecture, seed=3, **changes)
    made = {
        tag: make_vector(model, seed, language=tag, strength=4.0, positions=positions)
        for seed, (tag, positions) in enumerate((("sw", "prompt"), ("tr", "all")))
    }
    return Steered(model, made)


def row(ready: Steered, number: int, tokens: int) -> tuple[Row, list[Piece]]:
    prompt, pieces = PROMPTS[number], list[Piece]()
    sampling = Sampling(tokens, temperature=0)
    tokens_of = encode(ready.model, [prompt])[0]
    return Row(tokens_of, prompt, Asked(TAGS[number]), sampling, pieces.append), pieces


def alone(ready: Steered, number: int, tokens: int) -> str:
    tag = TAGS[number]
    change = ready.changes[tag] if tag else None
    return generate(ready.model, [PROMPTS[number]], change, max_new_tokens=tokens)[0]


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("llama", {}),
        ("mistral", {"sliding_window": 8}),
        ("gemma3", {"sliding_window": 8}),
        ("gpt2", {}),
        ("bloom", {}),
        ("opt", {}),
        ("phi3", {}),
    ],
)
def test_rows_come_and_go(architecture: str, changes: dict[str, Any]) -> None:
    ready = steered_model(architecture, **changes)
    writer = writer_for(ready, lambda rows: None)
    assert isinstance(writer, Running)
    lengths = (12, 5, 20, 4, 15)
    made = [row(ready, number, length) for number, length in enumerate(lengths)]
    joins = {0: (0, 1), 2: (2,), 3: (3, 4)}
    most = 0
    for step in range(40):
        writer.join([made[number][0] for number in joins[step]]) if step in joins else None
        most = max(most, len(writer.rows))
        writer.step()
    assert most == 5
    assert not writer.rows
    for number, (written, pieces) in enumerate(made):
        assert "".join(piece.text for piece in pieces) == written.text
        assert written.text == alone(ready, number, lengths[number]), number
    assert torch.equal(*(ready.model.last_logits(ready.model.batch([[5, 6]]), 1) for _ in "ab"))
    assert not any(block._forward_hooks for block in ready.model.blocks)


def test_one_that_is_gone_leaves_the_others() -> None:
    ready = steered_model("gemma3", sliding_window=8)
    writer = Running(ready, lambda rows: None)
    made = [row(ready, number, 10) for number in (0, 1, 2)]
    writer.join([each[0] for each in made])
    writer.step()
    made[1][0].cancelled = True
    writer.step()
    assert len(writer.rows) == 2
    assert made[1][1][-1].error is not None
    written = len(made[1][0].ids)
    while writer.rows:
        writer.step()
    assert len(made[1][0].ids) == written
    assert [made[i][0].text for i in (0, 2)] == [alone(ready, i, 10) for i in (0, 2)]


def test_a_prompt_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = steered_model("llama")
    writer = Running(ready, lambda rows: None)
    first, bad = row(ready, 4, 8)[0], row(ready, 0, 8)[0]
    writer.join([first])
    with monkeypatch.context() as patched:
        patched.setattr(writer, "_run", lambda batch: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.join([bad])
    while writer.rows:
        writer.step()
    assert first.text == alone(ready, 4, 8)


@pytest.mark.parametrize("setting", [{"min_new_tokens": 3}, {"repetition_penalty": 3.0}])
def test_the_models_own_settings(setting: dict[str, Any]) -> None:
    ready = steered_model("llama")
    plain = [alone(ready, number, 12) for number in (0, 4)]
    for name, value in setting.items():
        setattr(ready.network.generation_config, name, value)
    writer = writer_for(ready, lambda rows: None)
    assert isinstance(writer, WholeBatches) == ("min_new_tokens" in setting)
    expected = [alone(ready, number, 12) for number in (0, 4)]
    for number, text in zip((0, 4), expected, strict=True):
        written = row(ready, number, 12)[0]
        writer.join([written])
        while writer.rows:
            writer.step()
        assert written.text == text
    assert "repetition_penalty" not in setting or expected != plain


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_added_to_logits_is_each_row_s_own(whole: bool) -> None:
    ready = steered_model("llama")
    if whole:
        ready.network.generation_config.min_new_tokens = 1
    plain = [alone(ready, number, 8) for number in range(5)]
    for tag, token in (("sw", 7), ("tr", 9)):
        ready.changes[tag] = with_bias(ready, tag, token)
    expected = [alone(ready, number, 8) for number in range(5)]
    assert [a == b for a, b in zip(plain, expected, strict=True)] == [t is None for t in TAGS]
    engine = EmbeddedEngine(ready, batch=5)
    made = [row(ready, number, 8) for number in range(5)]
    engine.submit([each[0] for each in made])
    engine.close()
    assert [each[0].text for each in made] == expected


def with_bias(ready: Steered, tag: str, token: int) -> ChangeSequence:
    vector = ready.changes[tag]
    values = torch.randn(ready.model.vocab_size, generator=torch.Generator().manual_seed(token))
    about = {name: getattr(vector, name) for name in ("language", "pivot", "model", "method")}
    return ChangeSequence((vector, LogitBias(values, **about, strength=3.0)))


@pytest.mark.parametrize("whole", [False, True])
def test_an_engine_writes_what_it_took_before_it_ends(whole: bool) -> None:
    ready = steered_model("llama")
    if whole:
        ready.network.generation_config.min_new_tokens = 1
    batches: list[int] = []
    engine = EmbeddedEngine(ready, batch=2, queue=9, on_batch=batches.append)
    made = [row(ready, number, 3 + 4 * number) for number in range(5)]
    engine.submit([each[0] for each in made])
    made[3][0].cancelled = True
    engine.close()
    for number in (0, 1, 2, 4):
        assert made[number][0].text == alone(ready, number, 3 + 4 * number)
    assert made[3][0].done
    assert not engine.alive
    assert max(batches) == 2


def test_a_text_that_is_refused_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ready, real = steered_model("llama"), asked.resolve
    expected = [alone(ready, number, 6) for number in range(5)]

    def refusing(ready: Steered, requests: Any) -> Any:
        if any(source == PROMPTS[2] for source, _ in requests):
            raise VectorError("nobody can read this")
        return real(ready, requests)

    monkeypatch.setattr(writing, "resolve", refusing)
    engine = EmbeddedEngine(ready, batch=5)
    made = [row(ready, number, 6) for number in range(5)]
    engine.submit([each[0] for each in made])
    engine.close()
    for number, (written, pieces) in enumerate(made):
        if number == 2:
            assert [str(piece.error) for piece in pieces] == ["nobody can read this"]
        else:
            assert written.text == expected[number]


def test_drawing_with_a_nucleus() -> None:
    scores = torch.tensor([1.0, 5.0, 3.0, 4.5, -2.0])
    ready = steered_model("llama")
    counts = {0.4: {1}, 0.8: {1, 3}, 1.0: {0, 1, 2, 3, 4}}
    for top_p, allowed in counts.items():
        written = row(ready, 0, 9)[0]
        written.sampling = Sampling(9, 1.5, top_p, seed=1)
        drawn = [written.choose(scores) for _ in range(600)]
        assert set(drawn) == allowed
    chances = torch.softmax(scores / 1.5, -1)
    assert abs(drawn.count(1) / 600 - float(chances[1])) < 0.06
