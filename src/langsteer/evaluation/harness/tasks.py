"""Tasks of the harness: what it does not tell of them, the languages they are in, and running them."""

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langsteer.evaluation.harness import lm_eval_parts
from langsteer.evaluation.harness.spans import texts_of
from langsteer.evaluation.harness.task_names import doubtful_codes, language_in_name, matching
from langsteer.text.identify import CONFIDENT, identifiable, identify
from langsteer.text.languages import language_name, parse_tag, script_of, script_share

logger = logging.getLogger(__name__)

_LOOKED_AT = 32  # texts
_NAMED_TASKS = 8


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
        self._by_name: dict[str, str | None] = {}
        self._by_text: dict[tuple[str, str], str | None] = {}
        self._told: set[str] = set()

    def of(self, request: Any) -> str | None:
        """`always`, else what the task's name tells, else what the item's text is in."""
        if self.always is not None:
            return self.always
        tag = self._of_name(request.task_name or "")
        return self._of_text(request) if tag is None and self._changes else tag

    def tell(self, requests: Sequence[Any]) -> None:
        """Say of each task that is new which language it is steered as, or why it is not."""
        if not self._changes or self.always is not None:
            return
        groups: dict[str, list[Any]] = {}
        for request in requests:
            name = request.task_name or ""
            if name not in self._told and self._info(name).language is None:
                groups.setdefault(name, []).append(request)
        self._told.update(groups)
        sayings: dict[str, list[str]] = {}
        for name, group in groups.items():
            sayings.setdefault(self._saying(name, group), []).append(name)
        for saying, names in sayings.items():
            logger.warning("%s: %s", saying, _listed(names))

    def _info(self, name: str) -> TaskInfo:
        return self._tasks.get(name, TaskInfo())

    def _of_name(self, name: str) -> str | None:
        if name not in self._by_name:
            tag = self._info(name).language or language_in_name(name)
            self._by_name[name] = matching(tag, self._changes) or tag if tag else None
        return self._by_name[name]

    def _of_text(self, request: Any) -> str | None:
        """The language with a vector that an item's text is surely in, of all that there are."""
        name = request.task_name or ""
        text = " ".join(texts_of(request.doc, self._info(name).fields))
        if (name, text) not in self._by_text:
            self._by_text[name, text] = language_of_text(text, name, self._changes)
        return self._by_text[name, text]

    def _saying(self, name: str, requests: Sequence[Any]) -> str:
        vectors = ", ".join(sorted(self._changes))
        tag = self._of_name(name)
        if tag in self._changes:
            return f"steered as {language_name(tag or '')} ({tag})"
        if tag is not None:
            return f"not steered, for there is no vector for {tag} ({vectors})"
        counts = Counter(self.of(request) or "not" for request in requests)
        if set(counts) != {"not"} or any(map(identifiable, self._changes)):
            told = ", ".join(f"{count} as {tag}" for tag, count in sorted(counts.items()))
            told = told.replace("as not", "not")
            return f"the name tells no language, so each text was looked at; steered, {told}"
        codes = doubtful_codes(name, self._changes)
        why = f"; {', '.join(map(repr, codes))} may be a word" if codes else ""
        return (
            f"not steered, for the name surely tells no language with a vector ({vectors}){why}: "
            "name one with language=, or pip install 'langsteer[langid]' to have texts looked at"
        )


def language_of_text(text: str, name: str, languages: Iterable[str]) -> str | None:
    """The one of some languages that a text is surely in, of all that there are.

    A language that cannot be identified counts where a code in the task's `name` may stand for it,
    and the text is in its script, which is not the Latin one.
    """
    known = list(languages)
    if any(map(identifiable, known)):
        guess = identify([text], quick=True)[0]
        if guess is not None and guess.confidence >= CONFIDENT:
            return matching(guess.language, known)
    for tag in doubtful_codes(name, known).values():
        if not identifiable(tag) and script_of(tag) != "Latn" and script_share(text, tag) > 0.5:
            return tag
    return None


def language_of_docs(docs: Iterable[Any], name: str, languages: Iterable[str]) -> str | None:
    """The one of some languages that most of the first texts of a task are in."""
    known = list(languages)
    texts = [" ".join(texts_of(doc)) for doc in itertools.islice(docs, _LOOKED_AT)]
    counts = Counter(language_of_text(text, name, known) for text in texts)
    tag, count = counts.most_common(1)[0] if counts else (None, 0)
    return tag if count > len(texts) / 2 else None


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_TASKS
    return ", ".join(names[:_NAMED_TASKS]) + (f" and {more} more" if more > 0 else "")


def run_tasks(lm: Any, tasks: Mapping[str, Any], limit: int | None = None) -> dict[str, Any]:
    """The harness's own evaluation of tasks, item by item, without its bars and intervals."""
    from lm_eval import evaluator

    with lm_eval_parts.without_bars():
        outcome = evaluator.evaluate(
            lm, dict(tasks), limit=limit, log_samples=True, bootstrap_iters=0
        )
    return dict(outcome)


def language_of_task(name: str, languages: Iterable[str]) -> str | None:
    """The one of `languages` that a task's name surely tells, such as `xcopa_sw` or
    `belebele_swh_Latn`; of a pair to translate, the language that is read."""
    tag = language_in_name(name)
    return matching(tag, languages) if tag else None
