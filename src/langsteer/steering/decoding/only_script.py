"""A ban on other scripts: a token whose letters are all of scripts other than the language's is never written.

Such bans are the plainest way to hold a model to a language; logit masks by script are the baseline of the language
confusion gate (arXiv 2510.17555) and are built into programs that run models, as grammars. It says nothing where
English and the language share a script.
"""

import transformers
from torch import Tensor

from langsteer.model.model import Model
from langsteer.steering.decoding.vocabulary import foreign_tokens

BANNED = float("-inf")


class OnlyScript(transformers.LogitsProcessor):
    """Bans the tokens of other scripts, for `generate(..., logits_processor=[...])`.

    Digits, punctuation, spaces, special tokens and parts of characters stay. Latin letters are
    banned where the language is not written in them, names and code among them, since an English
    answer is made of them; `also=("en",)` lets them in. Where everything that is left has been
    banned by others, nothing is banned.
    """

    def __init__(self, model: Model, language: str, also: tuple[str, ...] = ()) -> None:
        self._foreign = foreign_tokens(model, language, *also)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        return without(scores, self._on(scores))

    def _on(self, scores: Tensor) -> Tensor:
        if self._foreign.device != scores.device:
            self._foreign = self._foreign.to(scores.device)
        return self._foreign.expand_as(scores)


def without(scores: Tensor, banned: Tensor) -> Tensor:
    """Logits [rows, vocabulary] without the tokens `banned` in each row, where any are left."""
    masked = scores.masked_fill(banned, BANNED)
    left = masked.max(-1, keepdim=True).values > BANNED
    return masked.where(left, scores)
