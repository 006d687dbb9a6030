"""Direct preference optimisation (Rafailov et al., arXiv 2305.18290): prefer one answer to another.

    margin = β [ log p(chosen) / r(chosen) − log p(rejected) / r(rejected) ]
    loss   = − log σ(margin)

p is the model under tuning, r the one that it started from (the reference), whose log-probabilities are
computed once, before the first step, so that it need not be kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsteer.errors import TuneError
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from langsteer.tuning.adapter import libraries
from langsteer.tuning.answers import AnswerRow, answer_length
from langsteer.tuning.data import BUILTIN, Instructions, read_instructions
from langsteer.tuning.folder import Tuned
from langsteer.tuning.job import Example, Job, TuneOptions, tune


@dataclass(frozen=True)
class DpoOptions(TuneOptions):
    """Those of `TuneOptions`, and `beta`: the higher, the nearer to the reference it stays."""

    epochs: float = 1.0
    rate: float = 3e-5
    batch: int = 4
    beta: float = 0.1


def dpo(
    model: Model,
    data: str | Path | Sequence[str | Path] | Instructions = BUILTIN,
    folder: str | Path = "dpo",
    *,
    languages: Sequence[str] = (),
    vectors: Sequence[SteeringVector] = (),
    template: str | None = None,
    overwrite: bool = False,
    options: DpoOptions = DpoOptions(),
) -> Tuned:
    """Tune an adapter to prefer the chosen answers to the rejected ones, and write it into `folder`.

    The reference is the model as given, with its adapter (an SFT's, say), which is tuned further.
    Every record needs a rejected answer. All else is as in `sft`, where steering is on in both
    the model and its reference.
    """
    records = data if isinstance(data, Instructions) else read_instructions(data, languages)
    for record in records:
        if record.rejected is None:
            where = f"{record.id!r}" + (f" in {record.language}" if record.language else "")
            raise TuneError(f"{records.name}: the record {where} has no rejected answer for DPO")
    return tune(_Dpo(), model, records, folder, options, vectors, template, overwrite)


def margins(logprobs: Tensor, reference: Tensor, beta: float) -> Tensor:
    """The reward of the chosen answer less that of the rejected one: [pairs].

    Both are log-probabilities [2 × pairs], first of the chosen answers, then of the rejected.
    """
    chosen, rejected = (beta * (logprobs - reference)).chunk(2)
    return chosen - rejected


class _Dpo:
    method = "dpo"

    def kinds(self) -> tuple[Any, Any]:
        trl = libraries("fine-tuning")[1]
        return trl.DPOTrainer, trl.DPOConfig

    def config(self, job: Job) -> dict[str, Any]:
        return {"beta": job.options.beta, "max_length": None}

    def begin(self, job: Job) -> dict[str, Any]:
        """Log-probabilities under the reference: of the chosen answers, then of the rejected."""
        return {
            "reference": job.measured(_rows(job.train), "Reading the reference"),
            "held_reference": job.measured(_rows(job.held), "Reading the reference, held out"),
        }

    def inputs(self, job: Job, numbers: Sequence[int]) -> dict[str, Tensor]:
        known = job.start["reference"]
        places = [*numbers, *(i + len(job.train) for i in numbers)]
        rows = job.batch(_rows([job.train[i] for i in numbers]))
        return {**rows, "reference": torch.tensor([known[i] for i in places])}

    def loss(self, job: Job, inputs: dict[str, Tensor]) -> Tensor:
        reference = inputs.pop("reference")
        logprobs = job.logprobs(inputs)
        margin = margins(logprobs, reference.to(logprobs.device), job.options.beta)
        return -torch.nn.functional.logsigmoid(margin).mean()

    def measure(self, job: Job) -> list[dict[str, float]]:
        """`loss`, `reward_accuracy` (share of margins above 0; 0 itself is half), `margin`,
        `preferred` (share whose chosen answer is the likelier) and `chosen_loss`, in nats a token.
        """
        logprobs = torch.tensor(job.measured(_rows(job.held), "Measuring on records held out"))
        margin = margins(logprobs, torch.tensor(job.start["held_reference"]), job.options.beta)
        loss = -torch.nn.functional.logsigmoid(margin)
        chosen, rejected = logprobs.chunk(2)
        return [
            {
                "loss": float(loss[i]),
                "reward_accuracy": _above(float(margin[i])),
                "margin": float(margin[i]),
                "preferred": _above(float(chosen[i] - rejected[i])),
                "chosen_loss": -float(chosen[i]) / answer_length(example.chosen),
                "weight": 1.0,
            }
            for i, example in enumerate(job.held)
        ]


def _rows(examples: Sequence[Example]) -> list[AnswerRow]:
    rejected = [example.rejected for example in examples if example.rejected is not None]
    return [*(example.chosen for example in examples), *rejected]


def _above(value: float) -> float:
    return 0.5 if value == 0 else float(value > 0)
