"""Fine-tuning: LoRA (Hu et al., arXiv 2106.09685) on the benchmark's own training items.

On those in the language (`lora_sft`: supervised fine-tuning), or on those in English only (`lora_english`:
cross-lingual transfer). Items are rendered as they are asked; the loss is on the answer's tokens alone, and
the head is applied only there. The adapter is an ordinary PEFT folder.
"""

import copy
import gc
import importlib
import json
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from langsteer.errors import MethodError, MissingExtraError
from langsteer.evaluation.methods.asking import Rendered, render
from langsteer.evaluation.methods.common import (
    Method,
    Plan,
    Setting,
    asked_docs,
    chosen_ids,
    digest,
    english_form,
    form_of,
    kept,
    learning_docs,
    shuffled,
)
from langsteer.files import write_json
from langsteer.models import Model, wrap_model
from langsteer.progress import quiet

IGNORED = -100
NEAR = 8  # steps among which items of like length are sought

Row = dict[str, list[int]]
PROGRESS = "seconds.json"


@dataclass(frozen=True)
class LoraOptions:
    """`rate`: Adam's, falling to zero. `most` bounds the training items; `epochs` counts passes.

    `rank` and `scale` (alpha ÷ rank) are of the adapter on every linear module. `steps`, where
    given, takes the place of epochs. `half`: multiply in bfloat16; the adapter is in float32
    all the same.
    """

    rank: int = 8
    scale: float = 2.0
    dropout: float = 0.0
    epochs: float = 2.0
    steps: int | None = None
    rate: float = 1e-3
    batch: int = 8
    most: int | None = None
    half: bool = True
    seed: int = 0


def lora_sft(setting: Setting, **options: Any) -> Plan:
    """Tuned on training items in the language. Options are those of `LoraOptions`."""
    return _plan(setting, "lora_sft", setting.language, form_of(setting), options)


def lora_english(setting: Setting, **options: Any) -> Plan:
    """Tuned on the same training items in English; one adapter for all languages."""
    return _plan(setting, "lora_english", "en", english_form(setting), options)


def tune(
    model: Model, items: Sequence[Rendered], folder: Path, options: LoraOptions = LoraOptions()
) -> float:
    """Train an adapter into `folder`; the model stays as it is. Returns the seconds it took.

    A run that was stopped goes on from its last checkpoint. Raises MissingExtraError without peft
    and trl, and MethodError where there is nothing to learn from.
    """
    peft, trl = _libraries()
    encoded = [_encode(model, item) for item in items]
    if not encoded or options.batch < 1:
        raise MethodError("LoRA needs at least one training item, and one item a step")
    network = copy.deepcopy(model.network)
    if model.device.type == "cpu":  # where autocast is several times faster than bfloat16 weights
        network = network.float()
    adapter = peft.LoraConfig(
        r=options.rank,
        lora_alpha=options.rank * options.scale,
        lora_dropout=options.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    checkpoints = folder / "checkpoints"
    before = _seconds_before(checkpoints)
    transformers = importlib.import_module("transformers")
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", FutureWarning)
        transformers.set_seed(options.seed)
        trainer = _trainer(trl, model, network, encoded, adapter, checkpoints, options)
        clock = _clock(checkpoints, before)
        trainer.add_callback(clock)
        with quiet("transformers.trainer_utils"):
            trainer.train(resume_from_checkpoint=_last_checkpoint(checkpoints))
    trainer.model.save_pretrained(str(folder))
    _remove(checkpoints)
    del trainer, network
    gc.collect()  # a trainer is full of cycles, and holds a whole model
    return float(clock.seconds())


def open_tuned(model: Model, folder: Path, name: str) -> Model:
    """A copy of the model with an adapter on: merged in float32, else beside the weights."""
    peft = _libraries()[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network = peft.PeftModel.from_pretrained(copy.deepcopy(model.network), str(folder)).eval()
    if model.dtype == torch.float32:
        network = network.merge_and_unload()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return wrap_model(network.eval(), model.tokenizer, name=name)


def _plan(setting: Setting, method: str, language: str, form: str, given: dict[str, Any]) -> Plan:
    try:
        options = LoraOptions(**({"seed": setting.seed} | given))
    except TypeError as error:
        known = ", ".join(LoraOptions.__dataclass_fields__)
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
        _start_afresh(folder, about)
        spent[0] = tune(setting.model, items, folder, options)
        return folder

    found, seconds = kept(folder, about, load, make, lambda: spent[0])
    name = f"{setting.model.name} + {method} {language}"
    return Plan(
        asked_docs(setting),
        setting.language,
        form_of(setting),
        model=open_tuned(setting.model, found, name),
        chosen_on=chosen_ids(docs),
        settings={
            **asdict(options),
            "trained_on": f"{part} in {language}",
            "items": len(docs),
            "training_ids": [doc["id"] for doc in docs],
        },
        training_seconds=seconds,
    )


def schedule(encoded: Sequence[Row], options: LoraOptions) -> list[Row]:
    """The items in the order in which they are learnt from, step by step, for all passes.

    A step's items are of like length. What is left over at the end of a pass is left out of it.
    """
    size = min(options.batch, len(encoded))
    a_pass = len(encoded) // size
    steps = options.steps or max(1, round(options.epochs * len(encoded) / size))
    random = torch.Generator().manual_seed(options.seed)
    groups: list[list[int]] = []
    while len(groups) < steps:
        order = torch.randperm(len(encoded), generator=random).tolist()[: a_pass * size]
        near = [
            sorted(order[i : i + NEAR * size], key=lambda j: len(encoded[j]["input_ids"]))
            for i in range(0, len(order), NEAR * size)
        ]
        alike = [part[i : i + size] for part in near for i in range(0, len(part), size)]
        groups += [alike[i] for i in torch.randperm(len(alike), generator=random).tolist()]
    return [encoded[i] for group in groups[:steps] for i in group]


def _encode(model: Model, item: Rendered) -> Row:
    """Ids of prompt and answer, as the harness splits them, and what the loss is on."""
    prompt, answer = item.prompt, item.answers[item.target]
    spaces = len(prompt) - len(prompt.rstrip())
    start = model.tokenizer(prompt[: len(prompt) - spaces])["input_ids"]
    ids = model.tokenizer(prompt + answer)["input_ids"]
    if len(ids) <= len(start):
        raise MethodError(f"the answer {answer!r} tokenises to nothing: it cannot be learnt")
    return {"input_ids": ids, "labels": [IGNORED] * len(start) + ids[len(start) :]}


def _collate(model: Model, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    inputs = model.batch([row["input_ids"] for row in rows])
    width = inputs["input_ids"].shape[1]
    labels = torch.full((len(rows), width), IGNORED)
    for place, row in enumerate(rows):
        labels[place, width - len(row["labels"]) :] = torch.tensor(row["labels"])
    return {**inputs, "labels": labels}


def _answer_loss(model: Model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean over items of the cross-entropy of their answers' tokens."""
    labels = inputs.pop("labels")
    rows, columns = (labels != IGNORED).nonzero(as_tuple=True)
    states = model.run_decoder(inputs)
    logits = model.logits_of(states[rows.to(states.device), columns.to(states.device) - 1]).float()
    wanted = labels[rows, columns].to(logits.device)
    return torch.nn.functional.cross_entropy(logits, wanted, reduction="sum") / len(labels)


def _trainer(
    trl: Any,
    model: Model,
    network: Any,
    encoded: Sequence[Row],
    adapter: Any,
    folder: Path,
    options: LoraOptions,
) -> Any:
    datasets = importlib.import_module("datasets")
    tuned = wrap_model(network, model.tokenizer)
    half = torch.autocast(model.device.type, torch.bfloat16, enabled=options.half)

    class AnswerTrainer(trl.SFTTrainer):  # type: ignore[misc]
        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            with half:
                loss = _answer_loss(tuned, dict(inputs))
            return (loss, None) if return_outputs else loss

        def _send_telemetry(self) -> None:
            """trl would tell its makers of each run; nobody asked the user."""

    on_cpu = model.device.type == "cpu"
    args = trl.SFTConfig(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=options.batch,
        learning_rate=options.rate,
        lr_scheduler_type="linear",
        warmup_steps=0.05,
        weight_decay=0.0,
        seed=options.seed,
        bf16=False,
        use_cpu=on_cpu,
        gradient_checkpointing=False,
        save_strategy="steps",
        save_steps=0.2,
        save_total_limit=1,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=False,
        train_sampling_strategy="sequential",
    )
    trainer = AnswerTrainer(
        model=network,
        args=args,
        train_dataset=datasets.Dataset.from_list(schedule(encoded, options)),
        processing_class=model.tokenizer,
        data_collator=lambda rows: _collate(model, rows),
        peft_config=adapter,
    )
    trainer.remove_callback(importlib.import_module("transformers").PrinterCallback)
    return trainer


def _clock(folder: Path, before: float) -> Any:
    """A callback that keeps the seconds trained so far beside each checkpoint."""
    transformers = importlib.import_module("transformers")

    class Clock(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.start = time.perf_counter()

        def seconds(self) -> float:
            return before + time.perf_counter() - self.start

        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            (folder / PROGRESS).write_text(json.dumps(self.seconds()), encoding="utf-8")

    return Clock()


def _libraries() -> tuple[Any, Any]:
    found = []
    for name in ("peft", "trl"):
        try:
            found.append(importlib.import_module(name))
        except ImportError as error:
            raise MissingExtraError("LoRA", name, "train") from error
    return found[0], found[1]


def _start_afresh(folder: Path, about: dict[str, Any]) -> None:
    """Throw away checkpoints of a run with other items or options."""
    mark = folder / "checkpoints" / "about.json"
    try:
        same = json.loads(mark.read_text(encoding="utf-8")) == about
    except (OSError, ValueError):
        same = False
    if not same:
        _remove(folder / "checkpoints")
        write_json(mark, about)


def _last_checkpoint(folder: Path) -> str | None:
    """The latest checkpoint that was written to its end."""
    found = [
        path
        for path in folder.glob("checkpoint-*")
        if (path / "trainer_state.json").is_file() and (path / "adapter_config.json").is_file()
    ]
    found.sort(key=lambda path: int(path.name.rpartition("-")[2]))
    return str(found[-1]) if found else None


def _seconds_before(folder: Path) -> float:
    if _last_checkpoint(folder) is None:
        return 0.0
    try:
        return float(json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0.0


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


LORA_SFT = Method("lora_sft", "LoRA fine-tuning (SFT)", lora_sft, kind="model")
LORA_ENGLISH = Method("lora_english", "LoRA on English only", lora_english, kind="model")
