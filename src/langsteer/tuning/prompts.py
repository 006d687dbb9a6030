"""How a record becomes text: a chat template, the model's own, or the plain one of this module.

    ### Instruction
    What is the capital of Kenya?

    ### Response
    Nairobi.<eos>

A tuned model's tokeniser keeps the template that it was tuned with, so that whatever applies chat
templates asks it as it was taught.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2

from langsteer.errors import TuneError
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt, Tokens, encode, encode_suffix, without_bos
from langsteer.tuning.data import Record, Turn

PLAIN = """\
{%- set titles = {'system': 'System', 'user': 'Instruction', 'assistant': 'Response'} -%}
{%- for message in messages -%}
{{- '### ' + titles[message['role']] + '\\n' + message['content'] -}}
{{- eos_token if message['role'] == 'assistant' else '' -}}
{{- '\\n\\n' if not loop.last or add_generation_prompt else '' -}}
{%- endfor -%}
{{- '### Response\\n' if add_generation_prompt else '' -}}
"""
_MARK = "\ue000"  # of private use: in no text

TEMPLATES = ("plain", "chat")


def template_of(model: Model, name: str | None = None) -> str:
    """The Jinja template of a name: `plain`, `chat` (the model's own) or a file.

    Without a name, the model's own, else the plain one. Raises TuneError.
    """
    own = getattr(model.tokenizer, "chat_template", None)
    if name is None:
        return own or PLAIN
    if name == "plain":
        return PLAIN
    if name == "chat":
        if not own:
            raise TuneError(f"{model.name} has no chat template: use --template plain, or a file")
        return str(own)
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TuneError(f"the template is plain, chat or a Jinja file, not {name!r}") from error


def prompt_of(model: Model, template: str, record: Record) -> Prompt:
    """What is asked, up to where the answer begins; what the user says last is the source."""
    *before, (role, text) = record.turns
    rendered = _render(model, template, record.turns)
    marked = _render(model, template, (*before, (role, _MARK)))
    first, mark, last = marked.partition(_MARK)
    if not mark or first + text + last != rendered:
        raise TuneError("the template changes what the user says: use --template plain")
    return Prompt(text, without_bos(model.tokenizer, first), last)


def ending_of(model: Model, template: str) -> list[int]:
    """The ids that end an answer: what the template puts there, else the end-of-sequence token."""
    rendered = _render(model, template, (("user", "?"), ("assistant", _MARK)), answer=False)
    ids = encode_suffix(model, rendered.partition(_MARK)[2].strip())
    if not ids and model.tokenizer.eos_token_id is not None:
        ids = [model.tokenizer.eos_token_id]
    if not ids:
        raise TuneError(f"the tokeniser of {model.name} has no end-of-sequence token to learn")
    return ids


def answered(model: Model, prompt: Prompt, answer: str, ending: list[int]) -> tuple[Tokens, int]:
    """Prompt and answer as tokens, and where the answer begins.

    Both are tokenised together, as the text would be; the answer is what the prompt alone lacks.
    """
    alone, joined = encode(model, [prompt, replace(prompt, after=prompt.after + answer)])
    pairs = zip(alone.ids, joined.ids, strict=False)
    start = next((i for i, (a, b) in enumerate(pairs) if a != b), len(alone))
    return joined.followed_by(ending), start


def _render(model: Model, template: str, turns: tuple[Turn, ...], answer: bool = True) -> str:
    messages: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in turns]
    try:
        return str(
            model.tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=answer
            )
        )
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise TuneError(f"the template cannot be used: {error}") from error
