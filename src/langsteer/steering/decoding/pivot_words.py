"""A bias against tokens that the pivot uses more than the language: for languages that share a script with it.

With p the number of times that a token is in the language's side of parallel text, and q in the pivot's side, which
say the same, one occurrence added to each, logits are lowered by

    strength × max(0, log q − log p)

for tokens with letters: by about 6 for ` the`, which no line of the language has, by 1 for a word seen once in English, and
by nothing for what neither side has. It is Bayes' rule with unigrams, of which this is the half that takes away; the
other makes what the language uses more likelier.
"""

import torch
import transformers
from torch import Tensor

from langsteer.errors import ModelError
from langsteer.model.model import Model
from langsteer.model.tokens import encode
from langsteer.steering.decoding.vocabulary import SYMBOLS, token_families
from langsteer.text.corpus import ParallelCorpus


class PivotWords(transformers.LogitsProcessor):
    """Lowers the logits of the pivot's tokens, for `generate(..., logits_processor=[...])`.

    `corpus` has one language beside the pivot. Raises ModelError for a negative strength.
    """

    def __init__(self, model: Model, corpus: ParallelCorpus, strength: float = 1.0) -> None:
        if strength < 0:
            raise ModelError(f"a bias against the pivot's words is at least 0, not {strength}")
        self._bias = strength * pivot_excess(model, corpus)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        if self._bias.device != scores.device:
            self._bias = self._bias.to(scores.device)
        return scores - self._bias.to(scores.dtype)


def pivot_excess(model: Model, corpus: ParallelCorpus) -> Tensor:
    """max(0, log q − log p) of each token [vocabulary] with letters, and 0 of the others."""
    return _excess(model, corpus, corpus.pivot, corpus.language)


def language_excess(model: Model, corpus: ParallelCorpus, most: float | None = None) -> Tensor:
    """The other half: max(0, log p − log q) of each token [vocabulary] with letters, `most` at the most, and 0
    of the others.
    """
    excess = _excess(model, corpus, corpus.language, corpus.pivot)
    return excess.clamp(max=most) if most is not None else excess


def _excess(model: Model, corpus: ParallelCorpus, more: str, less: str) -> Tensor:
    counts = [_counts(model, corpus.texts[tag]) for tag in (more, less)]
    lettered = token_families(model) != SYMBOLS
    return (counts[0] / counts[1]).log().clamp(min=0).float() * lettered


def _counts(model: Model, lines: tuple[str, ...]) -> Tensor:
    """How often each token [vocabulary] is in some lines, and once more."""
    ids = torch.tensor([i for tokens in encode(model, lines) for i in tokens.ids])
    return torch.bincount(ids, minlength=model.vocab_size).double() + 1
