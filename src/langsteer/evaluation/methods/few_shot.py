"""Few-shot: k answered examples before each item, in the language or in English."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import PositiveInt

from langsteer.errors import MethodError
from langsteer.evaluation.benchmarks import Doc
from langsteer.evaluation.benchmarks.task import SHOWN
from langsteer.evaluation.methods.common import (
    EvaluationMethod,
    Plan,
    Setting,
    Stage,
    asked_docs,
    chosen_ids,
    english_form,
    form_of,
    learning_docs,
    shuffled,
)


def few_shot(setting: Setting, k: PositiveInt = 5, part: str | None = None) -> Plan:
    """Examples in the language, from `part` (train where there is one, else development)."""
    return _prepared(setting, setting.language, k, part)


def few_shot_english(setting: Setting, k: PositiveInt = 5, part: str | None = None) -> Plan:
    """The same examples in English."""
    plan = _prepared(setting, "en", k, part)
    return replace(
        plan, examples_language="en", config={"fewshot_config": _shown_in_english(setting)}
    )


def choose_examples(setting: Setting, docs: Sequence[Doc], k: int) -> list[Doc]:
    """k items, of every label as many as can be, the same ones in every language; all that there are in their order."""
    if k == len(docs):
        return list(docs)
    target = setting.benchmark.target
    piles: dict[Any, list[Doc]] = {}
    for doc in shuffled(docs, setting.seed):
        piles.setdefault(doc[target] if target is not None else None, []).append(doc)
    chosen: list[Doc] = []
    while len(chosen) < k:
        filled = [pile for pile in piles.values() if pile]
        if not filled:
            raise MethodError(
                f"{k} examples were asked for, and {setting.benchmark.title} has {len(chosen)}"
            )
        chosen += [pile.pop(0) for pile in filled]
    return shuffled(chosen[:k], setting.seed + 1)


def _shown_in_english(setting: Setting) -> dict[str, Any]:
    """The frame of the examples: the English one of the form, whatever frame the items have."""
    frame = setting.benchmark.config("en", english_form(setting))
    kept = ("doc_to_text", "doc_to_choice", "doc_to_target", "target_delimiter")
    return {"split": SHOWN, "sampler": "first_n"} | {k: frame[k] for k in kept if k in frame}


def _prepared(setting: Setting, language: str, k: int, part: str | None) -> Plan:
    if k < 1:
        raise MethodError(f"few-shot needs at least one example, not {k}")
    parts = (part,) if part else ("train", "development")
    _, docs = learning_docs(setting, language, *parts, what="few_shot")
    examples = choose_examples(setting, docs, k)
    return Plan(
        asked_docs(setting),
        setting.language,
        form_of(setting),
        shots=k,
        examples=examples,
        chosen_on=chosen_ids(examples),
        settings={
            "k": k,
            "examples_in": language,
            "examples": [doc["id"] for doc in examples],
        },
    )


FEW_SHOT = EvaluationMethod("few_shot", "Few-shot", few_shot, stage=Stage.SOON)
FEW_SHOT_ENGLISH = EvaluationMethod(
    "few_shot_english", "Few-shot, English examples", few_shot_english, stage=Stage.SOON
)
