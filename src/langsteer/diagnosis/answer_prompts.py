"""What is answered in a search for answers in the language: lines of a corpus with a request after them, or prompts
of one's own.

A file of one's own has a prompt a line, or JSON lines:

    {"prompt": "Translate into Turkish: The cat sleeps.\\nTurkish:", "text": "The cat sleeps."}

`text` is the part of the prompt that is in the language, or that an answer might copy; without it, all of it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from langsteer.errors import DiagnosisError
from langsteer.model.tokens import Prompt
from langsteer.storage.lines import json_lines
from langsteer.storage.pointers import read_text
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import language_name

REQUESTS = ("\n\nGo on in {}:", "\n\nThe answer, in {}:", "\n\nNow a sentence in {}:")
FEWEST = 8  # to choose on, and to report on


@dataclass(frozen=True)
class AnswerPrompts:
    """Prompts to choose a change on and to report it on; its text is the source of each.

    `fitted_on` is what changes are fitted on, and `name` says what the prompts are of.
    """

    fitted_on: ParallelCorpus
    choose: tuple[Prompt, ...]
    report: tuple[Prompt, ...]
    name: str

    def of(self, part: str) -> tuple[Prompt, ...]:
        return self.choose if part == "choose" else self.report

    def check(self) -> "AnswerPrompts":
        """Itself. Raises DiagnosisError where there are too few to choose or to report on."""
        if min(len(self.choose), len(self.report)) < FEWEST:
            raise DiagnosisError(
                f"{self.name} leaves under {FEWEST} lines to choose or to report on: more are needed"
            )
        return self


def corpus_prompts(corpus: ParallelCorpus, most: int, seed: int = 0) -> AnswerPrompts:
    """Lines of the corpus's language that are not fitted on, with a request after each, three by turns."""
    parts = corpus.split(fit=0.6, choose=0.2, report=0.2, seed=seed)
    name = language_name(corpus.language)

    def asked(part: str) -> tuple[Prompt, ...]:
        lines = parts[part].texts[corpus.language][:most]
        return tuple(
            Prompt(line, after=REQUESTS[i % len(REQUESTS)].format(name))
            for i, line in enumerate(lines)
        )

    return AnswerPrompts(parts["fit"], asked("choose"), asked("report"), corpus.name).check()


def own_prompts(
    corpus: ParallelCorpus, prompts: Sequence[Prompt], name: str, most: int, seed: int = 0
) -> AnswerPrompts:
    """Prompts of one's own, in two halves by a hash of their text; the whole corpus is fitted on.

    Prompts that are alike count once.
    """

    def key(prompt: Prompt) -> str:
        return hashlib.sha256(f"{seed} {prompt}".encode()).hexdigest()

    order = sorted(set(prompts), key=key)
    half = (len(order) + 1) // 2
    choose, report = tuple(order[:half][:most]), tuple(order[half:][:most])
    return AnswerPrompts(corpus, choose, report, name).check()


def read_prompts(path: str | Path) -> list[Prompt]:
    """The prompts of a file. Raises DiagnosisError, which names the line and what to do about it."""
    path = Path(path)
    try:
        text = read_text(path, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DiagnosisError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DiagnosisError(f"cannot read {path}: {error.strerror}") from error
    if path.suffix not in (".jsonl", ".json"):
        return [Prompt(line.strip()) for line in text.split("\n") if line.strip()]
    prompts = []
    for line in json_lines(text):
        where = f"{path}, line {line.number}"
        if line.error or not isinstance(line.value, dict):
            reason = line.error or f"{type(line.value).__name__}, not an object"
            raise DiagnosisError(
                f'{where} is not a JSON object ({reason}): a prompt is like {{"prompt": "…"}}'
            )
        prompts.append(_prompt(line.value, where))
    return prompts


def _prompt(row: Mapping[str, object], where: str) -> Prompt:
    prompt, text = row.get("prompt"), row.get("text")
    if not isinstance(prompt, str) or not prompt.strip():
        raise DiagnosisError(f"{where} has no prompt: a text that is to be answered")
    if text is None:
        return Prompt(prompt)
    if not isinstance(text, str) or not text.strip() or text not in prompt:
        raise DiagnosisError(f"{where}: its text must be a part of its prompt, or be left out")
    before, _, after = prompt.partition(text)
    return Prompt(text, before, after)
