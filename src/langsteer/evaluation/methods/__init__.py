"""The methods of a comparison, each a way to ask the same items, under one registry.

A stack such as `few_shot+learned` asks as the first does and steers as the second does. What asks in
English cannot be steered towards English, and hidden states are changed by one method at a time.
`learned@prompt` is `learned` as it is fitted and chosen for the text, at other tokens; with the option
`positions`, a method is fitted and chosen for those.
"""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langsteer.errors import MethodError
from langsteer.evaluation.benchmarks.loading import nearest
from langsteer.evaluation.methods.common import (
    Method,
    Plan,
    Setting,
    checking_options,
)
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
)
from langsteer.evaluation.methods.translate import SELF_TRANSLATE, TRANSLATE_FILE
from langsteer.states.intervention import POSITIONS
from langsteer.steering.change import Change

TOKENS = {
    "source": "the text",
    "prompt": "the whole prompt",
    "generated": "what is written",
    "all": "all tokens",
}

__all__ = ["METHODS", "Change", "Method", "Plan", "Setting", "get_method"]

METHODS: dict[str, Method] = {
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
        TRANSLATE_FILE,
        TRANSLATE_MT,
        TRANSLATE_SERVICE,
        SELF_TRANSLATE,
        LORA_SFT,
        LORA_ENGLISH,
        *STEERING,
        TOGETHER,
    )
}


def get_method(name: str) -> Method:
    """The method of this name, or the stack of two joined by `+`.

    Raises MethodError, with the nearest names, where there is none, and with the reason where two
    cannot be stacked.
    """
    parts = name.split("+")
    methods = [_one(part.strip()) for part in parts]
    if len(methods) == 1:
        return methods[0]
    if len(methods) > 2:
        raise MethodError(f"{name}: a stack is of two methods, not {len(methods)}")
    return _stack(name, *methods)


def _one(name: str) -> Method:
    base, at, positions = name.partition("@")
    if base not in METHODS:
        raise MethodError(f"there is no method {base!r}{nearest(base, list(METHODS))}")
    return _at(METHODS[base], positions) if at else METHODS[base]


def _at(method: Method, positions: str) -> Method:
    """What changes hidden states, at other tokens."""
    name = f"{method.name}@{positions}"
    if method.kind != "states":
        raise MethodError(f"{name}: {method.name} changes no hidden states that have a position")
    if positions not in POSITIONS:
        raise MethodError(f"{name}: there are the positions {', '.join(POSITIONS)}")

    def plan(setting: Setting, **options: Any) -> Plan:
        made = method.plan(setting, **options)
        moved = _moved(made.change, positions)
        return replace(made, change=moved, settings={**made.settings, "positions": positions})

    return Method(name, f"{method.title}, at {TOKENS[positions]}", plan, "states")


def _moved(change: Any, positions: str) -> Any:
    return change.at(positions)


def _change(name: str, setting: Setting, options: Mapping[str, Any]) -> tuple[Change, float]:
    """The change of a method by name, and the seconds that it took to learn."""
    base, at, positions = name.partition("@")
    change, seconds = CHANGES[base](setting, base, **options)
    return (_moved(change, positions) if at else change), seconds


def _stack(name: str, first: Method, second: Method) -> Method:
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

    def plan(setting: Setting, steering: Mapping[str, Any] = {}, **options: Any) -> Plan:
        return _stacked(setting, first, second, steering, options)

    return Method(f"{first.name}+{second.name}", f"{first.title} + {second.title}", plan, "stack")


def _stacked(
    setting: Setting,
    first: Method,
    second: Method,
    steering: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Plan:
    """`steering` are the second's options. On a tuned model, the second is fitted on that model."""
    if "change" in inspect.signature(first.plan).parameters:  # it lets the model write
        change, seconds = _change(second.name, setting, steering)
        plan = first.plan(setting, change=change, **options)
    else:
        plan = first.plan(setting, **options)
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
