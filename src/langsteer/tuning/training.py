"""The training that SFT, DPO and the benchmark's LoRA share: the order, checkpoints, the trainer.

The training loop is trl's. A run that was stopped goes on from its last whole checkpoint.
"""

import contextlib
import gc
import importlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsteer.model.model import Model
from langsteer.progress import quiet, track
from langsteer.storage.files import save_errors, write_json
from langsteer.storage.kept import read_record
from langsteer.tuning.adapter import LoraOptions

NEAR = 8  # steps among which rows of like length are sought
_PROGRESS = "seconds.json"


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, random numbers depend on `seed` alone; outside, they go on as if nothing had been."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", FutureWarning)
        importlib.import_module("transformers").set_seed(seed)
        yield


def autocast(model: Model, half: bool) -> Any:
    """A context in which matrices are multiplied in bfloat16, or not."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=half)


def schedule(lengths: Sequence[int], options: LoraOptions) -> list[int]:
    """Which items are learnt from, in order, step by step, for all passes.

    A step's items are of like length. What is left over at the end of a pass is left out of it.
    """
    size = min(options.batch, len(lengths))
    a_pass = len(lengths) // size
    steps = options.steps or max(1, round(options.epochs * len(lengths) / size))
    random = torch.Generator().manual_seed(options.seed)
    groups: list[list[int]] = []
    while len(groups) < steps:
        order = torch.randperm(len(lengths), generator=random).tolist()[: a_pass * size]
        near = [
            sorted(order[i : i + NEAR * size], key=lambda j: lengths[j])
            for i in range(0, len(order), NEAR * size)
        ]
        alike = [part[i : i + size] for part in near for i in range(0, len(part), size)]
        groups += [alike[i] for i in torch.randperm(len(alike), generator=random).tolist()]
    return [i for group in groups[:steps] for i in group]


def train(
    kinds: tuple[Any, Any],
    tuned: Model,
    order: Sequence[int],
    inputs: Callable[[Sequence[int]], dict[str, Tensor]],
    loss: Callable[[dict[str, Tensor]], Tensor],
    checkpoints: Path,
    options: LoraOptions,
    label: str | None = None,
    **config: Any,
) -> float:
    """Train the adapter of `tuned`, in place; returns the seconds it took, stops left out.

    `kinds` are trl's trainer and the class of its configuration, to which `config` goes. `order`
    numbers the items to learn from; `inputs` makes a batch of their numbers, and `loss` is that
    of a batch. A run that was stopped goes on from the last whole checkpoint.
    """
    clock = _clock(checkpoints, label)
    trainer = _trainer(kinds, tuned, order, inputs, loss, checkpoints, options, config)
    trainer.add_callback(clock)
    try:
        with quiet("transformers.trainer_utils"), save_errors(checkpoints):
            trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    finally:
        clock.bar.close()
    del trainer
    gc.collect()  # a trainer is full of cycles, and holds a whole model
    return float(clock.seconds())


def _trainer(
    kinds: tuple[Any, Any],
    tuned: Model,
    order: Sequence[int],
    inputs: Callable[[Sequence[int]], dict[str, Tensor]],
    loss: Callable[[dict[str, Tensor]], Tensor],
    folder: Path,
    options: LoraOptions,
    config: Mapping[str, Any],
) -> Any:
    datasets = importlib.import_module("datasets")
    parent, configuration = kinds

    class AnswerTrainer(parent):  # type: ignore[misc, valid-type]
        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Tensor],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            with autocast(tuned, options.half):
                value = loss(dict(inputs))
            return (value, None) if return_outputs else value

        def _prepare_dataset(self, dataset: Any, *args: Any, **more: Any) -> Any:
            return dataset  # of numbers: `inputs` makes tokens of them

        def _send_telemetry(self) -> None:
            """trl would tell its makers of each run; nobody asked the user."""

    known = set(tuned.network.peft_config)
    trainer = AnswerTrainer(
        model=tuned.network,
        args=_configuration(configuration, tuned, folder, options, config),
        train_dataset=datasets.Dataset.from_list([{"item": i} for i in order]),
        processing_class=tuned.tokenizer,
        data_collator=lambda rows: inputs([row["item"] for row in rows]),
    )
    trainer.remove_callback(importlib.import_module("transformers").PrinterCallback)
    for name in set(tuned.network.peft_config) - known:
        tuned.network.delete_adapter(name)  # trl's copy for reference, which is not used
    return trainer


def _configuration(
    kind: Any, tuned: Model, folder: Path, options: LoraOptions, config: Mapping[str, Any]
) -> Any:
    """The trainer's configuration: checkpoints in `folder`, and nothing reported."""
    return kind(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=options.batch,
        learning_rate=options.rate,
        lr_scheduler_type="linear",
        warmup_steps=0.05,
        weight_decay=0.0,
        seed=options.seed,
        bf16=False,
        use_cpu=tuned.device.type == "cpu",
        gradient_checkpointing=False,
        save_strategy="steps",
        save_steps=0.2,
        save_total_limit=1,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        train_sampling_strategy="sequential",
        **config,
    )


def _clock(folder: Path, label: str | None) -> Any:
    """A callback that keeps the seconds trained so far beside each checkpoint, and shows progress."""
    transformers = importlib.import_module("transformers")
    before = _seconds_before(folder)

    class Clock(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.start = time.perf_counter()
            self.bar: Iterator[int] = track((), None)

        def seconds(self) -> float:
            return before + time.perf_counter() - self.start

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            left = range(state.global_step, state.max_steps)
            self.bar = track(left, label and f"{label} ({len(left)} steps)", len(left))
            next(self.bar, None)

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            next(self.bar, None)

        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            (folder / _PROGRESS).write_text(json.dumps(self.seconds()), encoding="utf-8")

    return Clock()


def start_afresh(folder: Path, about: Mapping[str, Any]) -> bool:
    """Throw away checkpoints of a run with other items or options; whether there were any."""
    mark = folder / "about.json"
    there = mark.exists()
    same = read_record(mark) == about
    if not same:
        remove(folder)
        write_json(mark, about)
    return there and not same


def last_checkpoint(folder: Path) -> str | None:
    """The latest checkpoint that was written to its end."""
    complete = [
        path
        for path in folder.glob("checkpoint-*")
        if (path / "trainer_state.json").is_file() and (path / "adapter_config.json").is_file()
    ]
    complete.sort(key=lambda path: int(path.name.rpartition("-")[2]))
    return str(complete[-1]) if complete else None


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _seconds_before(folder: Path) -> float:
    if last_checkpoint(folder) is None:
        return 0.0
    try:
        return float(json.loads((folder / _PROGRESS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0.0
