"""What the tests of published methods share: text in three languages, and states as a change leaves them."""

import contextlib
from dataclasses import replace

import torch
from torch import Tensor

from langsteer.model.model import Model
from langsteer.states.capture import capture, sentence_states
from langsteer.steering.change import Change
from langsteer.text.corpus import ParallelCorpus, builtin
from tests.helpers import short

TAGS = ("sw", "et", "tr")


def three_languages(count: int = 24) -> ParallelCorpus:
    """Lines in Swahili, Estonian and Turkish, and in English."""
    text = short(builtin(*TAGS).lines(range(0, 420, 420 // count)).lines(range(count)))
    return replace(text, name="three", topics=(), parts=())


def token_states(
    model: Model, lines: tuple[str, ...], layer: int, change: Change | None = None
) -> Tensor:
    """The states of all tokens of the lines at a layer [tokens, hidden], under a change."""
    with change.applied(model) if change else contextlib.nullcontext():
        read = [
            (part.index, part.layers[layer], part.source) for part in capture(model, lines, [layer])
        ]
    return torch.cat([states[source] for _, states, source in read])


def mean_at(model: Model, lines: tuple[str, ...], layer: int) -> Tensor:
    """The mean over lines of the mean state of their tokens at a layer, by hand [hidden]."""
    return sentence_states(model, lines, [layer])[:, 0].double().mean(0)
