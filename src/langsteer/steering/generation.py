"""Text from a model, steered or not: one prompt at a time, streamed, or many at once."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import transformers

from langsteer.errors import ModelError
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt, encode, pad_mask, without_bos
from langsteer.states.intervention import PositionKind
from langsteer.steering.vector import SteeringVector, steer


def generate(
    model: Model,
    prompts: Sequence[str | Prompt],
    vector: SteeringVector | Sequence[SteeringVector | None] | None = None,
    *,
    max_new_tokens: int = 64,
    strength: float | None = None,
    positions: PositionKind | None = None,
    other_weights: bool = False,
    on_text: Callable[[str], None] | None = None,
    **options: Any,
) -> list[str]:
    """Continue each prompt; with one vector for all, or one (or None) a prompt.

    `on_text` is called with each piece of text as it is ready, for a single prompt. `options` go to
    transformers' `generate`, which is greedy here unless they say otherwise.
    """
    encoded = encode(model, prompts)
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
    with torch.inference_mode(), context:
        ids = model.network.generate(**inputs, max_new_tokens=max_new_tokens, **options)
    width = inputs["input_ids"].shape[1]
    return list(model.tokenizer.batch_decode(ids[:, width:], skip_special_tokens=True))


def chat_prompt(model: Model, text: str) -> Prompt:
    """`text` as a user's turn in the model's own chat template; the text alone is source."""
    if not getattr(model.tokenizer, "chat_template", None):
        raise ModelError(f"{model.name} has no chat template: leave out --chat")
    whole = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    before, found, after = whole.partition(text.strip())
    if not found:
        raise ModelError(f"the chat template of {model.name} changes the text of a turn")
    return Prompt(text.strip(), without_bos(model.tokenizer, before), after)


class _Streamer(transformers.TextStreamer):
    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._on_text(text)
