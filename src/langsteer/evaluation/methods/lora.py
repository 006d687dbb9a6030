"""Fine-tuning: LoRA (Hu et al., arXiv 2106.09685) on the benchmark's own training items.

On those in the language (`lora_sft`: supervised fine-tuning), or on those in English only (`lora_english`:
cross-lingual transfer). Items are rendered as they are asked; the loss is on the answer's tokens alone, and
the head is applied only there. The adapter is an ordinary PEFT folder.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from langsteer.errors import MethodError
from langsteer.evaluation.methods.asking import Rendered, render
from langsteer.evaluation.methods.common import (
    EvaluationMethod,
    Plan,
    Setting,
    asked_docs,
    chosen_ids,
    digest,
    english_form,
    form_of,
    learning_docs,
    shuffled,
)
from langsteer.model.model import Model
from langsteer.storage.kept import kept
from langsteer.tuning.adapter import LoraOptions, adapted, libraries, open_tuned, save_adapter
from langsteer.tuning.answers import IGNORED, AnswerRow, answer_logprobs, collate
from langsteer.tuning.training import remove, schedule, seeded, start_afresh, train


@dataclass(frozen=True)
class ItemLoraOptions(LoraOptions):
    """Those of `LoraOptions`; `most` bounds the training items."""

    rank: int | None = 8
    rate: float = 1e-3
    most: int | None = None


def lora_sft(setting: Setting, **options: Any) -> Plan:
    """Tuned on training items in the language. Options are those of `ItemLoraOptions`."""
    return _prepared(setting, "lora_sft", setting.language, form_of(setting), options)


def lora_english(setting: Setting, **options: Any) -> Plan:
    """Tuned on the same training items in English; one adapter for all languages."""
    return _prepared(setting, "lora_english", "en", english_form(setting), options)


def tune(
    model: Model,
    items: Sequence[Rendered],
    folder: Path,
    options: ItemLoraOptions = ItemLoraOptions(),
) -> float:
    """Train an adapter into `folder`; the model stays as it is. Returns the seconds it took.

    A run that was stopped goes on from its last checkpoint. Raises MissingExtraError without peft
    and trl, and MethodError where there is nothing to learn from.
    """
    trl = libraries("LoRA")[1]
    encoded = [_encode(model, item) for item in items]
    if not encoded or options.batch < 1:
        raise MethodError("LoRA needs at least one training item, and one item a step")
    if hasattr(model.network, "peft_config"):
        raise MethodError(f"{model.name} has an adapter already: merge it before another is made")
    checkpoints = folder / "checkpoints"
    with seeded(options.seed):
        tuned = adapted(model, options)
        seconds = train(
            (trl.SFTTrainer, trl.SFTConfig),
            tuned,
            schedule([len(row["input_ids"]) for row in encoded], options),
            lambda chosen: collate(tuned, [encoded[i] for i in chosen]),
            lambda inputs: _answer_loss(tuned, inputs),
            checkpoints,
            options,
            "Fine-tuning",
        )
    save_adapter(tuned, folder)
    remove(checkpoints)
    return seconds


def _prepared(
    setting: Setting, method: str, language: str, form: str, given: dict[str, Any]
) -> Plan:
    try:
        options = ItemLoraOptions(**({"seed": setting.seed} | given))
    except TypeError as error:
        known = ", ".join(ItemLoraOptions.__dataclass_fields__)
        raise MethodError(f"{method} has no such option ({error}): it has {known}") from None
    part, docs = learning_docs(setting, language, "train", "development", what=method)
    docs = shuffled(docs, options.seed)[: options.most]
    if not docs:
        raise MethodError(f"{method} needs at least one training item")
    folder = setting.work / "adapters" / method / f"{setting.benchmark.name}_{language}_{form}"
    items = render(setting, language, docs, form)
    about = {
        "model": setting.model.fingerprint,
        "items": digest([(item.prompt, item.answers[item.target]) for item in items]),
        "options": asdict(options),
    }
    spent = [0.0]

    def load(path: Path) -> Path:
        if not (path / "adapter_config.json").is_file():
            raise MethodError(f"{path} holds no adapter")
        return path

    def make() -> Path:
        start_afresh(folder / "checkpoints", about)
        spent[0] = tune(setting.model, items, folder, options)
        return folder

    adapter, seconds = kept(folder, about, load, make, lambda: spent[0])
    name = f"{setting.model.name} + {method} {language}"
    return Plan(
        asked_docs(setting),
        setting.language,
        form_of(setting),
        model=open_tuned(setting.model, adapter, name),
        chosen_on=chosen_ids(docs),
        settings={
            **asdict(options),
            "trained_on": f"{part} in {language}",
            "items": len(docs),
            "training_ids": [doc["id"] for doc in docs],
        },
        training_seconds=seconds,
    )


def _encode(model: Model, item: Rendered) -> AnswerRow:
    """Ids of prompt and answer, as the harness splits them, and what the loss is on."""
    prompt, answer = item.prompt, item.answers[item.target]
    spaces = len(prompt) - len(prompt.rstrip())
    start = model.tokenizer(prompt[: len(prompt) - spaces])["input_ids"]
    ids = model.tokenizer(prompt + answer)["input_ids"]
    if len(ids) <= len(start):
        raise MethodError(f"the answer {answer!r} tokenises to nothing: it cannot be learnt")
    return {"input_ids": ids, "labels": [IGNORED] * len(start) + ids[len(start) :]}


def _answer_loss(model: Model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean over items of the cross-entropy of their answers' tokens."""
    return -answer_logprobs(model, inputs).sum() / len(inputs["labels"])


LORA_SFT = EvaluationMethod("lora_sft", "LoRA fine-tuning (SFT)", lora_sft, kind="model")
LORA_ENGLISH = EvaluationMethod(
    "lora_english", "LoRA on English only", lora_english, kind="model", serves_all=True
)
