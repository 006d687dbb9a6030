"""How much more one side of parallel text uses each token than the other, which says the same.

With p the number of times that a token is in the language's side, and q in the pivot's, one occurrence added to each,
log q − log p is about 6 for ` the`, which no line of the language has, 1 for a word seen once in English, and 0
for what neither side has. Taken from the logits, it is Bayes' rule with unigrams; its two halves, what the pivot
uses more and what the language does, are biases of their own (`logit_bias`).
"""

import torch
from torch import Tensor

from langsteer.model.model import Model
from langsteer.model.tokens import encode
from langsteer.steering.decoding.vocabulary import SYMBOLS, token_families
from langsteer.text.corpus import ParallelCorpus


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
