"""Rows: one answer each that is being written, how its tokens are drawn, and when it ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from langsteer.model.tokens import Text, Tokens
from langsteer.serving.asked import Asked, Used

UNFINISHED = "\ufffd"  # what a character of several tokens decodes to before its last


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn: temperature 0 takes the likeliest token. `top` more log-probabilities
    are kept a token; None keeps none.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top: int | None = None


@dataclass(frozen=True)
class Scored:
    """A token with its log-probability, and the likeliest ones at its place."""

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Piece:
    """Text that has become ready; the last piece of an answer has a `finish`, or an `error`."""

    text: str = ""
    scored: tuple[Scored, ...] = ()
    finish: str | None = None
    error: BaseException | None = None


@dataclass(eq=False)
class Row:
    """One answer: its prompt, what it asks, and what has been written. `notify` takes each piece;
    it is called in the engine's thread. `source` is the text whose language is heard.
    """

    prompt: Tokens
    source: Text
    asked: Asked
    sampling: Sampling
    notify: Callable[[Piece], None]
    cancelled: bool = False
    used: Used | None = None
    ids: list[int] = field(default_factory=list)
    text: str = ""
    done: bool = False
    _sent: int = 0
    _scored: list[Scored] = field(default_factory=list)
    _generator: torch.Generator | None = None

    def choose(self, scores: Tensor) -> int:
        """The next token, of logits [vocabulary]; keeps its log-probability where asked to."""
        sampling = self.sampling
        token = int(scores.argmax()) if sampling.temperature == 0 else self._draw(scores)
        if sampling.top is not None:
            logprobs = torch.log_softmax(scores.float(), -1)
            best = logprobs.topk(min(sampling.top, len(logprobs)))
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            self._scored.append(Scored(token, float(logprobs[token]), tuple(pairs)))
        return token

    def _draw(self, scores: Tensor) -> int:
        if self._generator is None:
            self._generator = torch.Generator()
            if self.sampling.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(self.sampling.seed)
        chances = torch.softmax(scores.double().cpu() / self.sampling.temperature, -1)
        order = chances.argsort(descending=True, stable=True)
        sorted_chances = chances[order]
        before = sorted_chances.cumsum(-1) - sorted_chances
        kept = sorted_chances.where(before < self.sampling.top_p, 0.0)
        kept[0] = sorted_chances[0]
        return int(order[torch.multinomial(kept, 1, generator=self._generator)])

    def push(
        self, token: int, ends: frozenset[int], decode: Callable[[Sequence[int]], str]
    ) -> None:
        """Take the next token; sends what is ready, and ends the answer where it is to end."""
        self.ids.append(token)
        if token in ends:
            self._scored = self._scored[:-1]
            self._end("stop")
            return
        self.text = decode(self.ids)
        places = [self.text.find(stop) for stop in self.sampling.stop if stop in self.text]
        if places:
            self.text = self.text[: min(places)]
            self._end("stop")
        elif len(self.ids) >= self.sampling.max_tokens:
            self._end("length")
        else:
            self._send(self._ready())

    def _ready(self) -> int:
        """How much of the text cannot be taken back: no unfinished character, no beginning of a stop."""
        end = len(self.text.rstrip(UNFINISHED))
        for stop in self.sampling.stop:
            for length in range(min(len(stop) - 1, end), 0, -1):
                if self.text[:end].endswith(stop[:length]):
                    end -= length
                    break
        return end

    def _send(self, end: int, finish: str | None = None) -> None:
        if end <= self._sent and finish is None:
            return
        text, self._sent = self.text[self._sent : end], max(end, self._sent)
        scored, self._scored = tuple(self._scored), []
        self.notify(Piece(text, scored, finish))

    def _end(self, finish: str) -> None:
        self.done = True
        self._send(len(self.text), finish)

    def fail(self, error: BaseException) -> None:
        """End the answer with an error, where it has not ended."""
        if not self.done:
            self.done = True
            self.notify(Piece(error=error))


def ends_of(network: Any) -> frozenset[int]:
    """The tokens that end an answer."""
    ends = network.generation_config.eos_token_id
    return frozenset(() if ends is None else [ends] if isinstance(ends, int) else ends)
