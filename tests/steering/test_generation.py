"""What generation refuses: logits that are no numbers, at whichever step, and nothing to go on from."""

from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer.errors import ModelError, StateError
from langsteer.model.model import Model
from langsteer.steering.generation import chat_prompt, generate
from langsteer.steering.steered import Steered
from tests.helpers import build_model, build_network, character_tokenizer, make_vector, run

WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"num_beams": 2},
    "with others": {"min_new_tokens": 2, "suppress_tokens": [5, 6]},
}


@pytest.fixture(scope="module")
def breaking() -> Model:
    """A model that gives numbers until it reads a Q."""
    model = build_model("llama")
    with torch.no_grad():
        model.network.get_input_embeddings().weight[number("Q", model)] = float("inf")
    return model


def number(character: str, model: Model) -> int:
    return int(model.tokenizer.convert_tokens_to_ids(character))


@pytest.mark.parametrize("way", WAYS)
def test_logits_that_are_no_numbers(breaking: Model, way: str) -> None:
    assert generate(breaking, ["abc"], max_new_tokens=3, **WAYS[way])
    with pytest.raises(
        StateError, match="logits of tiny-llama for the next token are not finite in"
    ):
        generate(breaking, ["abc", "aQc"], max_new_tokens=3, **WAYS[way])


def test_at_a_later_step(breaking: Model) -> None:
    only = [i for i in range(breaking.vocab_size) if i != number("Q", breaking)]
    generate(breaking, ["abc"], max_new_tokens=1, suppress_tokens=only)
    with pytest.raises(StateError, match="not finite"):
        generate(breaking, ["abc"], max_new_tokens=2, suppress_tokens=only)


def test_a_strength_that_is_too_large_for_the_data_type() -> None:
    model = build_model("llama")
    model.network.half()
    vector = make_vector(model)
    generate(model, ["abc"], vector, max_new_tokens=2)
    with pytest.raises(StateError, match=r"float16: .*--dtype bfloat16.*a smaller strength"):
        generate(model, ["abc"], vector, strength=1e5, max_new_tokens=2)


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = build_network("llama").half()
    network.save_pretrained(tmp_path)
    character_tokenizer().save_pretrained(tmp_path)
    model = build_model("llama")
    model.network.half()
    make_vector(model, strength=1e5).save(tmp_path / "v.safetensors")
    named = ["-v", str(tmp_path / "v.safetensors"), "-m", str(tmp_path)]
    code, _, err = run(capsys, "generate", "Habari", "--max-new-tokens", "2", *named)
    assert code == 1
    assert err.splitlines()[-1].startswith("langsteer: the logits of")
    code, _, err = run(capsys, "generate", "Habari", "--max-new-tokens", "2000", *named)
    assert code == 1
    assert "2000 new ones are more than the 1024 positions of" in err
    code, _, err = run(capsys, "generate", "Habari", "--device", "cuda:9", *named)
    assert (code, "device" in err.splitlines()[-1]) == (1, True)
    code, _, err = run(capsys, "generate", "Haba\udcffri", *named)
    assert (code, err) == (
        1,
        "langsteer: argument 2 is not UTF-8: Haba\\xffri. Write it in UTF-8; a file of such a name "
        "can be renamed\n",
    )


def test_nothing_to_go_on_from(llama: Model) -> None:
    vector = make_vector(llama)
    for changes in ({"sw": vector}, {"sw": vector, "tr": vector}):
        with pytest.raises(ModelError, match="no prompt to continue"):
            Steered(llama, changes).generate([])
    with pytest.raises(ModelError, match="has no tokens"):
        generate(llama, [""])


def test_an_empty_turn() -> None:
    model = build_model("llama")
    model.tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    assert str(chat_prompt(model, "x")) == "[x]"
    for nothing in ("", " \n"):
        with pytest.raises(ModelError, match="nothing to answer: the user's turn is empty"):
            chat_prompt(model, nothing)


def test_prompts_of_the_whole_room(llama: Model) -> None:
    with pytest.raises(ModelError, match="of tiny-llama: shorten the prompt"):
        generate(llama, ["x" * 1023], max_new_tokens=1)
