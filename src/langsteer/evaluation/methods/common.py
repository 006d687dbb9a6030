"""What a comparison's methods share: the setting of a cell, and a method's plan for it."""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from transformers import LogitsProcessor

from langsteer.errors import MethodError
from langsteer.evaluation.benchmarks import Benchmark, Doc, load_docs
from langsteer.model.model import Model
from langsteer.steering.change import Change
from langsteer.text.corpus import ParallelCorpus
from langsteer.values import first_wrong, types_of

PROMPT = "langsteer_prompt"
"""the field of a doc that holds a whole prompt, where a method writes one for each item"""


@dataclass(frozen=True)
class Setting:
    """One model, benchmark and language, and what a method may learn from.

    `corpus` holds parallel text to fit vectors, projections and adapters on; it shares nothing
    with the benchmark; `all_languages` gives the like in all languages that are compared. `data`
    is a folder with the data sets as published, None for the hub. `work` keeps what is costly to make (vectors, adapters, translations) between runs of one
    model. `limit` bounds the items asked, for a quick look.
    """

    model: Model
    benchmark: Benchmark
    language: str
    corpus: ParallelCorpus | None
    work: Path
    data: Path | None = None
    form: str | None = None
    limit: int | None = None
    seed: int = 0
    all_languages: Callable[[], ParallelCorpus] | None = None


@dataclass(frozen=True)
class Plan:
    """How a method asks the items of a cell.

    `docs` are the items, in the benchmark's schema, and `language` that of their text and frame
    (`en` where they were translated). `config` overrides keys of the harness's task, `shots` of
    `examples` precede each item; where their text is in another language than the items', that is
    `examples_language`, and they are not steered. `model` replaces the setting's model (a tuned
    one), `change` is added to it, and `processors` act on the logits of what it writes. `chosen_on` are the ids of the items that any choice was made
    with: none is asked. `settings` says what was chosen, for the record. `training_seconds` is
    spent once for a language; `extra_seconds` and `extra_tokens` on these very items before they
    are asked (their translation, the reasoning about them).
    """

    docs: Sequence[Doc]
    language: str
    form: str
    shots: int = 0
    examples: Sequence[Doc] = ()
    examples_language: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    model: Model | None = None
    change: Change | None = None
    processors: Sequence[LogitsProcessor] = ()
    chosen_on: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)
    training_seconds: float = 0.0
    extra_seconds: float = 0.0
    extra_tokens: int = 0


class Stage(IntEnum):
    """What is made before what: as the model is; asked otherwise, or fitted in closed form; trained, or
    written out at length.
    """

    NOW = 0
    SOON = 1
    LATE = 2


@dataclass(frozen=True)
class EvaluationMethod:
    """A way to ask. `prepare(setting, **options)` trains, translates or reasons, and gives the plan.

    `options` are keyword arguments of `prepare`. `kind` says what it touches: the `prompt`, the
    `text` of the items, the `model`, its `logits`, or its hidden `states`. A stack is a method of the
    first, third or fourth kind with one of the last on top. `stage` says how soon its cells can be there;
    with `serves_all`, what it makes for one language serves all. `check_options(options)` raises
    LangsteerError for what `prepare` would not take, before anything is run.
    """

    name: str
    title: str
    prepare: Callable[..., Plan]
    kind: str = "prompt"
    stage: Stage = Stage.LATE
    serves_all: bool = False
    check_options: Callable[[Mapping[str, Any]], None] = lambda options: None


def checking_options(method: EvaluationMethod) -> EvaluationMethod:
    """The method, with a clear error for an option that it does not have."""
    parameters = list(inspect.signature(method.prepare).parameters.values())[1:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return method  # it passes them on, and what takes them will say so
    known = [parameter.name for parameter in parameters]

    def check(options: Mapping[str, Any]) -> None:
        for name in options:
            if name not in known:
                listed = ", ".join(known) or "none"
                raise MethodError(f"{method.name} has no option {name!r}: it has {listed}")
        check_values(method.name, types_of(method.prepare), options)

    @functools.wraps(method.prepare)
    def prepare(setting: Setting, **options: Any) -> Plan:
        check(options)
        return method.prepare(setting, **options)

    return replace(method, prepare=prepare, check_options=check)


def check_values(name: str, types: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raise MethodError for the first option of a method whose value is not of its type."""
    wrong = first_wrong(types, options)
    if wrong is not None:
        raise MethodError(f"{name}: its option {wrong}")


def form_of(setting: Setting, language: str | None = None) -> str:
    """The prompt form of the setting, or the usual one of the language."""
    return setting.form or setting.benchmark.forms_of(language or setting.language)[0]


def english_form(setting: Setting) -> str:
    """The form asked for, where English has it, else the usual one."""
    forms = setting.benchmark.forms_of("en")
    wanted = form_of(setting)
    return wanted if wanted in forms else forms[0]


def asked_docs(setting: Setting, language: str | None = None) -> list[Doc]:
    """The items reported on, in the publisher's order; with a limit, the same in every language."""
    docs = load_docs(setting.benchmark, language or setting.language, "test", setting.data)
    if setting.limit is None or setting.limit >= len(docs):
        return docs
    kept = {doc["id"] for doc in shuffled(docs, setting.seed)[: setting.limit]}
    return [doc for doc in docs if doc["id"] in kept]


def learning_docs(setting: Setting, language: str, *parts: str, what: str) -> tuple[str, list[Doc]]:
    """The first of `parts` that the benchmark has, and its items, less those that are asked too.

    Raises MethodError, naming `what` wants them, where there are none.
    """
    if "test" in parts:
        raise MethodError(f"{what} cannot learn from the part test: that is what is asked")
    part = next((part for part in parts if part in setting.benchmark.parts), None)
    if part is None:
        raise MethodError(
            f"{what} learns from the part {' or '.join(parts)}, which {setting.benchmark.title} "
            "does not have"
        )
    asked = {_texts(setting, doc) for doc in all_docs(setting, language)}
    docs = load_docs(setting.benchmark, language, part, setting.data)
    kept = [doc for doc in docs if _texts(setting, doc) not in asked]
    if not kept:
        raise MethodError(f"{what}: every item of the part {part} is asked in the test part too")
    return part, kept


def all_docs(setting: Setting, language: str) -> list[Doc]:
    """All items of the test part, whatever the limit."""
    return load_docs(setting.benchmark, language, "test", setting.data)


def chosen_ids(docs: Sequence[Doc]) -> frozenset[str]:
    """What `Plan.chosen_on` says of items."""
    return frozenset(str(doc["id"]) for doc in docs)


def shuffled(docs: Sequence[Doc], seed: int) -> list[Doc]:
    """In an order that depends on ids and seed alone, so that it is the same in every language."""
    return sorted(docs, key=lambda doc: digest(seed, doc["id"]))


def digest(*parts: object) -> str:
    """SHA-256 of the parts, as JSON."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _texts(setting: Setting, doc: Doc) -> str:
    """What is asked of a doc, to tell others that ask the same: its texts in the language, else all of it."""
    names = setting.benchmark.source or sorted(set(doc) - {"id"})
    return json.dumps([doc.get(name) for name in names], ensure_ascii=False, default=str)
