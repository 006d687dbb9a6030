"""One fine-tuning, from records to a folder: what SFT and DPO do around their losses.

    DIR.part/      while it runs: about.json, start.json, checkpoints/
    DIR/           when it is done: the adapter, the tokeniser with the template, vectors/, langsteer.json

The folder is there whole or not at all, and a run that was stopped goes on when it is asked for again.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from langsteer.errors import TuneError
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens, batches, count_batches
from langsteer.progress import announce, track
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import check_writable, save_errors, write_json
from langsteer.tuning.common import (
    ADAPTER,
    IGNORED,
    Row,
    adapted,
    answer_logprobs,
    autocast,
    collate,
    libraries,
    remove,
    save_adapter,
    schedule,
    seeded,
    start_afresh,
    train,
)
from langsteer.tuning.data import Instructions, Record
from langsteer.tuning.prompts import answered, ending_of, prompt_of, template_of
from langsteer.version import __version__

RECORD = "langsteer.json"
ALL = "all"
FORMAT, FORMAT_VERSION = "langsteer tuning", 1

Scores = dict[str, dict[str, float]]
"""by language, and `all`: what was measured on the records held out, by name"""


@dataclass(frozen=True)
class TuneOptions:
    """How an adapter is made and learnt.

    `rank` (None: 8, or that of an adapter which is tuned further) and `scale` (alpha ÷ rank) are
    of the adapter on every linear module. `rate` is Adam's, falling to zero. `epochs` counts
    passes over the records, `batch` those of a step; `steps`, where given, takes the place of
    epochs. Records of more than `max_length` tokens are left out. `held_out` is the share of the
    ids that are not learnt from, in any language, and measured on. `half`: multiply in bfloat16.
    """

    rank: int | None = None
    scale: float = 2.0
    dropout: float = 0.0
    epochs: float = 2.0
    steps: int | None = None
    rate: float = 2e-4
    batch: int = 8
    max_length: int = 512
    held_out: float = 0.2
    half: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Tuned:
    """What a fine-tuning gave.

    `records` and `held_out` count records by language (`all`: together), `too_long` those left out.
    `before` and `after` hold what was measured on the records held out, by language. `seconds` are
    those of training alone. `vectors` describes what steered it. `kept`: it was there already.
    """

    method: str
    folder: str
    model: str
    records: dict[str, int]
    held_out: dict[str, int]
    too_long: int
    steps: int
    seconds: float
    before: Scores
    after: Scores
    vectors: tuple[dict[str, Any], ...] = ()
    kept: bool = False


@dataclass(frozen=True)
class Example:
    """A record as tokens: what is asked, followed by one answer and by the other."""

    record: Record
    chosen: Row
    rejected: Row | None


@dataclass(eq=False)
class Job:
    """A fine-tuning under way. `start` is what the objective noted before the first step."""

    tuned: Model
    train: Sequence[Example]
    held: Sequence[Example]
    vectors: Sequence[SteeringVector]
    options: Any
    start: dict[str, Any] = field(default_factory=dict)

    def batch(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        return collate(self.tuned, rows)

    def logprobs(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Log-probability of each row's answer, its tokens' together: float32 [rows]."""
        return answer_logprobs(self.tuned, inputs, self.vectors).sum(1)

    def measured(self, rows: Sequence[Row], label: str) -> list[float]:
        """The same of many rows, without gradients, in their order."""
        ids = [row["input_ids"] for row in rows]
        found = [0.0] * len(rows)
        self.tuned.network.eval()
        for index in track(batches(ids), label, count_batches(ids)):
            with torch.no_grad(), autocast(self.tuned, self.options.half):
                values = self.logprobs(self.batch([rows[i] for i in index]))
            for i, value in zip(index, values.tolist(), strict=True):
                found[i] = value
        return found


class Objective(Protocol):
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
    objective: Objective,
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
    done = _finished(folder, about, overwrite)
    if done is not None:
        return done
    work = folder.with_name(f"{folder.name}.part")
    check_writable(work / "about.json")
    if start_afresh(work, about):
        announce(f"{work} was of a run with other records or options: beginning anew")
    with seeded(options.seed):
        job = Job(adapted(model, options), learnt, held, vectors, options)
        job.start = _noted(work / "start.json", objective, job)
        order = schedule([len(e.chosen["input_ids"]) for e in learnt], options)
        seconds = train(
            objective.kinds(),
            job.tuned,
            order,
            lambda numbers: objective.inputs(job, numbers),
            lambda inputs: objective.loss(job, inputs),
            work / "checkpoints",
            options,
            objective.method.upper(),
            **objective.config(job),
        )
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
        vectors=tuple(_described(vector) for vector in vectors),
    )
    _write(job, result, about, form, work, folder)
    return result


def examples(
    model: Model,
    records: Instructions,
    template: str,
    vectors: Sequence[SteeringVector] = (),
    max_length: int = 512,
) -> list[Example]:
    """Records as tokens, less those with an answer that makes them too long."""
    ending = ending_of(model, template)
    found = []
    for record in records:
        prompt = prompt_of(model, template, record)
        vector = _vector_of(record, vectors)

        def row(answer: str, prompt: Any = prompt, vector: int | None = vector) -> Row:
            tokens, start = answered(model, prompt, answer, ending)
            labels = [IGNORED] * start + tokens.ids[start:]
            if vector is None:
                return {"input_ids": tokens.ids, "labels": labels}
            where = _where(model, tokens, start, vectors[vector].positions)
            return {
                "input_ids": tokens.ids,
                "labels": labels,
                "steered": where,
                "vector": vector,
            }

        example = Example(
            record, row(record.chosen), row(record.rejected) if record.rejected else None
        )
        rows = [example.chosen, *([example.rejected] if example.rejected else [])]
        if max(len(r["input_ids"]) for r in rows) <= max_length:
            found.append(example)
    return found


def scores(held: Sequence[Example], values: Sequence[Mapping[str, float]]) -> Scores:
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


def _where(model: Model, tokens: Tokens, start: int, positions: str) -> list[bool]:
    """Which tokens a vector of these positions is added to, where the answer begins at `start`."""
    if positions == "source":
        return tokens.source
    first = 1 if tokens.ids[0] == model.bos_id else 0
    low, high = (0, start) if positions == "prompt" else (start, len(tokens))
    low, high = (low, high) if positions != "all" else (0, len(tokens))
    return [max(first, low) <= i < high for i in range(len(tokens))]


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
            [v.layer, v.positions, _digest(x.numpy().tobytes().hex())]
            for v, x in zip(vectors, values, strict=True)
        ],
        "options": asdict(options),
    }
    plain: dict[str, Any] = json.loads(json.dumps(about))
    return plain


def _finished(folder: Path, about: Mapping[str, Any], overwrite: bool) -> Tuned | None:
    """What stands there already, where it was made from the same. Raises TuneError for all else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        result = found["result"] | {"vectors": tuple(found["result"]["vectors"])}
        done, same = Tuned(**result), found["about"] == about
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TuneError(f"{folder} is there and is no tuned model: name another") from error
    if overwrite:
        return None
    if not same:
        raise TuneError(
            f"{folder} was tuned from other records, another model or other options: name another "
            "folder, or pass overwrite=True (--overwrite)"
        )
    return replace(done, folder=str(folder), kept=True)


def _noted(path: Path, objective: Objective, job: Job) -> dict[str, Any]:
    """What was noted before the first step, also where that was in a run that was stopped."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        job.start = objective.begin(job)
        measured = objective.measure(job) if job.held else []
        found = {**job.start, "before": scores(job.held, measured) if job.held else {}}
        write_json(path, found)
    return found


def _write(
    job: Job, result: Tuned, about: Mapping[str, Any], template: str, work: Path, folder: Path
) -> None:
    """Put the folder in its place, whole."""
    whole = work / "whole"
    remove(whole)
    save_adapter(job.tuned, whole)
    with save_errors(folder):
        own = job.tuned.tokenizer.chat_template
        try:
            job.tuned.tokenizer.chat_template = template
            job.tuned.tokenizer.save_pretrained(str(whole))
        finally:
            job.tuned.tokenizer.chat_template = own
        for vector in job.vectors:
            vector.save(whole / "vectors" / f"{vector.language}.safetensors")
        kind = {"format": FORMAT, "format_version": FORMAT_VERSION, "langsteer": __version__}
        write_json(whole / RECORD, {**kind, "result": asdict(result), "about": about})
        old = folder.with_name(f"{folder.name}.old")
        remove(old)
        if folder.exists():
            folder.rename(old)
        whole.rename(folder)
    remove(old)
    remove(work)


def _described(vector: SteeringVector) -> dict[str, Any]:
    names = ("language", "pivot", "layer", "strength", "positions", "method")
    about = {name: getattr(vector, name) for name in names}
    return {"file": f"vectors/{vector.language}.safetensors", **about, "model": vector.model}


def _counts(part: Sequence[Example]) -> dict[str, int]:
    found = {ALL: len(part)}
    for example in part:
        if example.record.language is not None:
            tag = example.record.language
            found[tag] = found.get(tag, 0) + 1
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
