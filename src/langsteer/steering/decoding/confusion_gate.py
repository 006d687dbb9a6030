"""The language confusion gate (Zhang et al., arXiv 2510.17555), in a form that needs no training.

Tokens are of four families: Chinese and Japanese, Latin, symbols, all others. A step may write the families that
have a token among the likeliest when each logit is divided by the length of its token's output embedding, since those
of much-trained languages are longer:

    allowed = families of the top tokens (20, up to 0.95 of the probability) of logits ÷ ‖e‖

In the paper a network of two layers is trained to foretell these from the hidden state; here they are read off at
each step. As there, symbols and the last family are never masked, nor the family of the text so far; nothing is
masked before the first letter; and only where a masked token could be written, and one that is allowed is
among the likeliest (5, or 20 up to 0.95). Of itself, it does not know which language is wanted, and so keeps a text in the
script that it began in. Given a language, that takes the place of the text so far, from the first token on.
"""

import torch
import transformers
from torch import Tensor
from torch.nn.functional import one_hot

from langsteer.errors import ModelError
from langsteer.model.model import Model
from langsteer.steering.decoding.only_script import without
from langsteer.steering.decoding.vocabulary import SYMBOLS, foreign_tokens, token_families

FAMILIES = 4
MASKABLE = 2  # families, the first ones
LIKELY = ((5, 0.999), (20, 0.95))  # tokens, and up to which probability
WINDOW = 20  # tokens that are looked back


class ConfusionGate(transformers.LogitsProcessor):
    """Masks a family of tokens where the text is about to slip into it, for `generate`.

    With `language`, a step may write tokens of its script and of none where one of its script is among
    the likeliest, and any otherwise: a ban that acts only where the language is within reach. A text
    begins where the tokens are not those of the call before and one more. Raises ModelError where the
    model's output embeddings cannot be read.
    """

    def __init__(self, model: Model, language: str | None = None) -> None:
        self._families = token_families(model)
        self._foreign = None if language is None else foreign_tokens(model, language)
        self._lengths = _embedding_lengths(model)
        self._prompt, self._width = 0, -1  # tokens of the prompt, and of the last call

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        if self._foreign is not None:
            return self._within_reach(scores, self._foreign.to(scores.device))
        width = input_ids.shape[1]
        if width != self._width + 1:
            self._prompt = width
        self._width = width
        return self._gated(input_ids[:, self._prompt :][:, -WINDOW:], scores)

    def _gated(self, written: Tensor, scores: Tensor) -> Tensor:
        families = self._families.to(scores.device)
        so_far = _last_letters(families[written]) if written.shape[1] else None
        if so_far is None:
            return scores
        likely = _likely(scores)
        allowed = self._has(families, _among(scores / self._lengths.to(scores), 20, 0.95))
        kept = allowed | one_hot(so_far, FAMILIES).bool()
        kept[:, MASKABLE:] = True
        kept |= (so_far == SYMBOLS)[:, None]
        reach = (self._has(families, likely) & allowed).any(-1)
        could = (self._has(families, likely) & ~kept).any(-1)
        banned = (~kept).gather(1, families.expand(len(scores), -1))
        return without(scores, banned & (reach & could)[:, None])

    def _within_reach(self, scores: Tensor, foreign: Tensor) -> Tensor:
        own = ~foreign & (self._families.to(scores.device) != SYMBOLS)
        near = (_likely(scores) & own).any(-1, keepdim=True)
        return without(scores, foreign & near)

    def _has(self, families: Tensor, tokens: Tensor) -> Tensor:
        """Boolean [rows, families]: which have one of `tokens` [rows, vocabulary]."""
        return torch.stack([(tokens & (families == f)).any(-1) for f in range(FAMILIES)], -1)


def _likely(scores: Tensor) -> Tensor:
    return torch.stack([_among(scores, count, share) for count, share in LIKELY]).any(0)


def _among(scores: Tensor, count: int, share: float) -> Tensor:
    """Boolean [rows, vocabulary]: the likeliest tokens, `count` at most, up to a share of the
    probability; the one that reaches it is in.
    """
    count = min(count, scores.shape[-1])
    values, places = scores.float().topk(count, -1)
    chances = (values - scores.float().logsumexp(-1, keepdim=True)).exp()
    before = chances.cumsum(-1) - chances
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, places, before < share)


def _last_letters(families: Tensor) -> Tensor:
    """The family [rows] of the last token [rows, tokens] that has letters; SYMBOLS without one."""
    letters = families != SYMBOLS
    places = torch.arange(families.shape[1], device=families.device)
    last = torch.where(letters, places, -1).max(-1).values
    family = families.gather(1, last.clamp(min=0)[:, None])[:, 0]
    return torch.where(last >= 0, family, SYMBOLS)


def _embedding_lengths(model: Model) -> Tensor:
    weight = getattr(model.head, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2 or weight.is_meta:
        raise ModelError(f"the output embeddings of {model.name} cannot be read")
    return weight.detach().float().norm(dim=1).clamp(min=1e-6)
