"""Supervised fine-tuning: make the chosen answers likelier.

    loss = − Σ log p(answer token | what comes before) ÷ number of answer tokens

over a step's records; the end-of-sequence token is one of the answer's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from langsteer.tuning.adapter import libraries
from langsteer.tuning.answers import IGNORED, answer_length
from langsteer.tuning.data import BUILTIN, Instructions, read_instructions
from langsteer.tuning.folder import Tuned
from langsteer.tuning.job import Job, TuneOptions, tune


@dataclass(frozen=True)
class SftOptions(TuneOptions):
    """Those of `TuneOptions`."""


def sft(
    model: Model,
    data: str | Path | Sequence[str | Path] | Instructions = BUILTIN,
    folder: str | Path = "sft",
    *,
    languages: Sequence[str] = (),
    vectors: Sequence[SteeringVector] = (),
    template: str | None = None,
    overwrite: bool = False,
    options: SftOptions = SftOptions(),
) -> Tuned:
    """Tune an adapter on the chosen answers and write it into `folder`; the model stays as it is.

    `data` is what `read_instructions` takes. The model's own adapter is tuned further, where it has
    one. Each of `vectors` steers the records in its language while they are learnt: the tuned
    model is meant to be used with it. `template` is plain, chat or a Jinja file. `folder` is
    written whole; it is kept where it holds the same already, and a run that was stopped goes on.
    Raises TuneError, VectorError, MissingExtraError or SaveError.
    """
    records = data if isinstance(data, Instructions) else read_instructions(data, languages)
    return tune(_Sft(), model, records, folder, options, vectors, template, overwrite)


class _Sft:
    method = "sft"

    def kinds(self) -> tuple[Any, Any]:
        trl = libraries("fine-tuning")[1]
        return trl.SFTTrainer, trl.SFTConfig

    def config(self, job: Job) -> dict[str, Any]:
        return {}

    def begin(self, job: Job) -> dict[str, Any]:
        return {}

    def inputs(self, job: Job, numbers: Sequence[int]) -> dict[str, Tensor]:
        return job.batch([job.train[i].chosen for i in numbers])

    def loss(self, job: Job, inputs: dict[str, Tensor]) -> Tensor:
        return -job.logprobs(inputs).sum() / (inputs["labels"] != IGNORED).sum()

    def measure(self, job: Job) -> list[dict[str, float]]:
        """`loss`: nats a token of the chosen answer."""
        rows = [example.chosen for example in job.held]
        lengths = [answer_length(row) for row in rows]
        logprobs = job.measured(rows, "Measuring on records held out")
        return [
            {"loss": -logprob / n, "weight": float(n)}
            for logprob, n in zip(logprobs, lengths, strict=True)
        ]
