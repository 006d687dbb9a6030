"""Templates: what is asked, which of it is the source, and how an answer ends."""

from pathlib import Path

import pytest

from langsteer.errors import TuneError
from langsteer.model.model import Model
from langsteer.tuning.data import Record
from langsteer.tuning.prompts import PLAIN, answered, ending_of, prompt_of, template_of
from tests.helpers import build_model

TURNS = (("system", "Be kind"), ("user", "Hi"), ("assistant", "Yes?"), ("user", "A 5?"))


CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_the_plain_template(llama: Model) -> None:
    prompt = prompt_of(llama, PLAIN, Record("1", "en", TURNS, "No"))
    assert str(prompt) == (
        "### System\nBe kind\n\n### Instruction\nHi\n\n### Response\nYes?<eos>\n\n"
        "### Instruction\nA 5?\n\n### Response\n"
    )
    assert (prompt.source, prompt.after) == ("A 5?", "\n\n### Response\n")
    tokens, start = answered(llama, prompt, "No", ending_of(llama, PLAIN))
    decoded = llama.tokenizer.decode(tokens.ids[start:])
    assert decoded == "No<eos>"
    assert tokens.ids[-1] == llama.tokenizer.eos_token_id
    source = [i for i, flag in zip(tokens.ids, tokens.source, strict=True) if flag]
    assert llama.tokenizer.decode(source) == "A 5?"


def test_the_models_own_template(llama: Model, tmp_path: Path) -> None:
    own = build_model("llama")
    own.tokenizer.chat_template = CHAT
    assert template_of(own) == template_of(own, "chat") == CHAT
    assert template_of(own, "plain") == template_of(llama) == PLAIN
    (tmp_path / "t.jinja").write_text(CHAT, encoding="utf-8")
    assert template_of(llama, str(tmp_path / "t.jinja")) == CHAT
    record = Record("1", "en", TURNS[-1:], "No")
    assert str(prompt_of(own, CHAT, record)) == "<|user|>A 5?</s>\n<|assistant|>"
    assert own.tokenizer.decode(ending_of(own, CHAT)) == "</s>"
    bare = CHAT.replace("</s>", "")
    assert ending_of(own, bare) == [own.tokenizer.eos_token_id]


def test_templates_that_cannot_be_used(llama: Model) -> None:
    record = Record("1", "en", TURNS, "No")
    with pytest.raises(TuneError, match="no chat template"):
        template_of(llama, "chat")
    with pytest.raises(TuneError, match="plain, chat or a Jinja file"):
        template_of(llama, "none.jinja")
    with pytest.raises(TuneError, match="changes what the user says"):
        prompt_of(llama, "{{ messages[-1]['content'] | lower }}", record)
    with pytest.raises(TuneError, match="cannot be used"):
        prompt_of(llama, "{{ messages[", record)
    with pytest.raises(TuneError, match="cannot be used"):
        prompt_of(llama, "{{ raise_exception('no system') }}", record)


def test_a_beginning_that_the_template_spells_out_is_there_once(llama: Model) -> None:
    prompt = prompt_of(llama, "{{ bos_token }}" + PLAIN, Record("1", "en", TURNS[1:2], "No"))
    tokens, _ = answered(llama, prompt, "No", [])
    assert tokens.ids.count(llama.bos_id or 0) == 1
