"""Prompt optimisation: the best of a pool of prompts, by accuracy on development items.

The pool is the benchmark's forms times its instructions, a few written prompts, those of a file, and those
that an optimiser of dspy (Khattab et al., arXiv 2310.03714) proposes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt

from langsteer.errors import MethodError
from langsteer.evaluation.benchmarks import Doc
from langsteer.evaluation.methods.asking import Rendered, accuracy, render
from langsteer.evaluation.methods.common import (
    EvaluationMethod,
    Plan,
    Setting,
    asked_docs,
    chosen_ids,
    digest,
    form_of,
    learning_docs,
    shuffled,
)
from langsteer.evaluation.methods.prompts import instruction_in, with_instruction
from langsteer.extras import need
from langsteer.progress import track
from langsteer.storage.files import write_json
from langsteer.storage.kept import kept
from langsteer.storage.parsed import not_yaml, parse_json, parse_yaml
from langsteer.text.languages import language_name

ITEMS = 100

WRITTEN = (
    "The following is a question about a text in {language}.",
    "You are an expert in {language}. {task}",
    "Read the {language} text, think of what it means in English, then answer. {task}",
    "{task} Answer with nothing but the answer.",
)


@dataclass(frozen=True)
class Candidate:
    """One of a pool: a form of the benchmark, what stands before it, and keys of the task changed.

    In `instruction`, {language} is the language's English name, and {task} the benchmark's
    English instruction. `config` may hold doc_to_text, doc_to_choice and target_delimiter.
    """

    name: str
    form: str
    instruction: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tried:
    """How well a prompt did on the development items."""

    prompt: Candidate
    accuracy: float
    log_probability: float


CONFIGURABLE = ("doc_to_text", "doc_to_choice", "target_delimiter")


def prompt_optimisation(
    setting: Setting,
    pool: str | Path | Sequence[Mapping[str, Any]] | None = None,
    only: bool = False,
    items: PositiveInt = ITEMS,
    calibrated: bool = False,
    optimiser: Literal["dspy"] | None = None,
    proposer: str | None = None,
) -> Plan:
    """Ask with the best prompt; ties go to the likelier right answers, then to the earlier.

    `pool` adds prompts, from a JSON or YAML file or as mappings; with `only`, there are no others.
    `items` bounds the development items. `calibrated`: by batch-calibrated accuracy. Raises
    MethodError for a pool that cannot be used, and MissingExtraError without dspy.
    """
    benchmark = setting.benchmark
    if benchmark.kind != "choice":
        raise MethodError(
            f"prompt_optimisation chooses by accuracy, and {benchmark.title} has no answer choices"
        )
    _, docs = learning_docs(
        setting, setting.language, "development", "train", what="prompt_optimisation"
    )
    docs = shuffled(docs, setting.seed)[:items]
    prompts = [] if only else own_pool(setting)
    prompts += read_pool(setting, pool) if pool is not None else []
    if optimiser is not None:
        prompts += proposed(setting, docs, optimiser, proposer)
    if not prompts:
        raise MethodError("prompt_optimisation: the pool has no prompt")
    path = setting.work / "prompts" / benchmark.name / f"{setting.language}.json"
    about = {
        "model": setting.model.fingerprint,
        "items": digest(docs),
        "prompts": [asdict(prompt) for prompt in prompts],
        "calibrated": calibrated,
    }
    tried, seconds = kept(
        path, about, _read_tried, lambda: _try_all(setting, docs, prompts, calibrated, path)
    )
    best = max(tried, key=lambda t: (t.accuracy, t.log_probability))
    return Plan(
        asked_docs(setting),
        setting.language,
        best.prompt.form,
        config=keys_of(setting, best.prompt),
        chosen_on=chosen_ids(docs),
        settings={
            "prompt": asdict(best.prompt),
            "development_accuracy": best.accuracy,
            "pool": [{"name": t.prompt.name, "accuracy": t.accuracy} for t in tried],
        },
        training_seconds=seconds,
    )


def own_pool(setting: Setting) -> list[Candidate]:
    """The benchmark's forms, bare and with each instruction, and the usual form as written here."""
    forms = setting.benchmark.forms_of(setting.language)
    usual = form_of(setting)
    prompts = []
    for form in dict.fromkeys((usual, *forms)):
        prompts.append(Candidate(form, form))
        for tag in dict.fromkeys(("en", setting.language)):
            if tag in setting.benchmark.instructions:
                name = f"{form}, instruction in {tag}"
                prompts.append(Candidate(name, form, instruction_in(setting, tag)))
    if "en" in setting.benchmark.instructions:
        prompts += [Candidate(text, usual, text) for text in WRITTEN]
    return prompts


def read_pool(setting: Setting, pool: str | Path | Sequence[Mapping[str, Any]]) -> list[Candidate]:
    """Prompts of a file, or given as mappings with the fields of `Candidate`, of which all may lack."""
    rows, where = (
        (_read_file(Path(pool)), str(pool)) if isinstance(pool, str | Path) else (pool, "pool")
    )
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise MethodError(f"{where}: a pool of prompts is a list of mappings")
    return [_prompt(setting, row, f"{where}, prompt {n}") for n, row in enumerate(rows, 1)]


def keys_of(setting: Setting, prompt: Candidate) -> dict[str, Any]:
    """The keys of the harness's task that a prompt changes."""
    keys = dict(prompt.config)
    if prompt.instruction:
        text = prompt.instruction
        if "{language}" in text:
            text = text.replace("{language}", language_name(setting.language))
        if "{task}" in text:
            text = text.replace("{task}", instruction_in(setting, "en"))
        keys |= with_instruction(setting, text, prompt.form)
    return keys


def proposed(
    setting: Setting, docs: Sequence[Doc], optimiser: str, proposer: str | None = None
) -> list[Candidate]:
    """Instructions that an optimiser proposes for the usual form, with the model `proposer`."""
    if optimiser != "dspy":
        raise MethodError(f"prompt_optimisation has no optimiser {optimiser!r}; it has 'dspy'")
    need("dspy", "dspy", "optimiser='dspy'")
    from langsteer.evaluation.methods import dspy_prompts

    form = form_of(setting)
    instructions = dspy_prompts.propose(setting, docs, form, proposer)
    return [Candidate(f"dspy {n}", form, text) for n, text in enumerate(instructions, 1)]


def _try_all(
    setting: Setting,
    docs: Sequence[Doc],
    prompts: Sequence[Candidate],
    calibrated: bool,
    path: Path,
) -> list[Tried]:
    tried = [
        Tried(prompt, *accuracy(setting, _rendered(setting, docs, prompt), calibrated))
        for prompt in track(prompts, "Trying prompts", len(prompts))
    ]
    write_json(path, [asdict(t) for t in tried])
    return tried


def _rendered(setting: Setting, docs: Sequence[Doc], prompt: Candidate) -> list[Rendered]:
    return render(setting, setting.language, docs, prompt.form, keys_of(setting, prompt))


def _read_tried(path: Path) -> list[Tried]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Tried(**{**row, "prompt": Candidate(**row["prompt"])}) for row in rows]


def _read_file(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MethodError(f"cannot read the pool of prompts {path}: {error}") from error
    try:
        if path.suffix == ".json":
            return parse_json(text)
        return parse_yaml(text)
    except Exception as error:
        if isinstance(error, ValueError) or type(error).__module__.startswith("yaml"):
            raise MethodError(not_yaml(path, error, "JSON or YAML")) from error
        raise


def _prompt(setting: Setting, row: Mapping[str, Any], where: str) -> Candidate:
    known = [f.name for f in fields(Candidate)]
    if unknown := _beyond(row, known):
        raise MethodError(f"{where}: no field {unknown}; there are {', '.join(known)}")
    config = row.get("config", {})
    if not isinstance(config, Mapping) or (unknown := _beyond(config, CONFIGURABLE)):
        raise MethodError(f"{where}: config may hold {', '.join(CONFIGURABLE)}")
    form = row.get("form", form_of(setting))
    forms = setting.benchmark.forms_of(setting.language)
    if form not in forms:
        raise MethodError(f"{where}: no form {form!r}; there are {', '.join(forms)}")
    instruction = str(row.get("instruction", ""))
    return Candidate(str(row.get("name") or instruction or where), form, instruction, dict(config))


def _beyond(given: Iterable[str], known: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in given if name not in known)


PROMPT_OPTIMISATION = EvaluationMethod(
    "prompt_optimisation", "Prompt optimisation", prompt_optimisation
)
