"""The methods of a comparison, each a way to ask the same items, under one registry.

A stack such as `few_shot+learned` asks as the first does and steers as the second does. What asks in
English cannot be steered towards English. Fitting methods joined by `+` are the parts of a recipe (see
`langsteer.fitting.recipe`), such as `learned + mean_difference:10@generated*-0.5`. `learned@prompt` alone is `learned` as it is fitted and chosen for the text, at other tokens; with the option
`positions`, a method is fitted and chosen for those.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from langsteer.errors import MethodError
from langsteer.evaluation.benchmarks.loading import nearest
from langsteer.evaluation.methods.common import (
    EvaluationMethod,
    Plan,
    Setting,
    checking_options,
)
from langsteer.evaluation.methods.decoding import CONFUSION_GATE, ONLY_SCRIPT, WITHIN_REACH
from langsteer.evaluation.methods.direct import DIRECT, ENGLISH
from langsteer.evaluation.methods.few_shot import FEW_SHOT, FEW_SHOT_ENGLISH
from langsteer.evaluation.methods.lora import LORA_ENGLISH, LORA_SFT
from langsteer.evaluation.methods.machine import TRANSLATE_MT
from langsteer.evaluation.methods.optimised import PROMPT_OPTIMISATION
from langsteer.evaluation.methods.prompts import (
    CHAIN_OF_THOUGHT,
    ENGLISH_INSTRUCTION,
    NATIVE_INSTRUCTION,
    XLT,
)
from langsteer.evaluation.methods.service import TRANSLATE_SERVICE
from langsteer.evaluation.methods.states import (
    CHANGES,
    STEERING,
    TOGETHER,
    describe_change,
    learned_change,
    recipe,
)
from langsteer.evaluation.methods.translate import SELF_TRANSLATE, TRANSLATE_FILE
from langsteer.fitting.methods import METHODS as FITTING_METHODS
from langsteer.fitting.names import DEFAULT_METHOD
from langsteer.fitting.recipe import is_recipe
from langsteer.states.intervention import POSITIONS
from langsteer.steering.change import Change

TOKENS = {
    "source": "the text",
    "prompt": "the whole prompt",
    "generated": "what is written",
    "all": "all tokens",
}

LOGITS = {method.name: method for method in (ONLY_SCRIPT, WITHIN_REACH, CONFUSION_GATE)}
"""What chooses among tokens as it is written; the first is a fitting method too, as a part of recipes."""

__all__ = [
    "EVALUATION_METHODS",
    "Change",
    "EvaluationMethod",
    "Plan",
    "Setting",
    "get_method",
    "in_order",
]

EVALUATION_METHODS: dict[str, EvaluationMethod] = {
    method.name: checking_options(method)
    for method in (
        DIRECT,
        ENGLISH,
        FEW_SHOT,
        FEW_SHOT_ENGLISH,
        NATIVE_INSTRUCTION,
        ENGLISH_INSTRUCTION,
        CHAIN_OF_THOUGHT,
        XLT,
        PROMPT_OPTIMISATION,
        SELF_TRANSLATE,
        TRANSLATE_MT,
        TRANSLATE_SERVICE,
        TRANSLATE_FILE,
        *LOGITS.values(),
        LORA_ENGLISH,
        LORA_SFT,
        *sorted(
            (method for method in STEERING if method.name not in LOGITS),
            key=lambda method: method.name == DEFAULT_METHOD,
        ),
        TOGETHER,
    )
}
"""In the order of a report: the usual fitting method after those that it is compared with."""


def get_method(name: str) -> EvaluationMethod:
    """The method of this name, the recipe, or the stack of two joined by `+`.

    Raises MethodError, with the nearest names, where there is none, and with the reason where two
    cannot be stacked.
    """
    if _is_recipe(name):
        return recipe(name)
    parts = name.split("+")
    first, _, rest = name.partition("+")
    if rest and _is_recipe(rest):
        return _stack(name, _single(first.strip()), recipe(rest))
    methods = [_single(part.strip()) for part in parts]
    if len(methods) == 1:
        return methods[0]
    if len(methods) > 2:
        raise MethodError(f"{name}: a stack is of two methods, not {len(methods)}")
    return _stack(name, *methods)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of methods as a report lists them: the registry's order, others after them by name.

    A method at other tokens follows the method; stacks follow what is alone; the upper bound is last.
    """
    places = {name: place for place, name in enumerate(EVALUATION_METHODS)}

    def key(name: str) -> tuple[bool, int, list[tuple[int, str]]]:
        parts = [part.strip() for part in name.split("+")]
        ranks = [places.get(part.partition("@")[0], len(places)) for part in parts]
        return name == ENGLISH.name, len(parts), list(zip(ranks, parts, strict=True))

    return sorted(names, key=key)


def _is_recipe(name: str) -> bool:
    """Whether all that is joined are fitting methods, and more is said than one of them and `@`."""
    if not is_recipe(name) or re.fullmatch(r"\w+@\w+", name.strip()):
        return False
    pieces = [piece.strip() for piece in re.split(r"\+(?![\d.])", name)]
    if len(pieces) == 2 and any(piece in LOGITS for piece in pieces):
        return False  # a stack
    bases = [re.match(r"\w*", piece) for piece in pieces]
    return all(base is not None and base[0] in FITTING_METHODS for base in bases)


def _single(name: str) -> EvaluationMethod:
    base, at, positions = name.partition("@")
    if base not in EVALUATION_METHODS:
        raise MethodError(f"there is no method {base!r}{nearest(base, list(EVALUATION_METHODS))}")
    return _at(EVALUATION_METHODS[base], positions) if at else EVALUATION_METHODS[base]


def _at(method: EvaluationMethod, positions: str) -> EvaluationMethod:
    """What changes hidden states, at other tokens."""
    name = f"{method.name}@{positions}"
    if method.kind != "states":
        raise MethodError(f"{name}: {method.name} changes no hidden states that have a position")
    if positions not in POSITIONS:
        raise MethodError(f"{name}: there are the positions {', '.join(POSITIONS)}")

    def prepare(setting: Setting, **options: Any) -> Plan:
        plan = method.prepare(setting, **options)
        moved = _moved(plan.change, positions)
        return replace(plan, change=moved, settings={**plan.settings, "positions": positions})

    title = f"{method.title}, at {TOKENS[positions]}"
    return replace(method, name=name, title=title, prepare=prepare)


def _moved(change: Any, positions: str) -> Any:
    return change.at(positions)


def _change(name: str, setting: Setting, options: Mapping[str, Any]) -> tuple[Change, float]:
    """The change of a method by name, and the seconds that it took to learn."""
    if _is_recipe(name):
        return learned_change(setting, name, **options)
    base, at, positions = name.partition("@")
    change, seconds = CHANGES[base](setting, base, **options)
    return (_moved(change, positions) if at else change), seconds


def _stack(name: str, first: EvaluationMethod, second: EvaluationMethod) -> EvaluationMethod:
    if second.kind != "states":
        raise MethodError(
            f"{name}: only steering or a projection can come second; {second.name} is neither"
        )
    if first.kind == "states":
        raise MethodError(
            f"{name}: {first.name} and {second.name} both change the hidden states, and the second "
            "was fitted on states that the first has not changed"
        )
    if first.kind == "text":
        raise MethodError(
            f"{name}: with {first.name} the text is English already, so there is nothing to steer"
        )

    def prepare(setting: Setting, steering: Mapping[str, Any] = {}, **options: Any) -> Plan:
        return _stacked(setting, first, second, steering, options)

    def check(options: Mapping[str, Any]) -> None:
        first.check_options({k: v for k, v in options.items() if k != "steering"})
        second.check_options(options.get("steering", {}))

    return EvaluationMethod(
        f"{first.name}+{second.name}",
        f"{first.title} + {second.title}",
        prepare,
        "stack",
        max(first.stage, second.stage),
        check_options=check,
    )


def _stacked(
    setting: Setting,
    first: EvaluationMethod,
    second: EvaluationMethod,
    steering: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Plan:
    """`steering` are the second's options. On a tuned model, the second is fitted on that model."""
    if "change" in inspect.signature(first.prepare).parameters:  # it lets the model write
        change, seconds = _change(second.name, setting, steering)
        plan = first.prepare(setting, change=change, **options)
    else:
        plan = first.prepare(setting, **options)
        inner = setting
        if plan.model is not None:
            folder = setting.work / "on" / first.name / setting.benchmark.name
            inner = replace(setting, model=plan.model, work=folder)
        change, seconds = _change(second.name, inner, steering)
    return replace(
        plan,
        change=change,
        settings={**plan.settings, second.name: describe_change(change)},
        training_seconds=plan.training_seconds + seconds,
    )
