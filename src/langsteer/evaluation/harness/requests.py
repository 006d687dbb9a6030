"""What a request of the harness is to the model: its tokens, and which of them are text, prompt or answer.

A request is a context and a continuation. What stands in every continuation of an item is no answer: a text of
the item in all of its choices is text, as it is in a context. Where there is no context, or where it holds text,
what all choices begin with is context too, which is scored with each of them.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from langsteer.errors import ModelError
from langsteer.evaluation.harness.lm_eval_parts import (
    get_rolling_token_windows,
    make_disjoint_window,
)
from langsteer.evaluation.harness.question import Question
from langsteer.evaluation.harness.spans import Span, source_spans, texts_of
from langsteer.evaluation.harness.tasks import TaskInfo
from langsteer.model.tokens import Tokens

logger = logging.getLogger(__name__)

KEPT = 20_000


@dataclass(frozen=True)
class Asked:
    """One answer to be scored, as the model is to read it: token ids, and which of them are text.

    The last `scored` tokens of the context are scored with the answer.
    """

    context: tuple[int, ...]
    source: tuple[bool, ...]
    answer: tuple[int, ...]
    text: tuple[bool, ...]
    scored: int = 0

    @property
    def shared(self) -> tuple[Any, ...]:
        """What it has in common with answers that can be scored after the same context."""
        return self.context, self.source, self.scored

    def split(self, length: int) -> "Asked":
        """The same with the first `length` tokens of the answer in the context."""
        return Asked(
            self.context + self.answer[:length],
            self.source + self.text[:length],
            self.answer[length:],
            self.text[length:],
            length,
        )


class RequestReader:
    """Reads requests for `lm`, a model of the harness, whose encoding and length they go by."""

    def __init__(self, lm: Any, tasks: Mapping[str, TaskInfo]) -> None:
        self._lm, self._tasks = lm, tasks
        self._encoded: dict[tuple[Any, ...], Tokens] = {}

    def asked(self, requests: Sequence[Instance]) -> list[Asked]:
        """Requests of the kind `loglikelihood`, those of an item in the light of each other.

        Raises ModelError for a continuation without tokens, or of more than the model reads.
        """
        items: dict[Any, dict[str, list[int]]] = {}
        for i, request in enumerate(requests):
            items.setdefault(item_key(request), {}).setdefault(request.args[0], []).append(i)
        read: dict[int, Asked] = {}
        for contexts in items.values():
            for context, members in contexts.items():
                chosen = [requests[i] for i in members]
                choices = self._choices(context, chosen, alone=len(contexts) == 1)
                read |= {i: choices[requests[i].args[1]] for i in members}
        return [read[i] for i in range(len(requests))]

    def rolling(self, request: Instance) -> list[Asked]:
        """A request of the kind `loglikelihood_rolling`, a window after the other.

        All of it is text, but for a beginning-of-sequence token that the tokeniser adds.
        """
        windows = get_rolling_token_windows(
            token_list=self._lm.tok_encode(request.args[0]),
            prefix_token=self._lm.prefix_token_id,
            max_seq_len=self._lm.max_length,
            context_len=1,
        )
        read = []
        for context, answer in map(make_disjoint_window, windows):
            context, answer = self._fitted(list(context), list(answer))
            source, text = self._no_special(context), self._no_special(answer)
            window = Asked(tuple(context), source, tuple(answer), text)
            read.append(window.split(min(text.index(True), len(text) - 1) if any(text) else 0))
        return read

    def prompt(self, request: Instance) -> Tokens:
        """The context of a request that is answered in writing."""
        return self._context(request, request.args[0])

    def tokens(self, text: str, spans: Sequence[Span] | None) -> Tokens:
        """Ids as the harness encodes them; without spans, all but special tokens is source."""
        key = (text, None if spans is None else tuple(spans))
        if key not in self._encoded:
            if len(self._encoded) > KEPT:
                self._encoded.clear()
            self._encoded[key] = self._encode(text, spans)
        return self._encoded[key]

    def _choices(
        self, context: str, requests: Sequence[Instance], *, alone: bool
    ) -> dict[str, Asked]:
        """The continuations of an item after one context; `alone`, where it has no other context."""
        first = requests[0]
        choices = list(dict.fromkeys(request.args[1] for request in requests))
        several, empty = len(choices) > 1, context == ""
        inside = self._in_all(first, choices) if several or empty else []
        read = {choice: self._read(first, context, choice, inside) for choice in choices}
        if not several:
            return {
                c: self._all_text(a) if empty and not any(a.text) else a for c, a in read.items()
            }
        length = _common_start([asked.answer for asked in read.values()])
        start = read[choices[0]].text[:length]
        if not empty and not any(start):
            return read
        split = {choice: asked.split(length) for choice, asked in read.items()}
        if inside or not alone:
            return split
        return {choice: self._start_is_text(asked) for choice, asked in split.items()}

    def _in_all(self, request: Instance, choices: Sequence[str]) -> list[str]:
        """The texts of an item that stand in each of its choices."""
        if not self._lm.tokenizer.is_fast:  # it does not tell which tokens they are
            return []
        texts = texts_of(request.doc, self._info(request).fields)
        return [t for t in texts if t.strip() and all(t.strip() in choice for choice in choices)]

    def _read(self, request: Instance, context: str, choice: str, inside: Sequence[str]) -> Asked:
        """A continuation, in which the texts `inside` are text."""
        spans, prefix = source_spans(choice, inside), self._lm.prefix_token_id
        if context == "":
            tokens = Tokens([prefix], [False])
            whole = self._encode(choice, spans, add_special_tokens=False)
            start = 1 if whole.ids[:1] == [prefix] else 0
        else:
            bare = context.rstrip()
            tokens = self._context(request, bare, inside)
            spans = [(a + len(context), b + len(context)) for a, b in spans]
            whole, start = self._encode(context + choice, spans), len(tokens)
        answer = whole.ids[start:]
        text = whole.source[start:] if inside else [False] * len(answer)
        if not answer:
            raise ModelError(
                f"the answer choice {choice!r} of task {request.task_name} tokenises to "
                "nothing: it cannot be scored"
            )
        ids, answer = self._fitted(tokens.ids, answer)
        return Asked(tuple(ids), tuple(tokens.source[-len(ids) :]), tuple(answer), tuple(text))

    def _all_text(self, asked: Asked) -> Asked:
        text = self._no_special(asked.answer)
        return Asked(asked.context, asked.source, asked.answer, text, asked.scored)

    def _start_is_text(self, asked: Asked) -> Asked:
        """What all choices begin with, where none of the item's texts was found in them."""
        start = len(asked.context) - asked.scored
        source = asked.source[:start] + self._no_special(asked.context[start:])
        return Asked(asked.context, source, asked.answer, asked.text, asked.scored)

    def _fitted(self, context: list[int], answer: list[int]) -> tuple[list[int], list[int]]:
        """Cut from the left what does not fit into the model, as the harness does."""
        longest = self._lm.max_length
        if len(answer) > longest:
            raise ModelError(
                f"an answer of {len(answer)} tokens is longer than {self._lm.steered.name} reads "
                f"({longest})"
            )
        room = longest + 1 - len(answer)
        if len(context) > room:
            logger.warning("a context of %d tokens was cut to %d", len(context), room)
        return context[-room:], answer

    def _info(self, request: Instance) -> TaskInfo:
        return self._tasks.get(request.task_name or "", TaskInfo())

    def _context(self, request: Instance, context: str, inside: Sequence[str] = ()) -> Tokens:
        """A context; where texts are `inside` the choices, others are looked for in it."""
        info = self._info(request)
        texts = [text for text in texts_of(request.doc, info.fields) if text not in inside]
        spans = source_spans(context, texts, info.examples)
        return self.tokens(context, spans if spans or inside else None)

    def _encode(self, text: str, spans: Sequence[Span] | None, **options: Any) -> Tokens:
        ids = self._lm.tok_encode(text, **options)
        special, tokenizer = set(self._lm.tokenizer.all_special_ids), self._lm.tokenizer
        inside = [True] * len(ids)
        if spans is not None and tokenizer.is_fast:
            bare = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            offsets = [(-1, -1)] * (len(ids) - len(bare["input_ids"])) + bare["offset_mapping"]
            inside = [any(a < end and b > start for start, end in spans) for a, b in offsets]
        return Tokens(ids, [a and i not in special for a, i in zip(inside, ids, strict=True)])

    def _no_special(self, ids: Sequence[int]) -> tuple[bool, ...]:
        special = set(self._lm.tokenizer.all_special_ids)
        return tuple(i not in special for i in ids)


def question_of(answers: Sequence[Asked]) -> Question:
    """Answers that are `shared` alike, to be scored after one context."""
    first = answers[0]
    return Question(
        Tokens(list(first.context), list(first.source)),
        tuple(asked.answer for asked in answers),
        first.scored,
        tuple(asked.text for asked in answers),
    )


def item_key(request: Instance) -> Any:
    """What tells the item of a request from others."""
    named = request.doc_id is not None
    return (request.task_name, request.doc_id) if named else (request.task_name, id(request.doc))


def _common_start(answers: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all answers begin with; each keeps one."""
    start = min(map(len, answers)) - 1
    while any(answer[:start] != answers[0][:start] for answer in answers):
        start -= 1
    return start
