"""A bias of what is written: whose answers it changes, what it is in a file, and where it cannot go."""

import itertools
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import langsteer
from langsteer.errors import ExportError, FitError, VectorError
from langsteer.export.format import vectors_of
from langsteer.fitting.logit_bias import UNLIKELY
from langsteer.fitting.word_excess import pivot_excess
from langsteer.model.model import Model
from langsteer.steering.decoding.only_script import OnlyScript
from langsteer.steering.generation import generate
from langsteer.steering.logit_bias import LogitBias
from langsteer.steering.sequence import ChangeSequence
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import make_vector
from tests.made.scripts import build, number

LINES = tuple("".join(words) for words in itertools.product((" και", " το", "α"), repeat=3))
TEXT = ParallelCorpus({"el": LINES, "en": tuple(f" the and{line}" for line in LINES)}, "en", "made")


def only(model: Model, token: int, by: float = 1e3, **changes: Any) -> LogitBias:
    values = torch.zeros(model.vocab_size)
    values[token] = by
    about = {"name": model.name, "fingerprint": model.fingerprint}
    return LogitBias(values, "sw", "en", about, "test", **changes)


def ids_of(model: Model, texts: list[str]) -> list[list[int]]:
    return [model.tokenizer.encode(text, add_special_tokens=False) for text in texts]


def test_each_row_has_its_own(llama: Model) -> None:
    first, second = only(llama, 7), only(llama, 8)
    prompts = ["abc", "cdefg", "b", "abab"]
    made = generate(llama, prompts, [first, None, second, first], max_new_tokens=3)
    plain = generate(llama, prompts, max_new_tokens=3)
    word = llama.tokenizer.decode([7, 7, 7]), llama.tokenizer.decode([8, 8, 8])
    assert made == [word[0], plain[1], word[1], word[0]]


def test_beams_are_rows_of_their_prompt(llama: Model) -> None:
    changes = [only(llama, 7), only(llama, 8)]
    made = generate(llama, ["abc", "b"], changes, max_new_tokens=2, num_beams=3)
    assert made == [llama.tokenizer.decode([7, 7]), llama.tokenizer.decode([8, 8])]


def test_its_strength_and_that_of_a_sequence(llama: Model) -> None:
    half = ChangeSequence((only(llama, 7, 4.0), only(llama, 8, 2.0, strength=3.0)), strength=0.5)
    total = half.logit_bias()
    assert total is not None
    assert (float(total[7]), float(total[8])) == (2.0, 3.0)
    assert float(only(llama, 7, 4.0).logit_bias(0.25)[7]) == 1.0
    assert ChangeSequence((make_vector(llama),)).logit_bias() is None
    assert not only(llama, 7).interventions()


def test_inside_a_block_and_nowhere_else(llama: Model) -> None:
    batch = llama.batch(ids_of(llama, ["abc"]))
    inputs: Any = {name: batch[name] for name in ("input_ids", "attention_mask")}

    def written() -> list[int]:
        ids: Tensor = llama.network.generate(
            **inputs, max_new_tokens=2, do_sample=False, pad_token_id=llama.pad_id
        )
        return list(ids[0, inputs["input_ids"].shape[1] :].tolist())

    before = written()
    with only(llama, 7, 2.0).applied(llama), only(llama, 7, 1e3).applied(llama):
        assert written() == [7, 7]
    assert written() == before
    assert "generate" not in llama.network.__dict__


def test_another_thread_is_not_biased(llama: Model) -> None:
    made: list[str] = []
    with only(llama, 7).applied(llama):
        thread = threading.Thread(
            target=lambda: made.extend(generate(llama, ["abc"], max_new_tokens=3))
        )
        thread.start()
        thread.join()
    assert made == generate(llama, ["abc"], max_new_tokens=3)


def test_saved_and_loaded_alone_and_in_a_sequence(llama: Model, tmp_path: Path) -> None:
    bias = only(llama, 7, strength=0.5)
    again = langsteer.load(bias.save(tmp_path / "b.safetensors"), llama)
    assert isinstance(again, LogitBias)
    assert torch.equal(again.values, bias.values)
    assert again.record() == bias.record()
    both = ChangeSequence((make_vector(llama, positions="prompt"), bias))
    read = langsteer.load(both.save(tmp_path / "s.safetensors"), llama)
    assert [part.kind.name for part in read.parts] == ["vector", "logit bias"]
    texts = [generate(llama, ["abc"], change, max_new_tokens=4) for change in (both, read)]
    assert texts[0] == texts[1] == [llama.tokenizer.decode([7] * 4)]


def test_what_is_no_bias_is_refused(llama: Model) -> None:
    bias = only(llama, 7)
    with pytest.raises(VectorError, match="one number a token: 3 of"):
        replace(bias, values=torch.zeros(3))
    with pytest.raises(VectorError, match="NaN or infinity"):
        replace(bias, values=bias.values * float("nan"))
    with pytest.raises(VectorError, match="not at 'source'"):
        bias.at("source")
    with pytest.raises(VectorError, match="one bias and nothing else"):
        LogitBias.from_file({}, bias.record())
    with pytest.raises(VectorError, match="finite number"):
        bias.logit_bias(float("inf"))


def test_a_bias_of_another_model_is_refused(llama: Model) -> None:
    with pytest.raises(VectorError, match="does not fit"):
        generate(build(), [" the"], only(llama, 7), max_new_tokens=1)


def test_no_file_of_another_engine_can_say_it(llama: Model) -> None:
    with pytest.raises(ExportError, match="is a logit bias, which acts on logits"):
        vectors_of([only(llama, 7)], "GGUF control vector")


def test_a_fitted_ban_does_what_the_processor_does() -> None:
    model = build()
    prompts = [" the and", " και", "Rome, 12"]
    bias = langsteer.fit(model, TEXT, "el", method="only_script", strength=2.0)
    held = [OnlyScript(model, "el")]
    assert generate(model, prompts, bias, max_new_tokens=6) == generate(
        model, prompts, max_new_tokens=6, logits_processor=held
    )
    assert isinstance(bias, LogitBias)
    assert float(bias.values[number(" the")]) == -UNLIKELY
    assert float(bias.values[number(" και")]) == 0.0


def test_the_pivots_words_are_less_likely() -> None:
    model = build()
    bias = langsteer.fit(model, TEXT, "el", method="pivot_words", strength=2.0)
    assert isinstance(bias, LogitBias)
    assert torch.equal(bias.logit_bias(), -2.0 * pivot_excess(model, TEXT))
    assert float(bias.logit_bias()[number(" the")]) < 0


def test_as_parts_of_a_recipe() -> None:
    model = build()
    recipe = "mean_difference:1@generated*-0.5 + only_script + pivot_words*2 + language_words"
    made = langsteer.learn(model, TEXT, "el", method=recipe)
    methods = ["mean_difference", "only_script", "pivot_words", "language_words"]
    assert [part.method for part in made.parts] == methods
    assert [part.strength for part in made.parts] == [-0.5, 1.0, 2.0, 1.0]


def test_the_languages_own_words_are_likelier_up_to_a_point() -> None:
    model = build()
    text = ParallelCorpus({"el": LINES, "en": (" the and",) * len(LINES)}, "en", "made")
    bias = langsteer.fit(model, text, "el", method="language_words", most=0.5)
    assert isinstance(bias, LogitBias)
    assert float(bias.values[number(" και")]) == 0.5
    assert float(bias.values[number(" the")]) == 0.0
    with pytest.raises(FitError, match="above 0, not 0"):
        langsteer.fit(model, TEXT, "el", method="language_words", most=0)


def test_a_bias_has_no_layer_and_one_strength() -> None:
    model = build()
    with pytest.raises(FitError, match="leave the layer out"):
        langsteer.fit(model, TEXT, "el", method="pivot_words", layer=1)
    with pytest.raises(FitError, match="acts on no layer, and takes one strength"):
        langsteer.learn(model, TEXT, "el", method="pivot_words", layers=[1])
