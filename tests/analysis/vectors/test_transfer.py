from dataclasses import replace

import numpy as np
import pytest
import tokenizers
import torch

from langsteer.analysis.vectors.results import RANDOM
from langsteer.analysis.vectors.transfer import transfer
from langsteer.errors import AnalysisError
from langsteer.fitting.learning import fit
from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from langsteer.states.capture import mean_states
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import builtin
from tests.helpers import build_network, character_tokenizer, make_vector


def test_the_mean_difference_brings_its_own_texts_to_the_pivot(llama: Model) -> None:
    corpus = builtin("sw", "et")
    lines = [i for i, part in enumerate(corpus.parts) if part == "report"][:24]
    read = replace(corpus.lines(lines), parts=())
    vectors = [fit(llama, read, tag, "mean_difference", layer=1) for tag in ("sw", "et")]
    found = transfer(llama, vectors, read)
    assert found.vectors == ("sw", "et", RANDOM)
    assert found.texts == ("sw", "et")
    assert found.lines == len(lines)
    assert [found.at_layer[i][i] for i in (0, 1)] == pytest.approx([1.0, 1.0], abs=1e-4)
    assert found.at_layer[2][0] < 0
    assert found.at_last[0][0] > 0.5
    assert found.mexa[0] != found.mexa[2]


def test_transfer_by_hand(llama: Model) -> None:
    """Both distances, against plain means of states under the vector's own context."""
    corpus = builtin("sw", "et")
    vectors = [make_vector(llama, seed, language=tag) for seed, tag in enumerate(("sw", "et"))]
    found = transfer(llama, vectors, corpus, lines=10, strength=0.3, control=False)
    texts = corpus.lines([i for i, part in enumerate(corpus.parts) if part == "report"])
    texts = texts.lines(i * len(texts) // 10 for i in range(10))
    layers = [vectors[0].layer, llama.layers - 1]

    def means(tag: str, vector: SteeringVector | None = None) -> dict[int, torch.Tensor]:
        if vector is None:
            return mean_states(llama, texts.texts[tag], layers).mean
        with vector.applied(llama, strength=0.3, positions="prompt"):
            return mean_states(llama, texts.texts[tag], layers).mean

    there = means("en")
    for i, vector in enumerate(vectors):
        for j, tag in enumerate(("sw", "et")):
            before, after = means(tag), means(tag, vector)
            for layer, values in zip(layers, (found.at_layer, found.at_last), strict=True):
                expected = 1 - float(
                    (after[layer] - there[layer]).norm() / (before[layer] - there[layer]).norm()
                )
                assert values[i][j] == pytest.approx(expected, rel=1e-3)


def test_a_vector_at_the_last_layer(llama: Model) -> None:
    vector = make_vector(llama, layer=llama.layers - 1)
    found = transfer(llama, [vector], builtin("sw"), lines=5)
    assert np.allclose(found.at_layer, found.at_last, atol=1e-5)


def test_own_strength_and_a_task(llama: Model) -> None:
    vectors = [
        make_vector(llama, language="sw", strength=0.0),
        make_vector(llama, 1, language="et"),
    ]
    asked: list[tuple[str | None, str]] = []

    def task(vector: SteeringVector | None, language: str) -> float:
        asked.append((vector and vector.language, language))
        return 50.0 if vector is None else 60.0

    found = transfer(llama, vectors, builtin("sw", "et"), lines=4, strength=None, task=task)
    assert found.at_layer[0] == pytest.approx((0.0, 0.0), abs=1e-6)
    assert found.mexa[0] == found.mexa_unsteered
    assert found.at_layer[1][0] != pytest.approx(0.0, abs=1e-3)
    assert (found.task[1], found.task_unsteered) == ((60.0, 60.0), (50.0, 50.0))
    assert len(asked) == 2 * 4
    assert (None, "et") in asked


def marked_model() -> Model:
    """A model whose prompts begin with a special token that is no beginning-of-sequence token."""
    tokenizer = character_tokenizer()
    tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> <unk> $A", special_tokens=[("<bos>", 1), ("<unk>", 3)]
    )
    return wrap_model(build_network("llama"), tokenizer, name="marked")


def test_vectors_act_at_their_own_positions() -> None:
    """The special token is steered by a vector of the whole prompt, and not by one of the source."""
    model = marked_model()
    vectors = [
        make_vector(model, positions=positions, strength=0.5) for positions in ("source", "prompt")
    ]
    corpus = builtin("sw")
    carried = transfer(model, vectors, corpus, lines=6, strength=None, control=False)
    texts = corpus.lines([i for i, part in enumerate(corpus.parts) if part == "report"])
    texts = texts.lines(i * len(texts) // 6 for i in range(6))
    last = model.layers - 1
    before, there = (
        mean_states(model, texts.texts[tag], [last]).mean[last] for tag in ("sw", "en")
    )
    for row, vector in zip(carried.at_last, vectors, strict=True):
        with vector.applied(model):
            after = mean_states(model, texts.texts["sw"], [last]).mean[last]
        expected = 1 - float((after - there).norm() / (before - there).norm())
        assert row[0] == pytest.approx(expected, rel=1e-3)
    assert abs(carried.at_last[0][0] - carried.at_last[1][0]) > 0.01
    assert carried.at_layer[0] == pytest.approx(carried.at_layer[1])


def test_a_vector_of_generated_tokens_has_nothing_to_do_for_texts(llama: Model) -> None:
    with pytest.raises(AnalysisError, match="the vector of sw acts on generated tokens"):
        transfer(llama, [make_vector(llama, positions="generated")], builtin("sw"))
