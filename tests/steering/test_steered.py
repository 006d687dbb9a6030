"""A model with its vectors and router in one object."""

from pathlib import Path

import pytest
import torch
import transformers

import langsteer
from langsteer.errors import ModelError, VectorError
from langsteer.fitting.router import fit_router
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.model.tokens import encode
from langsteer.steering.generation import chat_prompt, generate
from langsteer.steering.steered import Steered, steered
from tests.helpers import build_model, make_vector

LETTERS = {"sw": "abcde", "tr": "fghij", "en": "klmno"}
SW, TR, EN = "abcdeabcdeabcde", "fghijfghijfghij", "klmnoklmnoklmno"
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<model>{% endif %}"
)


def lines(letters: str) -> list[str]:
    return ["".join(letters[(i * k + k // 2) % 5] for k in range(1, 25)) for i in range(1, 31)]


@pytest.fixture(scope="module")
def model() -> Model:
    built = build_model("llama", seed=3)
    built.tokenizer.chat_template = TEMPLATE
    return built


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of Swahili and Turkish that change what is said, and a router."""
    path = tmp_path_factory.mktemp("vectors")
    for seed, tag in enumerate(("sw", "tr")):
        vector = make_vector(model, seed, language=tag, strength=4.0, positions="prompt")
        vector.save(path / f"{tag}.safetensors")
    texts = {tag: lines(letters) for tag, letters in LETTERS.items()}
    fit_router(model, texts, with_builtin=False).save(path / "router.safetensors")
    return path


def test_each_text_gets_the_vector_of_its_language(model: Model, folder: Path) -> None:
    ready = steered(model, folder, confidence=0.5)
    texts = [SW, EN, TR]
    routed = ready.route(texts)
    assert [change and change.language for change in routed] == ["sw", None, "tr"]
    answers = ready.generate(texts, max_new_tokens=6)
    assert answers == generate(model, texts, routed, max_new_tokens=6)
    assert answers[1] == generate(model, [EN], max_new_tokens=6)[0]
    assert answers[0] != generate(model, [SW], max_new_tokens=6)[0]


def test_a_language_may_be_named(model: Model, folder: Path) -> None:
    ready = langsteer.steered(model, folder)
    assert [c and c.language for c in ready.route([SW, EN], "tr")] == ["tr", "tr"]
    assert ready.route([SW], "en") == [None]
    with pytest.raises(VectorError, match="no vector for hi: there are sw, tr"):
        ready.generate([SW], language="hi")


def test_what_chooses_where_there_is_no_router(model: Model, folder: Path) -> None:
    alone = steered(model, folder / "sw.safetensors")
    assert [c and c.language for c in alone.route([TR, EN])] == ["sw", "sw"]
    several = steered(model, [folder / "sw.safetensors", folder / "tr.safetensors"])
    with pytest.raises(VectorError, match=r"no router\.safetensors"):
        several.route([SW])
    assert several.route([SW], "sw")[0] is several.changes["sw"]
    with pytest.raises(VectorError, match="no vector to steer with"):
        Steered(model, {})


@pytest.mark.parametrize("batch_size", [1, 3])
def test_inside_a_pipeline(model: Model, folder: Path, batch_size: int) -> None:
    ready = steered(model, folder, confidence=0.5)
    texts = [SW, EN, TR + SW]
    wanted = ready.generate(texts, max_new_tokens=6)
    model.tokenizer.padding_side = "left"
    pipe = transformers.pipeline(
        "text-generation", model=ready.network, tokenizer=ready.tokenizer, device="cpu"
    )
    asked = {"max_new_tokens": 6, "do_sample": False, "return_full_text": False}
    with ready.applied():
        told = [out[0]["generated_text"] for out in pipe(texts, batch_size=batch_size, **asked)]
    assert told == wanted
    plain = [out[0]["generated_text"] for out in pipe(texts, batch_size=batch_size, **asked)]
    assert plain == generate(model, texts, max_new_tokens=6)
    assert "generate" not in model.network.__dict__


@torch.inference_mode()
def test_a_loop_of_ones_own(model: Model, folder: Path) -> None:
    ready = steered(model, folder, confidence=0.5)
    ids = model.batch([text.ids for text in encode(model, [SW, EN])])
    plain = model.network(**ids).logits
    with ready.applied([SW, EN]):
        logits = model.network(**ids).logits
    assert torch.equal(logits[1], plain[1])
    assert not torch.equal(logits[0], plain[0])


def test_chat(model: Model, folder: Path) -> None:
    ready = steered(model, folder, confidence=0.5)
    turns = [
        {"role": "system", "content": "user"},
        {"role": "user", "content": EN},
        {"role": "assistant", "content": EN},
        {"role": "user", "content": f" {SW}\n"},
    ]
    answer = ready.chat(turns, max_new_tokens=6)
    conversation = chat_prompt(model, turns)
    assert str(conversation) == f"<system>user\n<user>{EN}\n<assistant>{EN}\n<user>{SW}\n<model>"
    assert conversation.pieces[1::2] == (EN, SW)
    change = ready.changes["sw"]
    assert answer == generate(model, [conversation], change, max_new_tokens=6)[0]
    assert (
        ready.chat(EN, max_new_tokens=6)
        == generate(model, [f"<user>{EN}\n<model>"], max_new_tokens=6)[0]
    )


def test_the_text_of_a_turn_is_found_where_the_template_puts_it(model: Model) -> None:
    """Also where it is the name of a role."""
    (tokens,) = encode(model, [chat_prompt(model, "user")])
    whole = "".join(model.tokenizer.decode([i]) for i in tokens.ids[1:])
    at = [i for i, source in enumerate(tokens.source[1:]) if source]
    assert whole == "<user>user\n<model>"
    assert at == [6, 7, 8, 9]


def test_bad_requests(model: Model) -> None:
    vector = make_vector(model)
    with pytest.raises(ModelError, match="4 prompts and 2 vectors"):
        generate(model, [SW] * 4, [vector, None])
    with pytest.raises(ModelError, match="no prompt to continue"):
        generate(model, [])
    with pytest.raises(ModelError, match="prompts are a list"):
        generate(model, SW)
    with pytest.raises(ModelError, match="needs a user's turn"):
        chat_prompt(model, [{"role": "system", "content": "x"}])
    with pytest.raises(ModelError, match="a turn of a chat holds text"):
        chat_prompt(model, [{"role": "user", "content": None}])


def test_a_folder_of_a_model_by_name(model: Model, folder: Path, tmp_path: Path) -> None:
    model.network.save_pretrained(tmp_path / "m")
    model.tokenizer.save_pretrained(tmp_path / "m")
    ready = steered(str(tmp_path / "m"), folder, confidence=0.5)
    assert ready.generate([SW], max_new_tokens=4) == steered(
        load_model(tmp_path / "m"), folder, confidence=0.5
    ).generate([SW], max_new_tokens=4)
