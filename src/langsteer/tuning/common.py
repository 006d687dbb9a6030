"""What every fine-tuning shares: the adapter, the loss on answers, the order, checkpoints, the trainer.

LoRA (Hu et al., arXiv 2106.09685) is PEFT's, the training loop trl's. The head is applied at the answers'
tokens alone, some at a time: with 262,144 words it costs more than everything below it.
"""

import contextlib
import copy
import gc
import importlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, Protocol, TypedDict

import torch
from torch import Tensor

from langsteer.errors import MissingExtraError
from langsteer.model.model import Model, base_network
from langsteer.model.opening import wrap_model
from langsteer.progress import NOISY, quiet, track
from langsteer.states.intervention import intervene
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import save_errors, write_json

IGNORED = -100
ADAPTER = "default"  # the name that PEFT gives the adapter of a folder
NEAR = 8  # steps among which items of like length are sought
_HELD = 2**27  # logits that are held at a time
_PROGRESS = "seconds.json"


class Recipe(Protocol):
    """How an adapter is made and learnt: `scale` is alpha ÷ rank, `rate` Adam's, falling to zero.

    `epochs` counts passes over the items; `steps`, where given, takes their place. `half`: multiply
    in bfloat16; the adapter is in float32 all the same.
    """

    @property
    def rank(self) -> int | None: ...
    @property
    def scale(self) -> float: ...
    @property
    def dropout(self) -> float: ...
    @property
    def epochs(self) -> float: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def rate(self) -> float: ...
    @property
    def batch(self) -> int: ...
    @property
    def half(self) -> bool: ...
    @property
    def seed(self) -> int: ...


class Row(TypedDict):
    """One text: its ids, and what the loss is on: the id, or `IGNORED`.

    `steered` marks the tokens that a vector is added to, `vector` says which one.
    """

    input_ids: list[int]
    labels: list[int]
    steered: NotRequired[list[bool]]
    vector: NotRequired[int | None]


def libraries(feature: str) -> tuple[Any, Any]:
    """peft and trl; MissingExtraError where one is not installed."""
    found = []
    for name in ("peft", "trl"):
        try:
            with quiet(NOISY):
                found.append(importlib.import_module(name))
        except ImportError as error:
            raise MissingExtraError(feature, name, "train") from error
    return found[0], found[1]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, random numbers depend on `seed` alone; outside, they go on as if nothing had been."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", FutureWarning)
        importlib.import_module("transformers").set_seed(seed)
        yield


def adapted(model: Model, recipe: Recipe) -> Model:
    """A copy of the model whose adapter can be trained: its own where it has one, else a new one.

    It is named after its base. On a CPU weights are float32, where autocast is several times faster
    than bfloat16 weights.
    """
    peft = libraries("LoRA")[0]
    name = _base_name(model)
    network = copy.deepcopy(model.network)
    if model.device.type == "cpu":
        network = network.float()
    if isinstance(network, peft.PeftModel):
        config = network.peft_config[ADAPTER]
        config.inference_mode = False
        config.base_model_name_or_path = base_network(network).name_or_path  # where PEFT looks
        network.set_adapter(ADAPTER)
    else:
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        rank = recipe.rank or 8
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=rank * recipe.scale,
            lora_dropout=recipe.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        network = peft.get_peft_model(network, config)
    return wrap_model(network, model.tokenizer, name=name)


def _base_name(model: Model) -> str:
    """What `load_model` opens the model, or what an adapter of it was made for, by."""
    config = getattr(model.network, "peft_config", {}).get(ADAPTER)
    if config is not None and config.base_model_name_or_path:
        return str(config.base_model_name_or_path)
    path = Path(model.name).expanduser()
    return str(path.resolve()) if path.exists() else model.name


def save_adapter(tuned: Model, folder: Path) -> None:
    """Write the adapter of an `adapted` model as PEFT does, with the name of its base."""
    tuned.network.peft_config[ADAPTER].base_model_name_or_path = tuned.name
    with save_errors(folder):
        tuned.network.save_pretrained(
            str(folder), selected_adapters=[ADAPTER], save_embedding_layers=False
        )
    (folder / "README.md").unlink(missing_ok=True)  # an empty form that names a folder of here


def collate(model: Model, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Inputs of the decoder, padded on the left, and beside them `labels` [rows, tokens].

    Where a row is steered, also `steered`, boolean [rows, tokens], and `vector` [rows], -1 for none.
    """
    inputs = model.batch([row["input_ids"] for row in rows])
    width = inputs["input_ids"].shape[1]
    labels = torch.full((len(rows), width), IGNORED)
    steered = torch.zeros(len(rows), width, dtype=torch.bool)
    for place, row in enumerate(rows):
        labels[place, width - len(row["labels"]) :] = torch.tensor(row["labels"])
        if "steered" in row:
            steered[place, width - len(row["labels"]) :] = torch.tensor(row["steered"])
    inputs["labels"] = labels.to(model.device)
    if bool(steered.any()):
        which = [row.get("vector") for row in rows]
        inputs["steered"] = steered.to(model.device)
        inputs["vector"] = torch.tensor([-1 if i is None else i for i in which])
    return inputs


def answer_logprobs(
    model: Model, inputs: Mapping[str, Tensor], vectors: Sequence[SteeringVector] = ()
) -> Tensor:
    """Log-probability of each answer token, 0 elsewhere: float32 [rows, tokens], as `labels`.

    `inputs` are those of `collate`; `vectors` are those that its rows are steered by.
    """
    inputs = dict(inputs)
    labels = inputs.pop("labels")
    with _steering(model, vectors, inputs.pop("steered", None), inputs.pop("vector", None)):
        states = model.run_decoder(inputs)
    rows, columns = (labels != IGNORED).nonzero(as_tuple=True)
    here = states[rows.to(states.device), columns.to(states.device) - 1]
    found = token_logprobs(model, here, labels[rows, columns].to(states.device))
    result = torch.zeros(labels.shape, device=found.device)
    return result.index_put((rows.to(found.device), columns.to(found.device)), found)


def token_logprobs(model: Model, states: Tensor, wanted: Tensor) -> Tensor:
    """Log-probability of each id in `wanted` [n] after final-norm states [n, hidden]: float32 [n].

    Logits are made for some tokens at a time, and only their gradient is kept, unless the head
    itself is trained.
    """
    if any(parameter.requires_grad for parameter in model.head.parameters()):
        return _picked(model, states, wanted)
    return _Picked.apply(states, wanted, model)  # type: ignore[no-any-return, no-untyped-call]


class _Picked(torch.autograd.Function):
    """`_picked` in chunks. A token's log-probability depends on its own state alone, so that the
    gradients of all of a chunk are those of their sum, made while its logits are there.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, wanted: Tensor, model: Model) -> Tensor:
        size = max(1, _HELD // model.vocab_size)
        found, slopes = [], []
        for here, ids in zip(states.split(size), wanted.split(size), strict=True):
            with torch.set_grad_enabled(ctx.needs_input_grad[0]):
                leaf = here.detach().requires_grad_(ctx.needs_input_grad[0])
                values = _picked(model, leaf, ids)
            found.append(values.detach())
            if ctx.needs_input_grad[0]:
                slopes.append(torch.autograd.grad(values, leaf, torch.ones_like(values))[0])
        if slopes:
            ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(found) if found else states.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        (slopes,) = ctx.saved_tensors
        return (gradients[0][:, None] * slopes).to(slopes.dtype), None, None


def _picked(model: Model, states: Tensor, wanted: Tensor) -> Tensor:
    logits = model.logits_of(states).float()
    return -torch.nn.functional.cross_entropy(logits, wanted.to(logits.device), reduction="none")


@contextlib.contextmanager
def _steering(
    model: Model, vectors: Sequence[SteeringVector], where: Tensor | None, which: Tensor | None
) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for number, vector in enumerate(vectors):
            if where is None or which is None or not bool((which == number).any()):
                continue
            changes = [replace(c, rows=which == number) for c in vector.interventions()]
            stack.enter_context(intervene(model, changes, "source", where))
        yield


def autocast(model: Model, half: bool) -> Any:
    """A context in which matrices are multiplied in bfloat16, or not."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=half)


def schedule(lengths: Sequence[int], recipe: Recipe) -> list[int]:
    """Which items are learnt from, in order, step by step, for all passes.

    A step's items are of like length. What is left over at the end of a pass is left out of it.
    """
    size = min(recipe.batch, len(lengths))
    a_pass = len(lengths) // size
    steps = recipe.steps or max(1, round(recipe.epochs * len(lengths) / size))
    random = torch.Generator().manual_seed(recipe.seed)
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
    recipe: Recipe,
    label: str | None = None,
    **config: Any,
) -> float:
    """Train the adapter of `tuned`, in place; returns the seconds it took, stops left out.

    `kinds` are trl's trainer and the class of its configuration, to which `config` goes. `order`
    numbers the items to learn from; `inputs` makes a batch of their numbers, and `loss` is that
    of a batch. A run that was stopped goes on from the last whole checkpoint.
    """
    clock = _clock(checkpoints, label)
    trainer = _trainer(kinds, tuned, order, inputs, loss, checkpoints, recipe, config)
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
    recipe: Recipe,
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
            with autocast(tuned, recipe.half):
                found = loss(dict(inputs))
            return (found, None) if return_outputs else found

        def _prepare_dataset(self, dataset: Any, *args: Any, **more: Any) -> Any:
            return dataset  # of numbers: `inputs` makes tokens of them

        def _send_telemetry(self) -> None:
            """trl would tell its makers of each run; nobody asked the user."""

    args = configuration(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.rate,
        lr_scheduler_type="linear",
        warmup_steps=0.05,
        weight_decay=0.0,
        seed=recipe.seed,
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
    known = set(tuned.network.peft_config)
    trainer = AnswerTrainer(
        model=tuned.network,
        args=args,
        train_dataset=datasets.Dataset.from_list([{"item": i} for i in order]),
        processing_class=tuned.tokenizer,
        data_collator=lambda rows: inputs([row["item"] for row in rows]),
    )
    trainer.remove_callback(importlib.import_module("transformers").PrinterCallback)
    for name in set(tuned.network.peft_config) - known:
        tuned.network.delete_adapter(name)  # trl's copy for reference, which is not used
    return trainer


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
    try:
        same = json.loads(mark.read_text(encoding="utf-8")) == about
    except (OSError, ValueError):
        same = False
    if not same:
        remove(folder)
        write_json(mark, about)
    return there and not same


def last_checkpoint(folder: Path) -> str | None:
    """The latest checkpoint that was written to its end."""
    found = [
        path
        for path in folder.glob("checkpoint-*")
        if (path / "trainer_state.json").is_file() and (path / "adapter_config.json").is_file()
    ]
    found.sort(key=lambda path: int(path.name.rpartition("-")[2]))
    return str(found[-1]) if found else None


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _seconds_before(folder: Path) -> float:
    if last_checkpoint(folder) is None:
        return 0.0
    try:
        return float(json.loads((folder / _PROGRESS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0.0
