"""Text from a model, steered or not: one prompt at a time, streamed, or many at once."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import transformers
from torch import Tensor

from langsteer.errors import LengthError, ModelError
from langsteer.model.finite import check_finite
from langsteer.model.model import Model
from langsteer.model.tokens import Conversation, Text, encode, pad_mask, without_bos
from langsteer.states.intervention import PositionKind
from langsteer.steering.change import Change, steer

USER = "user"
PLACEHOLDER = "LANGSTEERTURN{}END"


def generate(
    model: Model,
    prompts: Sequence[Text],
    vector: Change | Sequence[Change | None] | None = None,
    *,
    max_new_tokens: int = 64,
    strength: float | None = None,
    positions: PositionKind | None = None,
    other_weights: bool = False,
    on_text: Callable[[str], None] | None = None,
    **options: Any,
) -> list[str]:
    """Continue each prompt; with one change for all, or one (or None) a prompt.

    `on_text` is called with each piece of text as it is ready, for a single prompt. `options` go to
    transformers' `generate`, which is greedy here unless they say otherwise. Raises ModelError
    where there are not as many changes as prompts, or no prompts, or prompt and answer are more
    than the model reads; StateError where its logits are no numbers.
    """
    _check_count(prompts, vector)
    encoded = encode(model, prompts)
    _check_room(model, max(map(len, encoded)), max_new_tokens)
    inputs = {k: v for k, v in model.batch([t.ids for t in encoded]).items() if k != "position_ids"}
    mask = pad_mask([t.source for t in encoded])
    if on_text is not None:
        if len(prompts) != 1:
            raise ModelError("only a single prompt can be streamed")
        options["streamer"] = _Streamer(model.tokenizer, on_text)
    context: AbstractContextManager[None] = nullcontext()
    if vector is not None:
        context = steer(
            model,
            vector,
            strength=strength,
            positions=positions,
            mask=mask,
            other_weights=other_weights,
        )
    options = {"do_sample": False, "pad_token_id": model.pad_id, **options}
    options["logits_processor"] = [Finite(model), *(options.get("logits_processor") or [])]
    with torch.inference_mode(), context:
        ids = model.network.generate(**inputs, max_new_tokens=max_new_tokens, **options)
    width = inputs["input_ids"].shape[1]
    return list(model.tokenizer.batch_decode(ids[:, width:], skip_special_tokens=True))


def chat_prompt(
    model: Model, messages: str | Sequence[Mapping[str, Any]], **options: Any
) -> Conversation:
    """A chat in the model's own template, up to where its answer begins; the users' turns alone are
    source.

    `messages` are the turns, each `{"role": ..., "content": text}`, or the text of one user's turn.
    `options` go to the template. Raises ModelError where there is no template, it changes a turn, or
    the last of the user's is empty.
    """
    template = getattr(model.tokenizer, "chat_template", None)
    if not template:
        raise ModelError(f"{model.name} has no chat template: leave out --chat")
    turns = [{"role": USER, "content": messages}] if isinstance(messages, str) else list(messages)
    asked = [i for i, turn in enumerate(turns) if turn.get("role") == USER]
    texts = [_content(turns[i]).strip() for i in asked]
    marks = [PLACEHOLDER.format(number) for number in range(len(asked))]
    marked = [dict(turn) for turn in turns]
    for i, mark in zip(asked, marks, strict=True):
        marked[i]["content"] = mark

    def rendered(conversation: Sequence[Mapping[str, Any]]) -> str:
        return str(
            model.tokenizer.apply_chat_template(
                conversation, **{"tokenize": False, "add_generation_prompt": True, **options}
            )
        )

    if not asked:
        raise ModelError("a chat needs a user's turn to answer")
    if not texts[-1]:
        raise ModelError("there is nothing to answer: the user's turn is empty")
    pieces: list[str] = []
    rest = rendered(marked)
    for mark, text in zip(marks, texts, strict=True):
        before, separator, rest = rest.partition(mark)
        if not separator:
            raise ModelError(f"the chat template of {model.name} leaves a turn out")
        pieces += [before, text]
    whole = "".join([*pieces, rest])
    if whole != rendered([{**t, "content": _content(t).strip()} for t in turns]):
        raise ModelError(f"the chat template of {model.name} changes the text of a turn")
    first, *others = [*pieces, rest]
    return Conversation((without_bos(model.tokenizer, first), *others))


def _content(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    if not isinstance(content, str):
        raise ModelError(f"a turn of a chat holds text, not {content!r}")
    return content


def _check_count(prompts: Sequence[Text], vector: Any) -> None:
    if isinstance(prompts, str):
        raise ModelError("prompts are a list of texts, and a single text was given: [text]")
    if not prompts:
        raise ModelError("there is no prompt to continue")
    if vector is not None and not isinstance(vector, Change) and len(vector) != len(prompts):
        raise ModelError(
            f"{len(prompts)} prompts and {len(vector)} vectors: give one for all, or one (or None) "
            "a prompt"
        )


def _check_room(model: Model, prompt: int, answer: int) -> None:
    most = model.positions
    if most is not None and prompt + answer > most:
        fewer = f"ask for at most {most - prompt} (--max-new-tokens), or " * (prompt < most)
        raise LengthError(
            f"a prompt of {prompt} tokens and {answer} new ones are more than the {most} positions "
            f"of {model.name}: {fewer}shorten the prompt"
        )


def check_logits(model: Model, scores: Tensor) -> None:
    """Raise StateError where logits [rows, vocabulary] are no numbers; a token may be left out."""
    what = f"the logits of {model.name} for the next token"
    largest = scores.amax(-1)  # minus infinity leaves a token out, and is no fault
    check_finite(largest, what, model.dtype, "choose a smaller strength")


class Finite(transformers.LogitsProcessor):
    """Refuses logits that are no numbers, at any step of `generate`: StateError."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        check_logits(self._model, scores)
        return scores


class _Streamer(transformers.TextStreamer):
    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._on_text(text)
