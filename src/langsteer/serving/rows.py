"""Rows: one answer each that is being written, how its tokens are drawn, and when it ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from langsteer.model.tokens import Text, Tokens
from langsteer.serving.asked import Asked, Used

FEW = 1024
UNFINISHED = "\ufffd"  # what a character of several tokens decodes to before its last
COLDEST = 1e-5  # below it scores overflow: the likeliest token is taken, as at 0


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

    @property
    def begun(self) -> bool:
        """Whether some of it has been written, or it has ended."""
        return self.done or bool(self.ids)

    def choose(self, scores: Tensor, best: int | None = None) -> int:
        """The next token, of logits [vocabulary], of which `best` is the likeliest where that is
        known; keeps its log-probability where asked to.
        """
        sampling = self.sampling
        if sampling.temperature < COLDEST:
            token = int(scores.argmax()) if best is None else best
        else:
            token = self._draw(scores)
        if sampling.top is not None:
            logprobs = torch.log_softmax(scores.float(), -1)
            likeliest = logprobs.topk(min(sampling.top, len(logprobs)))
            pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
            self._scored.append(Scored(token, float(logprobs[token]), tuple(pairs)))
        return token

    def _draw(self, scores: Tensor) -> int:
        """The token at a random place on the line of the chances, which `top_p` cuts short."""
        if self._generator is None:
            self._generator = torch.Generator()
            if self.sampling.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(self.sampling.seed)
        chances = torch.softmax(scores.float() / self.sampling.temperature, -1)
        if self.sampling.top_p < 1:
            tokens, line = _nucleus(chances, self.sampling.top_p)
        else:
            tokens, line = None, chances.cpu().double().cumsum(0)
        drawn = torch.rand((), generator=self._generator, dtype=torch.float64) * line[-1]
        place = min(int(torch.searchsorted(line, drawn, right=True)), len(line) - 1)
        return place if tokens is None else int(tokens[place])

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


def _nucleus(chances: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The likeliest tokens that together reach `top_p`, and the sums of their chances."""
    for count in (min(FEW, len(chances)), len(chances)):  # sorting a whole vocabulary is slow
        likeliest = chances.topk(count)
        line = likeliest.values.cpu().double().cumsum(0)
        if line[-1] >= top_p:
            break
    kept = min(int(torch.searchsorted(line, top_p)) + 1, len(line))
    return likeliest.indices[:kept], line[:kept]


def ends_of(network: Any) -> frozenset[int]:
    """The tokens that end an answer."""
    ends = network.generation_config.eos_token_id
    return frozenset(() if ends is None else [ends] if isinstance(ends, int) else ends)
