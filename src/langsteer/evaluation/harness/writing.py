"""How transformers writes answers to a batch of prompts, steered or not."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import LogitsProcessor

from langsteer.evaluation.harness.scoring import Change
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens, pad_mask
from langsteer.states.intervention import intervene
from langsteer.states.touched import Touched
from langsteer.steering.decoding.biased import biased_by
from langsteer.steering.generation import Finite


@dataclass(frozen=True)
class Decoding:
    """At most `longest` tokens, up to a text of `until`; `options` of transformers' `generate`."""

    longest: int
    until: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """The tokens that were written after a prompt, and whether any token was steered."""

    ids: list[int]
    steered: bool


def write_batch(
    lm: Any,
    contexts: Sequence[Tokens],
    change: Change | None,
    decoding: Decoding,
    processors: Sequence[LogitsProcessor] = (),
) -> list[Row]:
    """What transformers writes after contexts, in one batch; rows go on until the last has ended.

    `lm` is a model of the harness, and `processors` come after its own.
    """
    inputs = lm.steered.batch([context.ids for context in contexts])
    width = inputs["input_ids"].shape[1]
    added = biased_by([change])
    with (
        torch.inference_mode(),
        _acting(lm.steered, change, [context.source for context in contexts]) as touched,
    ):
        ids = lm._model_generate(
            context=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            stop=list(decoding.until),
            max_length=width + decoding.longest,
            logits_processor=[*added, Finite(lm.steered), *lm.processors, *processors],
            **decoding.options,
        )
    new = [row[width:] for row in ids.tolist()]
    acted = touched.rows(len(new))
    return [Row(ids, bool(added) or steered) for ids, steered in zip(new, acted, strict=True)]


def _acting(
    model: Model, change: Change | None, source: Sequence[Sequence[bool]]
) -> AbstractContextManager[Touched]:
    if change is None:
        return nullcontext(Touched())
    return intervene(model, change.interventions(), mask=pad_mask(source))
