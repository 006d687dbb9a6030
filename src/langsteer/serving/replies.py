"""Replies in OpenAI's forms, with `steering`: what each text was steered with."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langsteer.serving.rows import Piece, Row, Scored


@dataclass(frozen=True)
class Reply:
    """One reply that is being made: `prompts` rows of a prompt each, `n` rows of each prompt."""

    model: str
    chat: bool
    rows: Sequence[Row]
    n: int
    token_text: Callable[[int], str]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, pieces: Sequence[Sequence[Piece]]) -> dict[str, Any]:
        """The reply that is not streamed, of the pieces of each row."""
        choices = []
        for index, row_pieces in enumerate(pieces):
            text = "".join(piece.text for piece in row_pieces)
            scored = [token for piece in row_pieces for token in piece.scored]
            choice = self._choice(index, scored, row_pieces[-1].finish)
            content = {"message": {"role": "assistant", "content": text}}
            choices.append({**choice, **(content if self.chat else {"text": text})})
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": choices, "usage": self.usage(), **self.steering()}

    def chunk(self, index: int, piece: Piece, first: bool) -> dict[str, Any]:
        """A part of a streamed reply; those that begin and end an answer say what it was steered with."""
        choice = self._choice(index, piece.scored, piece.finish)
        role = {"role": "assistant"} if first else {}
        delta = {"delta": {**role, "content": piece.text}}
        choice |= delta if self.chat else {"text": piece.text}
        used = self.rows[index].used
        told = {"steering": used.record()} if (first or piece.finish) and used is not None else {}
        return {**self._head(self._stream_kind), "choices": [choice], **told}

    def usage_chunk(self) -> dict[str, Any]:
        return {
            **self._head(self._stream_kind),
            "choices": [],
            "usage": self.usage(),
            **self.steering(),
        }

    def usage(self) -> dict[str, int]:
        prompt = sum(len(row.prompt) for row in self.rows[:: self.n])
        written = sum(len(row.ids) for row in self.rows)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
        }

    def steering(self) -> dict[str, Any]:
        """What was used: an object, or a list of them in the order of several prompts."""
        told = [row.used.record() for row in self.rows[:: self.n] if row.used is not None]
        return {"steering": told[0] if len(told) == 1 else told}

    @property
    def _stream_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _head(self, kind: str) -> dict[str, Any]:
        name = f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}"
        return {"id": name, "object": kind, "created": self.created, "model": self.model}

    def _choice(self, index: int, scored: Sequence[Scored], finish: str | None) -> dict[str, Any]:
        wanted = self.rows[index].sampling.top is not None
        make = self._chat_logprobs if self.chat else self._logprobs
        return {
            "index": index,
            "finish_reason": finish,
            "logprobs": make(scored) if wanted else None,
        }

    def _chat_logprobs(self, scored: Sequence[Scored]) -> dict[str, Any]:
        def entry(token: int, logprob: float) -> dict[str, Any]:
            text = self.token_text(token)
            return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

        tokens = [
            {**entry(s.token, s.logprob), "top_logprobs": [entry(*pair) for pair in s.likeliest]}
            for s in scored
        ]
        return {"content": tokens, "refusal": None}

    def _logprobs(self, scored: Sequence[Scored]) -> dict[str, Any]:
        likeliest = [{self.token_text(t): p for t, p in s.likeliest} for s in scored]
        return {
            "tokens": [self.token_text(s.token) for s in scored],
            "token_logprobs": [s.logprob for s in scored],
            "top_logprobs": likeliest,
        }
