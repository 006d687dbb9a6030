"""langsteer as a model of the lm-evaluation-harness.

Registered as `langsteer`. Requests are steered by the language of their task, at the text of their item and
not at the template around it, and scored with one pass over each context.
"""

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from transformers import LogitsProcessor

from langsteer.errors import ModelError
from langsteer.evaluation.harness.calibrating import calibrated_answers
from langsteer.evaluation.harness.coverage import Counted, Coverage
from langsteer.evaluation.harness.engine import EngineUse, EngineWriter
from langsteer.evaluation.harness.lm_eval_parts import (
    HFLM,
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
    simple_parse_args_string,
)
from langsteer.evaluation.harness.requests import Asked, RequestReader, item_key, question_of
from langsteer.evaluation.harness.scoring import Change, Scores, check_scores, score
from langsteer.evaluation.harness.spans import source_spans
from langsteer.evaluation.harness.tasks import TaskInfo, TaskLanguages
from langsteer.evaluation.harness.writing import Decoding, Row, write_batch
from langsteer.model.model import Model
from langsteer.model.opening import DEFAULT_MODEL, load_model
from langsteer.model.tokens import TOKEN_BUDGET, Tokens, batches
from langsteer.progress import track
from langsteer.states.intervention import PositionKind
from langsteer.steering.folder import changes_by_language

logger = logging.getLogger(__name__)

NAME = "langsteer"
GENERATION_ROWS = 32


@dataclass
class Usage:
    """What has been run so far: tokens read or written, and seconds in the model."""

    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class _Scored:
    """An answer's log-likelihood, whether greedy decoding would give it, and tokens steered for it."""

    loglikelihood: float
    greedy: bool
    touched: int


@register_model(NAME)
class LangsteerLM(HFLM):
    """A causal model steered by language.

    `pretrained` is a `Model` or whatever `load_model` takes. `vectors` is a file, a folder of
    files, or changes by language tag. A request's language is `language`, else that of its task
    (from `tasks`, or from the task's name where it surely tells one: `xcopa_sw`,
    `belebele_swh_Latn`), else that which its text is surely in (with the extra `langid`); without
    a vector for it, the request is not steered. Which task is steered as what is said once. `strength`
    and `positions` replace the vectors' own. `processors` act on the logits of what is written.
    `writer` writes answers in place of transformers, where it can.
    `calibrated` takes each answer's mean over a task off, where all its items have the same answers.
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
        calibrated: bool = False,
        tasks: Mapping[str, TaskInfo] | None = None,
        processors: Sequence[LogitsProcessor] = (),
        writer: EngineWriter | None = None,
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
        self.budget, self.calibrated = budget, calibrated
        self.rows = int(str(batch_size)) if str(batch_size).isdigit() else None
        self.tasks = dict(tasks or {})
        self.processors = list(processors)
        self.costs: dict[str, Usage] = {}
        self._variants: dict[str, Change | None] = {}
        self._active = ""
        self._scored: dict[tuple[str, str | None, Asked], _Scored] = {}
        self.reader = RequestReader(self, self.tasks)
        self.coverage: dict[tuple[str, str], Coverage] = {}
        self.engine = EngineUse(self, writer) if writer is not None else None
        self.changes = changes_by_language(vectors)
        for change in self.changes.values():
            change.check_fits(pretrained, other_weights=other_weights)
        if strength is not None or positions is not None:
            self.changes = {
                tag: _adjusted(change, strength, positions) for tag, change in self.changes.items()
            }
        self.languages = TaskLanguages(self.tasks, self.changes, language)

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> "LangsteerLM":
        """The model that the harness's command asks for: `--model_args`, and its other options."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "LangsteerLM":
        """The same of arguments by name, which come before the harness's own options.

        The harness names a GPU where nobody did: without one, or with a `device_map`, that is
        not heeded, as its own models do not.
        """
        given = {
            key: value for key, value in (additional_config or {}).items() if value is not None
        }
        gpu = str(given.get("device")).startswith("cuda") and not torch.cuda.is_available()
        if gpu or arg_dict.get("device_map") is not None:
            given.pop("device", None)
        return cls(**{**given, **arg_dict})

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
        tags = [self.languages.of(request) for request in requests]
        asked = list(zip(tags, self.reader.asked(requests), strict=True))
        scored = self._scores_of(asked, None if disable_tqdm else "Scoring answers")
        self._count(requests, tags, [score.touched for score in scored])
        answers = [(score.loglikelihood, score.greedy) for score in scored]
        if self.calibrated:
            answers = calibrated_answers(requests, answers)
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return answers

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of each text, in windows of what the model reads."""
        self.languages.tell(requests)
        tags = [self.languages.of(request) for request in requests]
        windows = [self.reader.rolling(request) for request in requests]
        asked = [(tag, window) for tag, of in zip(tags, windows, strict=True) for window in of]
        scored = iter(self._scores_of(asked, None if disable_tqdm else "Scoring texts"))
        answers, touched = [], []
        for request, of in zip(requests, windows, strict=True):
            parts = list(itertools.islice(scored, len(of)))
            answers.append(sum(part.loglikelihood for part in parts))
            touched.append(sum(part.touched for part in parts))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, answers[-1])
        self._count(requests, tags, touched)
        return answers

    def _scores_of(
        self, asked: Sequence[tuple[str | None, Asked]], progress: str | None
    ) -> list["_Scored"]:
        """What each answer scores under the active variant. Raises StateError for no number."""
        missing = [key for key in dict.fromkeys(asked) if (self._active, *key) not in self._scored]
        self._score(missing, progress)
        scored = [self._scored[(self._active, *key)] for key in asked]
        if not self._variants:
            self._scored.clear()
        check_scores(self.steered, [[score.loglikelihood for score in scored]])
        return scored

    def _count(
        self, requests: Sequence[Instance], tags: Sequence[str | None], touched: Sequence[int]
    ) -> None:
        """Note which items the active change touched. Raises VectorError where it touched none."""
        told = Counted()
        for request, tag, tokens in zip(requests, tags, touched, strict=True):
            change = self._change(self._active, tag)
            if change is not None and (change.interventions() or change.logit_bias() is not None):
                told.note(
                    request.task_name or "", item_key(request), change.positions, bool(tokens)
                )
        told.check()
        for task, coverage in told.coverage().items():
            self.coverage[(self._active, task)] = coverage
            if not self._variants and coverage.missed:
                logger.warning("%s: %s", task, coverage)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy text (unless a request says otherwise) after each context, up to a stop."""
        self.languages.tell(requests)
        result, touched = [""] * len(requests), [0] * len(requests)
        tags = [self.languages.of(request) for request in requests]
        groups: dict[tuple[str | None, str], list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault((tags[i], repr(request.args[1])), []).append(i)
        for (tag, _), members in groups.items():
            contexts = [self.reader.prompt(requests[i]) for i in members]
            written = self._generate(
                contexts,
                requests[members[0]].args[1],
                self._change(self._active, tag),
                None if disable_tqdm else "Generating",
            )
            for i, (text, steered) in zip(members, written, strict=True):
                result[i], touched[i] = text, int(steered)
                self.cache_hook.add_partial("generate_until", requests[i].args, text)
        self._count(requests, tags, touched)
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
            self.reader.tokens(prompt, source_spans(prompt, [sources[i]]) if sources else None)
            for i, prompt in enumerate(prompts)
        ]
        settings = {"until": list(stop), "max_gen_toks": max_new_tokens, "do_sample": False}
        written = self._generate(contexts, settings, change, "Generating")
        return [text for text, _ in written]

    def _generate(
        self,
        contexts: Sequence[Tokens],
        settings: Mapping[str, Any],
        change: Change | None,
        progress: str | None,
    ) -> list[tuple[str, bool]]:
        """What is written after each context, and whether any of its tokens was steered."""
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
        decoding = Decoding(longest, until, options)
        written = self.engine and self.engine.write(self._active, kept, change, decoding)
        if written:
            rows, seconds = written
            self._spent(kept, rows, seconds)
        else:
            rows = self._by_transformers(kept, change, decoding, progress)
        return [(self.ended(row.ids, until), row.steered) for row in rows]

    def _by_transformers(
        self,
        contexts: Sequence[Tokens],
        change: Change | None,
        decoding: Decoding,
        progress: str | None,
    ) -> list[Row]:
        rows: dict[int, Row] = {}
        groups = self.groups(contexts)
        for index in track(groups, progress, len(groups)):
            asked = [contexts[i] for i in index]
            started = time.perf_counter()
            written = write_batch(self, asked, change, decoding)
            self._spent(asked, written, time.perf_counter() - started)
            rows |= dict(zip(index, written, strict=True))
        return [rows[i] for i in range(len(contexts))]

    def groups(self, contexts: Sequence[Tokens]) -> list[list[int]]:
        """Which contexts are written after together."""
        budget, rows = self.budget or TOKEN_BUDGET, self.rows or GENERATION_ROWS
        return [list(index) for index in batches(contexts, budget, rows)]

    def ended(self, ids: Sequence[int], until: list[str]) -> str:
        """The text of tokens, up to where the answer ends."""
        text = self.tok_decode(list(ids))
        return str(postprocess_generated_text(text, stop=until, think_end_token=None))

    def _spent(self, contexts: Sequence[Tokens], rows: Sequence[Row], seconds: float) -> None:
        self.cost.seconds += seconds
        self.cost.tokens += sum(map(len, contexts)) + sum(len(row.ids) for row in rows)

    def _score(self, missing: Sequence[tuple[str | None, Asked]], progress: str | None) -> None:
        """Score answers under the active variant, or under all."""
        by_language: dict[str | None, dict[tuple[Any, ...], list[Asked]]] = {}
        for tag, asked in missing:
            by_language.setdefault(tag, {}).setdefault(asked.shared, []).append(asked)
        for tag, contexts in by_language.items():
            answers = list(contexts.values())
            names = list(self._variants) or [""]
            results = score(
                self.steered,
                [question_of(together) for together in answers],
                [self._change(name, tag) for name in names],
                budget=self.budget,
                progress=progress,
            )
            for name, scores in zip(names, results, strict=True):
                self._keep(name, tag, answers, scores)

    def _keep(
        self, name: str, tag: str | None, answers: Sequence[Sequence[Asked]], scores: Scores
    ) -> None:
        cost = self.costs.setdefault(name, Usage())
        cost.tokens += scores.tokens
        cost.seconds += scores.seconds
        for q, together in enumerate(answers):
            for a, asked in enumerate(together):
                self._scored[(name, tag, asked)] = _Scored(
                    scores.loglikelihoods[q][a], scores.greedy[q][a], scores.touched[q][a]
                )

    def _change(self, name: str, tag: str | None) -> Change | None:
        if self._variants:
            return self._variants[name]
        return self.changes.get(tag) if tag is not None else None


def _adjusted(change: Change, strength: float | None, positions: PositionKind | None) -> Change:
    """A change at another strength or other positions than its own."""
    change = change if strength is None else change.with_strength(strength)
    return change if positions is None else change.at(positions)
