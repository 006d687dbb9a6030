"""One fine-tuning, from records to a folder: what SFT and DPO do around their losses.

    DIR.part/      while it runs: about.json, start.json, checkpoints/
    DIR/           when it is done: the adapter, the tokeniser with the template, vectors/, langsteer.json

A run that was stopped goes on when it is asked for again.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from langsteer.errors import TuneError
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens, batches, count_batches
from langsteer.progress import announce, track
from langsteer.states.intervention import steered_tokens
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import check_writable, write_json
from langsteer.storage.kept import as_kept, read_record
from langsteer.tuning.adapter import ADAPTER, LoraOptions, adapted, libraries
from langsteer.tuning.answers import IGNORED, AnswerRow, answer_logprobs, collate
from langsteer.tuning.data import Instructions, Record
from langsteer.tuning.folder import HeldOutScores, Tuned, described, finished, write_folder
from langsteer.tuning.prompts import answered, ending_of, prompt_of, template_of
from langsteer.tuning.training import autocast, schedule, seeded, start_afresh, train

ALL = "all"


@dataclass(frozen=True)
class TuneOptions(LoraOptions):
    """Those of `LoraOptions`, and what is learnt from.

    Records of more than `max_length` tokens are left out. `held_out` is the share of the ids that
    are not learnt from, in any language, and measured on.
    """

    max_length: int = 512
    held_out: float = 0.2


@dataclass(frozen=True)
class Example:
    """A record as tokens: what is asked, followed by one answer and by the other."""

    record: Record
    chosen: AnswerRow
    rejected: AnswerRow | None


@dataclass(eq=False)
class Job:
    """A fine-tuning under way. `start` is what the objective noted before the first step."""

    tuned: Model
    train: Sequence[Example]
    held: Sequence[Example]
    vectors: Sequence[SteeringVector]
    options: Any
    start: dict[str, Any] = field(default_factory=dict)

    def batch(self, rows: Sequence[AnswerRow]) -> dict[str, Tensor]:
        return collate(self.tuned, rows)

    def logprobs(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Log-probability of each row's answer, its tokens' together: float32 [rows]."""
        return answer_logprobs(self.tuned, inputs, self.vectors).sum(1)

    def measured(self, rows: Sequence[AnswerRow], label: str) -> list[float]:
        """The same of many rows, without gradients, in their order."""
        ids = [row["input_ids"] for row in rows]
        logprobs = [0.0] * len(rows)
        self.tuned.network.eval()
        for index in track(batches(ids), label, count_batches(ids)):
            with torch.no_grad(), autocast(self.tuned, self.options.half):
                values = self.logprobs(self.batch([rows[i] for i in index]))
            for i, value in zip(index, values.tolist(), strict=True):
                logprobs[i] = value
        return logprobs


class TuningObjective(Protocol):
    """What a fine-tuning makes better. `measure` gives each example held out its values, by name,
    and a `weight`; `begin` gives what has to be known of the model before the first step, as JSON.
    """

    @property
    def method(self) -> str: ...
    def kinds(self) -> tuple[Any, Any]: ...
    def config(self, job: Job) -> dict[str, Any]: ...
    def begin(self, job: Job) -> dict[str, Any]: ...
    def inputs(self, job: Job, numbers: Sequence[int]) -> dict[str, Tensor]: ...
    def loss(self, job: Job, inputs: dict[str, Tensor]) -> Tensor: ...
    def measure(self, job: Job) -> list[dict[str, float]]: ...


def tune(
    objective: TuningObjective,
    model: Model,
    instructions: Instructions,
    folder: str | Path,
    options: TuneOptions,
    vectors: Sequence[SteeringVector] = (),
    template: str | None = None,
    overwrite: bool = False,
) -> Tuned:
    """Tune a copy of the model towards an objective, and write its adapter into `folder`."""
    libraries("fine-tuning")
    _check(model, options)
    folder = Path(folder)
    form = template_of(model, template)
    parts = instructions.split(options.held_out, options.seed)
    _check_vectors(model, vectors, parts[0])
    learnt, held = (examples(model, part, form, vectors, options.max_length) for part in parts)
    if not learnt:
        raise TuneError(f"no record of {instructions.name} has at most {options.max_length} tokens")
    about = _about(objective.method, model, learnt, held, vectors, form, options)
    already_tuned = finished(folder, about, overwrite)
    if already_tuned is not None:
        return already_tuned
    place = folder.resolve()  # a link stays a link, on the disk to which it leads
    work = place.with_name(f"{place.name}.part")
    check_writable(work / "about.json")
    if start_afresh(work, about):
        announce(f"{work} was of a run with other records or options: beginning anew")
    with seeded(options.seed):
        job = Job(adapted(model, options), learnt, held, vectors, options)
        job.start = _noted(work / "start.json", objective, job)
        order = schedule([len(e.chosen["input_ids"]) for e in learnt], options)
        seconds = _train(objective, job, order, work / "checkpoints")
        after = scores(held, objective.measure(job)) if held else {}
    result = Tuned(
        method=objective.method,
        folder=str(folder),
        model=model.name,
        records=_counts(learnt),
        held_out=_counts(held),
        too_long=len(instructions) - len(learnt) - len(held),
        steps=len(order) // min(options.batch, len(learnt)),
        seconds=round(seconds, 1),
        before=job.start["before"],
        after=after,
        vectors=tuple(described(vector) for vector in vectors),
    )
    write_folder(place, job.tuned, vectors, form, result, about, work)
    return result


def _train(objective: TuningObjective, job: Job, order: Sequence[int], checkpoints: Path) -> float:
    """Train the job's adapter on its examples in this order; returns the seconds it took."""
    return train(
        objective.kinds(),
        job.tuned,
        order,
        lambda numbers: objective.inputs(job, numbers),
        lambda inputs: objective.loss(job, inputs),
        checkpoints,
        job.options,
        objective.method.upper(),
        **objective.config(job),
    )


def examples(
    model: Model,
    records: Instructions,
    template: str,
    vectors: Sequence[SteeringVector] = (),
    max_length: int = 512,
) -> list[Example]:
    """Records as tokens, less those with an answer that makes them too long."""
    ending = ending_of(model, template)
    known = []
    for record in records:
        prompt = prompt_of(model, template, record)
        number = _vector_of(record, vectors)
        vector = None if number is None else vectors[number]
        rows: list[AnswerRow] = []
        for answer in (record.chosen, *([record.rejected] if record.rejected else [])):
            row = _row(model, *answered(model, prompt, answer, ending), vector)
            rows.append(row if number is None else {**row, "vector": number})
        if max(len(row["input_ids"]) for row in rows) <= max_length:
            known.append(Example(record, rows[0], rows[1] if len(rows) > 1 else None))
    return known


def scores(held: Sequence[Example], values: Sequence[Mapping[str, float]]) -> HeldOutScores:
    """Weighted means of what was measured on each example: of all, and by language."""
    groups: dict[str, list[Mapping[str, float]]] = {ALL: list(values)}
    for example, value in zip(held, values, strict=True):
        groups.setdefault(example.record.language or "", []).append(value)
    return {
        tag: {
            name: sum(v[name] * v["weight"] for v in group) / sum(v["weight"] for v in group)
            for name in group[0]
            if name != "weight"
        }
        for tag, group in groups.items()
        if tag
    }


def _row(model: Model, tokens: Tokens, start: int, vector: SteeringVector | None) -> AnswerRow:
    """A text whose answer begins at `start`, and which of its tokens the vector is added to."""
    row: AnswerRow = {
        "input_ids": tokens.ids,
        "labels": [IGNORED] * start + tokens.ids[start:],
    }
    if vector is not None:
        where = steered_tokens(
            vector.positions,
            source=torch.tensor(tokens.source),
            prompt=torch.arange(len(tokens)) < start,
            never=torch.tensor([i == 0 and t == model.bos_id for i, t in enumerate(tokens.ids)]),
        )
        row["steered"] = where.tolist()
    return row


def _vector_of(record: Record, vectors: Sequence[SteeringVector]) -> int | None:
    """The vector of the record's language; where it names none, the only one."""
    if record.language is None:
        return 0 if len(vectors) == 1 else None
    return next((i for i, v in enumerate(vectors) if v.language == record.language), None)


def _check(model: Model, options: TuneOptions) -> None:
    peft = libraries("fine-tuning")[0]
    positive = ("rank", "epochs", "steps", "rate", "batch", "max_length", "scale", "beta")
    for name in positive:
        value = getattr(options, name, None)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise TuneError(f"{name.replace('_', ' ')} must be a number above 0, not {value}")
    if isinstance(model.network, peft.PeftModel):
        config = model.network.peft_config.get(ADAPTER)
        rank = getattr(config, "r", None)
        if rank is None:
            raise TuneError(f"the adapter of {model.name} is not a LoRA, and cannot be tuned on")
        if options.rank not in (None, rank):
            raise TuneError(f"the adapter of {model.name} has rank {rank}, not {options.rank}")


def _check_vectors(model: Model, vectors: Sequence[SteeringVector], records: Instructions) -> None:
    for number, vector in enumerate(vectors):
        vector.check_fits(model)
        if any(other.language == vector.language for other in vectors[:number]):
            raise TuneError(f"there are two vectors for {vector.language!r}: name one")
        if not any(_vector_of(record, vectors) == number for record in records):
            raise TuneError(
                f"there are no records in {vector.language!r} to steer: "
                f"{records.name} has {', '.join(records.languages) or 'no languages'}"
            )


def _about(
    method: str,
    model: Model,
    learnt: Sequence[Example],
    held: Sequence[Example],
    vectors: Sequence[SteeringVector],
    template: str,
    options: TuneOptions,
) -> dict[str, Any]:
    """What a run is made from. Two runs of which it is the same give the same."""
    rows = [[(e.record.id, e.chosen, e.rejected) for e in part] for part in (learnt, held)]
    values = [vector.strength * vector.values.float() for vector in vectors]
    about = {
        "method": method,
        "model": model.fingerprint,
        "records": _digest(json.dumps(rows)),
        "template": _digest(template),
        "vectors": [
            [vector.layer, vector.positions, _digest(scaled.numpy().tobytes().hex())]
            for vector, scaled in zip(vectors, values, strict=True)
        ],
        "options": asdict(options),
    }
    return as_kept(about)


def _noted(path: Path, objective: TuningObjective, job: Job) -> dict[str, Any]:
    """What was noted before the first step, also where that was in a run that was stopped."""
    noted = read_record(path)
    if not noted:
        job.start = objective.begin(job)
        measured = objective.measure(job) if job.held else []
        noted = {**job.start, "before": scores(job.held, measured) if job.held else {}}
        write_json(path, noted)
    return noted


def _counts(part: Sequence[Example]) -> dict[str, int]:
    counts = {ALL: len(part)}
    for example in part:
        if example.record.language is not None:
            tag = example.record.language
            counts[tag] = counts.get(tag, 0) + 1
    return counts


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
