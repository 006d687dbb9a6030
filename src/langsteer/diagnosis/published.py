"""Items of a benchmark, rendered as the harness asks them, with the English of the same."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langsteer.diagnosis.items import (
    TaskItem,
    TaskItems,
    Wording,
    in_order,
    shuffled_in_two,
    wording,
)
from langsteer.errors import BenchmarkError, DiagnosisError
from langsteer.evaluation.benchmarks import (
    Benchmark,
    Doc,
    get_benchmark,
    load_docs,
    load_translations,
    make_task,
)
from langsteer.evaluation.harness import lm_eval_parts
from langsteer.evaluation.harness.spans import source_spans, texts_of
from langsteer.text.languages import parse_tag

DEVELOPED_ON = ("train", "development")
MOST = 400  # items to choose on, where the parts of a benchmark have more


def read_published_items(
    name: str,
    language: str,
    data: str | Path | None = None,
    *,
    form: str | None = None,
    benchmark_files: Sequence[str | Path] = (),
    seed: int = 0,
) -> TaskItems:
    """The items of a benchmark: those of its training and development parts to choose on, those of
    its test part to report on. A benchmark with a test part alone is cut in two.

    Raises BenchmarkError where it or its files are not there, and DiagnosisError where nothing is
    right or wrong.
    """
    benchmark, tag = get_benchmark(name, benchmark_files), parse_tag(language)
    if tag == "en":
        raise DiagnosisError("the items are asked in another language than English: name it")
    folder = Path(data) if data is not None else None
    reader = _Reader(benchmark, tag, form, folder)
    test = reader.items("test")
    parts = [part for part in DEVELOPED_ON if part in benchmark.parts]
    if not parts:
        development, report = shuffled_in_two(test, seed, benchmark.title)
        split = f"half of the items of {benchmark.title}, by a hash of their ids, "
    else:
        asked = {str(item.own.prompt) for item in test}
        items = itertools.chain.from_iterable(map(reader.items, parts))
        apart = [item for item in items if str(item.own.prompt) not in asked]
        development, report = in_order(apart, seed)[:MOST], in_order(test, seed)
        split = f"the parts {' and '.join(parts)} and test of {benchmark.title}, "
    counts = f"{len(development)} items to choose on and {len(report)} to report on"
    return TaskItems(name, tag, development, report, split + counts)


class _Reader:
    """A benchmark in one language and form."""

    def __init__(
        self, benchmark: Benchmark, language: str, form: str | None, data: Path | None
    ) -> None:
        self.benchmark, self.language, self.data = benchmark, language, data
        if language not in benchmark.codes:
            benchmark.code(language)  # says which languages there are
        forms = benchmark.forms_of(language)
        self.form = form or forms[0]
        self.has_native = self.form != "native" and "native" in forms

    def items(self, part: str) -> list[TaskItem]:
        docs = load_docs(self.benchmark, self.language, part, self.data)
        own = self._rendered(docs, self.language, self.form)
        english = self._english(docs, part)
        native = self._rendered(docs, self.language, "native") if self.has_native else {}
        translated = self._translated(docs, part)
        return [
            TaskItem(
                str(doc["id"]),
                *own[doc["id"]],
                *(_like(own, others, doc) for others in (english, native, translated)),
            )
            for doc in docs
            if doc["id"] in own
        ]

    def _english(self, docs: Sequence[Doc], part: str) -> "Rendered":
        """The originals of the items; none where the benchmark has none, or not of all."""
        if "en" not in self.benchmark.codes:
            return {}
        try:
            there = load_docs(self.benchmark, "en", part, self.data)
        except BenchmarkError:
            return {}
        wanted = {doc["id"] for doc in docs}
        originals = [doc for doc in there if doc["id"] in wanted]
        if len(originals) < len(wanted):
            return {}
        return self._rendered(originals, "en", self._english_form())

    def _translated(self, docs: Sequence[Doc], part: str) -> "Rendered":
        if self.benchmark.translated is None:
            return {}
        try:
            there = load_translations(self.benchmark, self.language, part, self.data)
        except BenchmarkError:
            return {}
        fields = (*self.benchmark.source, *self.benchmark.answers)
        texts = {doc["id"]: {name: doc[name] for name in fields} for doc in there}
        if any(doc["id"] not in texts for doc in docs):
            return {}
        made = [{**doc, **texts[doc["id"]]} for doc in docs]
        return self._rendered(made, "en", self._english_form())

    def _english_form(self) -> str:
        forms = self.benchmark.forms_of("en")
        return self.form if self.form in forms else forms[0]

    def _rendered(self, docs: Sequence[Doc], language: str, form: str) -> "Rendered":
        """Each item's wording and right answer, by its id; without items of one choice, or of two alike."""
        with lm_eval_parts.compiled_once():
            task = make_task(self.benchmark, language, docs, form=form)
            rendered = {doc["id"]: self._rendered_doc(task, doc) for doc in task.test_docs()}
        return {name: pair for name, pair in rendered.items() if pair is not None}

    def _rendered_doc(self, task: Any, doc: Doc) -> tuple[Wording, int] | None:
        prompt = str(task.doc_to_text(doc))
        space = task.config.target_delimiter
        if self.benchmark.kind == "generate":
            reference = task.doc_to_target(doc)
            if not isinstance(reference, str) or not reference.strip():
                raise DiagnosisError(
                    f"{self.benchmark.title} has no right answers, so that nothing can be diagnosed"
                )
            answers, right = [reference], 0
        else:
            answers = list(task.doc_to_choice(doc))
            if len({answer.strip() for answer in answers}) < max(2, len(answers)):
                return None
            right = _right(task, doc, answers)
        pieces = _pieces(prompt, texts_of(doc, self.benchmark.source))
        return wording(pieces, [space + answer for answer in answers]), right


Rendered = dict[Any, tuple[Wording, int]]


def _like(own: Rendered, others: Rendered, doc: Doc) -> Wording | None:
    """Another wording of an item, where there is one with as many answers and the same one right."""
    if doc["id"] not in others:
        return None
    (here, right), (there, same) = own[doc["id"]], others[doc["id"]]
    return there if len(here.answers) == len(there.answers) and right == same else None


def _right(task: Any, doc: Doc, answers: Sequence[str]) -> int:
    target = task.doc_to_target(doc)
    bare = [answer.strip() for answer in answers]
    if isinstance(target, str) and target.strip() in bare:
        return bare.index(target.strip())
    return int(target)


def _pieces(prompt: str, texts: Sequence[str]) -> list[str]:
    """The prompt as template and text in the language by turns, the first template."""
    edges = [edge for span in source_spans(prompt, texts) for edge in span]
    if not edges:
        return ["", prompt]
    cuts = [0, *edges, len(prompt)]
    return [prompt[start:end] for start, end in itertools.pairwise(cuts)]
