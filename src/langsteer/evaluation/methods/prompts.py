"""Prompts: an instruction, a chain of thought, cross-lingual-thought prompting.

The instructions are the benchmark's. A chain of thought (Kojima et al., arXiv 2205.11916, in English as in
Shi et al., arXiv 2210.03057) and cross-lingual-thought prompting (XLT; Huang et al., arXiv 2305.07004)
let the model write first: where answers are scored, they are scored after what it wrote and the form's
own last line; where the answer is written, it is written in one go.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from pydantic import PositiveInt

from langsteer.errors import MethodError
from langsteer.evaluation.benchmarks import Doc
from langsteer.evaluation.methods.asking import Rendered, render, write
from langsteer.evaluation.methods.common import (
    PROMPT,
    EvaluationMethod,
    Plan,
    Setting,
    Stage,
    asked_docs,
    form_of,
)
from langsteer.steering.change import Change
from langsteer.text.languages import language_name

STEP_BY_STEP = "Let's think step by step in English."
REASONING_TOKENS = {"choice": 64, "generate": 256}

# The parts of XLT in their order: role, input, retelling in English, what to do, step by step, format.
XLT_BEFORE = "You are an expert who understands {language} and solves tasks step by step.\n\n"
XLT_AFTER = (
    "\n\nFirst say in English what the {language} text above means. Then do the task: {task} "
    "Think it through step by step in English, and end with the answer in the form asked for.\n"
    "In English, the text says:"
)


def native_instruction(setting: Setting) -> Plan:
    return _instructed(setting, setting.language)


def english_instruction(setting: Setting) -> Plan:
    return _instructed(setting, "en")


def chain_of_thought(
    setting: Setting,
    tokens: PositiveInt | None = None,
    cue: str = STEP_BY_STEP,
    change: Change | None = None,
) -> Plan:
    """`tokens`: the most that the model writes, before its answers are scored where they are."""
    return _reasoned(setting, "chain_of_thought", lambda body: f"{body}\n{cue}", tokens, change)


def xlt(setting: Setting, tokens: PositiveInt | None = None, change: Change | None = None) -> Plan:
    name = language_name(setting.language)
    task = instruction_in(setting, "en")

    def wrap(body: str) -> str:
        after = XLT_AFTER.format(language=name, task=task)
        return XLT_BEFORE.format(language=name) + body + after

    return _reasoned(setting, "xlt", wrap, tokens, change)


def instruction_in(setting: Setting, language: str) -> str:
    """The benchmark's instruction. Raises MethodError where it has none in the language."""
    instructions = setting.benchmark.instructions
    if language not in instructions:
        raise MethodError(
            f"{setting.benchmark.title} has no instruction in {language_name(language)} "
            f"({language}): it has {', '.join(sorted(instructions))}"
        )
    return instructions[language]


def with_instruction(setting: Setting, instruction: str, form: str) -> dict[str, str]:
    """Keys of the task that put a sentence before everything else."""
    own = setting.benchmark.config(setting.language, form).get("description") or ""
    return {"description": f"{instruction}\n\n{own}"}


def _instructed(setting: Setting, language: str) -> Plan:
    form = form_of(setting)
    instruction = instruction_in(setting, language)
    return Plan(
        asked_docs(setting),
        setting.language,
        form,
        config=with_instruction(setting, instruction, form),
        settings={"instruction": instruction},
    )


def _reasoned(
    setting: Setting,
    name: str,
    wrap: Callable[[str], str],
    tokens: int | None,
    change: Change | None,
) -> Plan:
    """`wrap` puts what is asked around the body of a prompt: the prompt less its last line."""
    benchmark = setting.benchmark
    tokens = REASONING_TOKENS[benchmark.kind] if tokens is None else tokens
    if tokens < 1:
        raise MethodError(
            f"{name}: the model must be let to write at least one token, not {tokens}"
        )
    if benchmark.kind == "generate" and benchmark.metric != "exact_match":
        raise MethodError(
            f"{name} is for tasks with one short answer, which the answer to {benchmark.title} is "
            "not: the reasoning would be judged with it"
        )
    form = form_of(setting)
    docs = asked_docs(setting)
    rendered = render(setting, setting.language, docs, form)
    if not all(item.prompt.strip() for item in rendered):
        raise MethodError(
            f"{name}: the {form} form of {benchmark.title} has no text before the answer; "
            f"choose another of its forms: {', '.join(benchmark.forms)}"
        )
    plan = Plan(docs, setting.language, form, settings={"tokens": tokens}, change=change)
    if benchmark.kind == "generate":
        prompts = [wrap(item.prompt) for item in rendered]
        writing = {"do_sample": False, "until": ["\n\n"], "max_gen_toks": tokens}
        config = {**_AS_IS, "generation_kwargs": writing}
        return replace(plan, docs=_prompted(rendered, prompts), config=config)
    parts = [split_cue(item.prompt) for item in rendered]
    asked = [wrap(body) for body, _ in parts]
    written = write(setting, docs, asked, tokens, ("\n\n",), change)
    prompts = [
        f"{before} {' '.join(thought.split())}\n{cue}"
        for before, thought, (_, cue) in zip(asked, written.texts, parts, strict=True)
    ]
    return replace(
        plan,
        docs=_prompted(rendered, prompts),
        config=_AS_IS,
        extra_tokens=written.tokens,
        extra_seconds=written.seconds,
    )


_AS_IS = {"doc_to_text": "{{" + PROMPT + "}}", "description": ""}


def split_cue(prompt: str) -> tuple[str, str]:
    """A prompt's body and its last line; both are the whole of a prompt of one line."""
    body, _, cue = prompt.rpartition("\n")
    return (body, cue) if body.strip() and cue.strip() else (prompt, prompt)


def _prompted(rendered: Sequence[Rendered], prompts: Sequence[str]) -> list[Doc]:
    return [{**item.doc, PROMPT: text} for item, text in zip(rendered, prompts, strict=True)]


NATIVE_INSTRUCTION = EvaluationMethod(
    "native_instruction", "Native instruction", native_instruction, stage=Stage.SOON
)
ENGLISH_INSTRUCTION = EvaluationMethod(
    "english_instruction", "English instruction", english_instruction, stage=Stage.SOON
)
CHAIN_OF_THOUGHT = EvaluationMethod(
    "chain_of_thought", "English chain of thought", chain_of_thought
)
XLT = EvaluationMethod("xlt", "Cross-lingual-thought prompting", xlt, stage=Stage.SOON)
