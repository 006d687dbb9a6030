"""langsteer as a model of the lm-evaluation-harness.

Registered as `langsteer`. Requests are steered by the language of their task, at the text of their item and
not at the template around it, and scored with one pass over each context.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model

from langsteer.errors import ModelError
from langsteer.evaluation.harness.lm_eval_parts import (
    HFLM,
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from langsteer.evaluation.harness.scoring import Change, Question, Scores, score
from langsteer.evaluation.harness.spans import Span, source_spans, texts_of
from langsteer.evaluation.harness.tasks import TaskInfo, TaskLanguages
from langsteer.model.model import Model
from langsteer.model.opening import DEFAULT_MODEL, load_model
from langsteer.model.tokens import TOKEN_BUDGET, Tokens, batches, pad_mask
from langsteer.progress import track
from langsteer.states.intervention import PositionKind, intervene
from langsteer.steering.folder import changes_by_language

logger = logging.getLogger(__name__)

NAME = "langsteer"
GENERATION_ROWS = 32


@dataclass
class Usage:
    """What has been run so far: tokens read or written, and seconds in the model."""

    tokens: int = 0
    seconds: float = 0.0


@register_model(NAME)
class LangsteerLM(HFLM):
    """A causal model steered by language.

    `pretrained` is a `Model` or whatever `load_model` takes. `vectors` is a file, a folder of
    files, or changes by language tag. A request's language is `language`, else that of its task
    (from `tasks`, or from the task's name where it surely tells one: `xcopa_sw`,
    `belebele_swh_Latn`), else that which its text is surely in (with the extra `langid`); without
    a vector for it, the request is not steered. Which task is steered as what is said once. `strength` and `positions` replace the vectors' own.
    Raises VectorError where a vector does not fit.
    """

    def __init__(
        self,
        pretrained: str | Model = DEFAULT_MODEL,
        vectors: str | Path | Mapping[str, Change] | None = None,
        language: str | None = None,
        strength: float | None = None,
        positions: PositionKind | None = None,
        other_weights: bool = False,
        dtype: str = "auto",
        device: str | None = None,
        device_map: str | None = None,
        batch_size: int | str | None = None,
        budget: int | None = None,
        max_length: int | None = None,
        add_bos_token: bool | None = None,
        tasks: Mapping[str, TaskInfo] | None = None,
        **options: Any,
    ) -> None:
        if isinstance(pretrained, str):
            options.pop("max_batch_size", None)
            pretrained = load_model(
                pretrained, dtype=dtype, device=device, device_map=device_map, **options
            )
        logging.getLogger("lm_eval.models.huggingface").setLevel(logging.ERROR)
        super().__init__(
            pretrained=pretrained.network,
            tokenizer=pretrained.tokenizer,
            max_length=max_length,
            add_bos_token=add_bos_token,
        )
        self.steered = pretrained
        self.budget = budget
        self.rows = int(str(batch_size)) if str(batch_size).isdigit() else None
        self.tasks = dict(tasks or {})
        self.costs: dict[str, Usage] = {}
        self._variants: dict[str, Change | None] = {}
        self._active = ""
        self._scored: dict[tuple[Any, ...], tuple[float, bool]] = {}
        self._encoded: dict[tuple[Any, ...], Tokens] = {}
        self.changes = changes_by_language(vectors)
        for change in self.changes.values():
            change.check_fits(pretrained, other_weights=other_weights)
        if strength is not None or positions is not None:
            self.changes = {
                tag: _adjusted(change, strength, positions) for tag, change in self.changes.items()
            }
        self.languages = TaskLanguages(self.tasks, self.changes, language)

    @property
    def cost(self) -> Usage:
        """What the active variant has cost."""
        return self.costs.setdefault(self._active, Usage())

    @contextmanager
    def variants(self, variants: Mapping[str, Change | None]) -> Iterator[None]:
        """Inside, answers are scored under all `variants` at once, sharing the lower layers.

        `use` says which of them a call answers for; the others' answers are kept for their turn.
        """
        before = self._variants, self._active, self._scored
        self._variants, self._scored = dict(variants), {}
        try:
            yield
        finally:
            self._variants, self._active, self._scored = before

    def use(self, variant: str) -> None:
        if variant not in self._variants:
            raise ModelError(f"no variant {variant!r}; there are {', '.join(self._variants)}")
        self._active = variant

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether greedy decoding would give it."""
        self.languages.tell(requests)
        asked = [self._pair(request) for request in requests]
        missing: dict[tuple[Any, ...], None] = {}
        for tag, context, answer in asked:
            if (key := self._key(tag, context, answer)) not in self._scored:
                missing[key[1:]] = None
        self._score(list(missing), None if disable_tqdm else "Scoring answers")
        answers = [self._scored[self._key(*parts)] for parts in asked]
        if not self._variants:
            self._scored.clear()
        for request, scored in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, scored)
        return answers

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Pairs of token ids, as rolling log-likelihood hands them over: all source, if steered."""
        asked = []
        for _, context, answer in requests:
            context, answer = self._fitted(list(context), list(answer))
            source = [i != self.steered.bos_id for i in context]
            asked.append((self.languages.always, Tokens(context, source), tuple(answer)))
        self._score([self._key(*parts)[1:] for parts in asked], None)
        answers = [self._scored[self._key(*parts)] for parts in asked]
        self._scored.clear()
        return answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy text (unless a request says otherwise) after each context, up to a stop."""
        self.languages.tell(requests)
        result = [""] * len(requests)
        groups: dict[tuple[str | None, str], list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault((self.languages.of(request), repr(request.args[1])), []).append(i)
        for (tag, _), members in groups.items():
            contexts = [self._context(requests[i], requests[i].args[0]) for i in members]
            texts = self._generate(
                contexts,
                requests[members[0]].args[1],
                self._change(self._active, tag),
                None if disable_tqdm else "Generating",
            )
            for i, text in zip(members, texts, strict=True):
                result[i] = text
                self.cache_hook.add_partial("generate_until", requests[i].args, text)
        return result

    def complete(
        self,
        prompts: Sequence[str],
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
        change: Change | None = None,
        sources: Sequence[str] | None = None,
    ) -> list[str]:
        """Greedy continuations of `prompts`; `change` acts on `sources`, the text in each of them."""
        contexts = [
            self._tokens(prompt, source_spans(prompt, [sources[i]]) if sources else None)
            for i, prompt in enumerate(prompts)
        ]
        settings = {"until": list(stop), "max_gen_toks": max_new_tokens, "do_sample": False}
        return self._generate(contexts, settings, change, "Generating")

    def _generate(
        self,
        contexts: Sequence[Tokens],
        settings: Mapping[str, Any],
        change: Change | None,
        progress: str | None,
    ) -> list[str]:
        options = normalize_gen_kwargs(dict(settings), self.max_gen_toks)
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        until = handle_stop_sequences(options.pop("until", None), eos=eos)
        longest = options.pop("max_gen_toks")
        room = self.max_length - longest
        if room <= 0:
            raise ModelError(
                f"{longest} new tokens leave no room for a prompt: {self.steered.name} reads "
                f"{self.max_length} tokens in all"
            )
        kept = [Tokens(c.ids[-room:], c.source[-room:]) for c in contexts]
        texts = [""] * len(kept)
        groups = list(batches(kept, self.budget or TOKEN_BUDGET, self.rows or GENERATION_ROWS))
        for index in track(groups, progress, len(groups)):
            written = self._generate_batch(
                [kept[i] for i in index], options, until, longest, change
            )
            for i, ids in zip(index, written, strict=True):
                text = self.tok_decode(ids)
                texts[i] = postprocess_generated_text(text, stop=until, think_end_token=None)
        return texts

    def _generate_batch(
        self,
        contexts: Sequence[Tokens],
        options: Mapping[str, Any],
        until: list[str],
        longest: int,
        change: Change | None,
    ) -> list[list[int]]:
        inputs = self.steered.batch([context.ids for context in contexts])
        width = inputs["input_ids"].shape[1]
        started = time.perf_counter()
        with (
            torch.inference_mode(),
            _acting(self.steered, change, [context.source for context in contexts]),
        ):
            ids = self._model_generate(
                context=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                stop=until,
                max_length=width + longest,
                **options,
            )
        self.cost.seconds += time.perf_counter() - started
        self.cost.tokens += sum(map(len, contexts)) + ids[:, width:].numel()
        return [row[width:] for row in ids.tolist()]

    def _score(self, missing: Sequence[tuple[Any, ...]], progress: str | None) -> None:
        """Score (language, context ids, source, answer) under the active variant, or under all."""
        by_language: dict[str | None, dict[tuple[Any, ...], list[tuple[int, ...]]]] = {}
        for tag, ids, source, answer in missing:
            by_language.setdefault(tag, {}).setdefault((ids, source), []).append(answer)
        for tag, contexts in by_language.items():
            questions = [
                Question(Tokens(list(ids), list(source)), tuple(answers))
                for (ids, source), answers in contexts.items()
            ]
            names = list(self._variants) or [""]
            results = score(
                self.steered,
                questions,
                [self._change(name, tag) for name in names],
                budget=self.budget,
                progress=progress,
            )
            for name, scores in zip(names, results, strict=True):
                self._keep(name, tag, questions, scores)

    def _keep(
        self, name: str, tag: str | None, questions: Sequence[Question], scores: Scores
    ) -> None:
        cost = self.costs.setdefault(name, Usage())
        cost.tokens += scores.tokens
        cost.seconds += scores.seconds
        for question, values, greedy in zip(
            questions, scores.loglikelihoods, scores.greedy, strict=True
        ):
            context = (tuple(question.context.ids), tuple(question.context.source))
            for answer, value, same in zip(question.answers, values, greedy, strict=True):
                self._scored[(name, tag, *context, answer)] = (value, same)

    def _key(self, tag: str | None, context: Tokens, answer: tuple[int, ...]) -> tuple[Any, ...]:
        return (self._active, tag, tuple(context.ids), tuple(context.source), answer)

    def _change(self, name: str, tag: str | None) -> Change | None:
        if self._variants:
            return self._variants[name]
        return self.changes.get(tag) if tag is not None else None

    def _pair(self, request: Instance) -> tuple[str | None, Tokens, tuple[int, ...]]:
        context, continuation = request.args
        tag = self.languages.of(request)
        if context == "":
            ids = self.tok_encode(continuation, add_special_tokens=False)
            start = [self.prefix_token_id] if ids[:1] != [self.prefix_token_id] else ids[:1]
            answer = ids if ids[:1] != [self.prefix_token_id] else ids[1:]
            tokens = Tokens(start, [False])
        else:
            spaces = len(context) - len(context.rstrip())
            whole = context + continuation
            tokens = self._context(request, context[: len(context) - spaces])
            answer = self.tok_encode(whole)[len(tokens) :]
        if not answer:
            raise ModelError(
                f"the answer choice {continuation!r} of task {request.task_name} tokenises to "
                "nothing: it cannot be scored"
            )
        ids, answer = self._fitted(tokens.ids, answer)
        return tag, Tokens(ids, tokens.source[-len(ids) :]), tuple(answer)

    def _fitted(self, context: list[int], answer: list[int]) -> tuple[list[int], list[int]]:
        """Cut from the left what does not fit into the model, as the harness does."""
        if len(answer) > self.max_length:
            raise ModelError(
                f"an answer of {len(answer)} tokens is longer than {self.steered.name} reads "
                f"({self.max_length})"
            )
        room = self.max_length + 1 - len(answer)
        if len(context) > room:
            logger.warning("a context of %d tokens was cut to %d", len(context), room)
        return context[-room:], answer

    def _context(self, request: Instance, context: str) -> Tokens:
        info = self.tasks.get(request.task_name or "", TaskInfo())
        spans = source_spans(context, texts_of(request.doc, info.fields), info.examples)
        return self._tokens(context, spans or None)

    def _tokens(self, text: str, spans: Sequence[Span] | None) -> Tokens:
        """Ids as the harness encodes them; without spans, all but special tokens is source."""
        key = (text, tuple(spans) if spans else None)
        if key not in self._encoded:
            if len(self._encoded) > 20_000:
                self._encoded.clear()
            self._encoded[key] = self._encode_with_spans(text, spans)
        return self._encoded[key]

    def _encode_with_spans(self, text: str, spans: Sequence[Span] | None) -> Tokens:
        ids = self.tok_encode(text)
        special = set(self.tokenizer.all_special_ids)
        inside = [True] * len(ids)
        if spans is not None and self.tokenizer.is_fast:
            bare = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            offsets = [(-1, -1)] * (len(ids) - len(bare["input_ids"])) + bare["offset_mapping"]
            inside = [any(a < end and b > start for start, end in spans) for a, b in offsets]
        return Tokens(ids, [a and i not in special for a, i in zip(inside, ids, strict=True)])


def _adjusted(change: Change, strength: float | None, positions: PositionKind | None) -> Change:
    """A change at another strength or other positions than its own."""
    change = change if strength is None else change.with_strength(strength)
    return change if positions is None else change.at(positions)


def _acting(
    model: Model, change: Change | None, source: Sequence[Sequence[bool]]
) -> AbstractContextManager[None]:
    if change is None:
        return nullcontext()
    return intervene(model, change.interventions(), mask=pad_mask(source))
