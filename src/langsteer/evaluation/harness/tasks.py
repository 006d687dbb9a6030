"""Tasks of the harness: what it does not tell of them, the languages they are in, and running them."""

import itertools
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langsteer.errors import LanguageError
from langsteer.evaluation.harness import lm_eval_parts
from langsteer.evaluation.harness.spans import texts_of
from langsteer.text.identify import CONFIDENT, identifiable, identify
from langsteer.text.languages import parse_tag

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskInfo:
    """What the harness does not tell of a task: its language, and which fields hold text in it.

    `examples` are texts of few-shot examples, which are steered as the item's own text is.
    """

    language: str | None = None
    fields: tuple[str, ...] | None = None
    examples: tuple[str, ...] = ()


class TaskLanguages:
    """Which language a request is in: `always`, where one is named, else that of its task or text.

    `changes` are by language; without one for a language, a request in it is not steered.
    """

    def __init__(
        self, tasks: Mapping[str, TaskInfo], changes: Mapping[str, Any], always: str | None = None
    ) -> None:
        self.always = parse_tag(always) if always else None
        self._tasks, self._changes = tasks, changes
        self._by_task: dict[str, str | None] = {}
        self._by_text: dict[str, str | None] = {}

    def of(self, request: Any) -> str | None:
        """`always`, else what the task's name tells, else what the item's text is in."""
        if self.always is not None:
            return self.always
        name = request.task_name or ""
        if name not in self._by_task:
            known = self._tasks.get(name, TaskInfo()).language
            self._by_task[name] = known or language_of_task(name, self._changes)
            self._say_how(name, self._by_task[name])
        tag = self._by_task[name]
        return self._of_text(request) if tag is None and self._changes else tag

    def _of_text(self, request: Any) -> str | None:
        """The language with a vector that an item's text is surely in, of all that there are."""
        if not any(map(identifiable, self._changes)):
            return None
        info = self._tasks.get(request.task_name or "", TaskInfo())
        text = " ".join(texts_of(request.doc, info.fields))
        if text not in self._by_text:
            guess = identify([text], quick=True)[0]
            sure = guess is not None and guess.confidence >= CONFIDENT
            self._by_text[text] = guess.language if guess is not None and sure else None
        tag = self._by_text[text]
        return tag if tag in self._changes else None

    def _say_how(self, name: str, tag: str | None) -> None:
        if not self._changes or tag in self._changes:
            return
        vectors = ", ".join(sorted(self._changes))
        if tag is not None:
            logger.warning("task %s is not steered: no vector for %s (%s)", name, tag, vectors)
        elif any(map(identifiable, self._changes)):
            logger.warning("task %s names no language: each text is looked at (%s)", name, vectors)
        else:
            logger.warning(
                "task %s is not steered: its name tells no language that has a vector (%s); "
                "name one with language=, or pip install 'langsteer[langid]'",
                name,
                vectors,
            )


def run_tasks(lm: Any, tasks: Mapping[str, Any], limit: int | None = None) -> dict[str, Any]:
    """The harness's own evaluation of tasks, item by item, without its bars and intervals."""
    from lm_eval import evaluator

    with lm_eval_parts.without_bars():
        outcome = evaluator.evaluate(
            lm, dict(tasks), limit=limit, log_samples=True, bootstrap_iters=0
        )
    return dict(outcome)


def language_of_task(name: str, languages: Mapping[str, Any]) -> str | None:
    """The one of `languages` that a task's name tells, such as `xcopa_sw` or `belebele_swh_Latn`."""
    pieces = re.split(r"[_\-.:/]", name)
    pairs = [f"{a}_{b}" for a, b in itertools.pairwise(pieces)]
    for piece in [*reversed(pairs), *reversed(pieces)]:
        if not re.fullmatch(r"[A-Za-z]{2,3}(_[A-Z][A-Za-z]{1,3})?", piece):
            continue
        try:
            tag = parse_tag(piece)
        except LanguageError:
            continue
        if tag in languages:
            return tag
    return None
