"""Ask the model while a plan is made: render items as the harness does, score them, and let it write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from langsteer.evaluation.benchmarks import Doc, make_task
from langsteer.evaluation.harness.choices import batch_calibrated
from langsteer.evaluation.methods.common import Setting
from langsteer.model.model import Model
from langsteer.steering.change import Change

TASK = "langsteer_asking"


@dataclass(frozen=True)
class Rendered:
    """One item: its prompt, its answers as they follow the prompt, and which is right.

    A task without choices has one answer, the right one.
    """

    doc: Doc
    prompt: str
    answers: tuple[str, ...]
    target: int


@dataclass(frozen=True)
class Written:
    """What the model wrote after each prompt, and what it took."""

    texts: list[str]
    tokens: int
    seconds: float


def render(
    setting: Setting,
    language: str,
    docs: Sequence[Doc],
    form: str | None = None,
    config: Mapping[str, Any] = {},
) -> list[Rendered]:
    """Items as the harness would ask them, without examples."""
    task = make_task(setting.benchmark, language, docs, form=form, config=config, name=TASK)
    return [_render_one(task, doc) for doc in task.test_docs()]


def accuracy(
    setting: Setting, rendered: Sequence[Rendered], calibrated: bool = False
) -> tuple[float, float]:
    """The share of choice items that the model gets right, and its mean log-probability of them.

    `calibrated`: after each answer's mean over the items is taken off.
    """
    scores = choice_logits(setting.model, rendered)
    shares = torch.log_softmax(scores, 1)
    if calibrated:
        scores = batch_calibrated(scores)
    right = torch.tensor([item.target for item in rendered])
    hits = (scores.argmax(1) == right).double().mean()
    return float(hits), float(shares[range(len(right)), right].mean())


def choice_logits(model: Model, rendered: Sequence[Rendered]) -> Tensor:
    """Log-likelihood of each answer: [items, answers]."""
    from lm_eval.api.instance import Instance

    from langsteer.evaluation.harness.model import LangsteerLM

    requests = [
        Instance(
            request_type="loglikelihood",
            doc=item.doc,
            arguments=(item.prompt, answer),
            idx=place,
            metadata=(TASK, None, 1),
        )
        for item in rendered
        for place, answer in enumerate(item.answers)
    ]
    scored = LangsteerLM(model).loglikelihood(requests, disable_tqdm=True)
    widths = {len(item.answers) for item in rendered}
    return torch.tensor([value for value, _ in scored]).view(len(rendered), max(widths))


def write(
    setting: Setting,
    docs: Sequence[Doc],
    prompts: Sequence[str],
    max_new_tokens: int,
    stop: Sequence[str],
    change: Change | None = None,
) -> Written:
    """Greedy continuations of prompts about `docs`; `change` acts on the text of each doc."""
    from lm_eval.api.instance import Instance

    from langsteer.evaluation.harness.model import LangsteerLM
    from langsteer.evaluation.harness.tasks import TaskInfo

    language = setting.language
    info = TaskInfo(language, tuple(setting.benchmark.source))
    vectors = None if change is None else {language: change}
    lm = LangsteerLM(setting.model, vectors=vectors, tasks={TASK: info})
    options = {"until": list(stop), "max_gen_toks": max_new_tokens, "do_sample": False}
    requests = [
        Instance(
            request_type="generate_until",
            doc=doc,
            arguments=(prompt, options),
            idx=0,
            metadata=(TASK, None, 1),
        )
        for doc, prompt in zip(docs, prompts, strict=True)
    ]
    texts = lm.generate_until(requests)
    return Written(texts, lm.cost.tokens, lm.cost.seconds)


def _render_one(task: Any, doc: Doc) -> Rendered:
    prompt = task.fewshot_context(doc, 0)
    target = task.doc_to_target(doc)
    if task.OUTPUT_TYPE == "multiple_choice":
        asked = task.construct_requests(doc, prompt)
        answers = tuple(request.args[1] for request in asked)
        place = target if isinstance(target, int) else task.doc_to_choice(doc).index(target)
        return Rendered(doc, prompt, answers, place)
    text = target[0] if isinstance(target, list) else str(target)
    return Rendered(doc, prompt, (f"{task.config.target_delimiter}{text}",), 0)
