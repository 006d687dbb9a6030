"""Make a task of the harness out of a benchmark and items."""

from collections.abc import Mapping, Sequence
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import Benchmark, Doc, harness
from langsteer.evaluation.benchmarks.loading import check_filled
from langsteer.progress import quiet
from langsteer.text.languages import parse_tag

ASKED, SHOWN = "test", "fewshot"  # the splits of the data set that the task is given
_SPLITS = ("training_split", "validation_split", "fewshot_split", "fewshot_config", "num_fewshot")
_OWN = ("tag", "group", "dataset_path", "dataset_name", "dataset_kwargs", "custom_dataset")


def make_task(
    benchmark: Benchmark,
    language: str,
    docs: Sequence[Doc],
    *,
    form: str | None = None,
    shots: int = 0,
    examples: Sequence[Doc] = (),
    config: Mapping[str, Any] = {},
    name: str | None = None,
) -> Any:
    """A ConfigurableTask of the harness over exactly these docs, in this order.

    `language` is that of the template's native form. The first `shots` of `examples` precede each
    item, answered. `config` overrides keys of the task. Raises BenchmarkError for a form that the
    language lacks, too few examples, or an empty text or answer choice.
    """
    tag = parse_tag(language)
    chosen = _form(benchmark, tag, form)
    if len(examples) < shots:
        raise BenchmarkError(f"{benchmark.title}: {shots} shots of {len(examples)} examples")
    _check_docs(benchmark, tag, [*docs, *examples[:shots]])
    keys: dict[str, Any] = {
        key: value
        for key, value in benchmark.config(tag, chosen).items()
        if key not in (*_SPLITS, *_OWN)
    }
    keys |= {
        "task": name or f"{benchmark.name}_{tag}_{chosen}",
        "custom_dataset": _data(docs, examples[:shots]),
        "test_split": ASKED,
        "num_fewshot": shots,
        **({"fewshot_config": {"split": SHOWN, "sampler": "first_n"}} if shots else {}),
    }
    keys |= config
    _check_choices(keys.get("doc_to_choice"))
    if shots and not keys["doc_to_target"]:
        raise BenchmarkError(f"{benchmark.title} has no right answers to show: use no shots")
    with quiet("lm_eval.api.task", "lm_eval.config.task"):
        task = harness("lm_eval.api.task").ConfigurableTask(config=keys)
    if task.config.doc_to_choice is not None:
        for doc in docs:
            _check_choices(task.doc_to_choice(doc), f", item {doc['id']}")
    return task


def _form(benchmark: Benchmark, tag: str, form: str | None) -> str:
    if tag not in benchmark.codes:
        raise BenchmarkError(
            f"{benchmark.title} has no {tag!r}: it has {', '.join(sorted(benchmark.codes))}"
        )
    forms = benchmark.forms_of(tag)
    if form is None:
        return forms[0]
    if form not in forms:
        raise BenchmarkError(
            f"{benchmark.title} ({tag}) has no prompt form {form!r}: it has {', '.join(forms)}"
        )
    return form


def _check_docs(benchmark: Benchmark, tag: str, docs: Sequence[Doc]) -> None:
    where = f"{benchmark.title} ({tag})"
    if not docs:
        raise BenchmarkError(f"{where}: there are no items to ask")
    for doc in docs:
        check_filled(benchmark, doc, where)


def _check_choices(choices: Any, where: str = "") -> None:
    if isinstance(choices, list) and not all(str(choice).strip() for choice in choices):
        raise BenchmarkError(f"an answer choice is empty{where}: {choices!r}")


def _data(docs: Sequence[Doc], examples: Sequence[Doc]) -> Any:
    from datasets import Dataset

    splits = {ASKED: Dataset.from_list(list(docs))}
    if examples:
        splits[SHOWN] = Dataset.from_list(list(examples))

    def give(**_: Any) -> dict[str, Any]:
        return splits

    return give
