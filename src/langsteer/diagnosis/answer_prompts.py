"""What is answered in a search for answers in the language: lines of a corpus with a request after them, or prompts
of one's own.

A file of one's own has a prompt a line, or JSON lines:

    {"prompt": "Translate into Turkish: The cat sleeps.\\nTurkish:", "text": "The cat sleeps.", "reference": "Kedi uyuyor."}

`text` is the part of the prompt that is in the language, or that an answer might copy, the first of them where it is
there twice; without it, all of it. `reference` is a right answer, which answers are scored against: all prompts have one,
or none. `id` is for the reader.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langsteer.diagnosis.item_lines import check_object, first_without, read_file, refuse_array
from langsteer.diagnosis.items import place_of
from langsteer.errors import DiagnosisError
from langsteer.look.words import counted
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt, encode
from langsteer.storage.lines import JsonLine, json_lines
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import language_name

REQUESTS = ("\n\nGo on in {}:", "\n\nThe answer, in {}:", "\n\nNow a sentence in {}:")
FEWEST = 8  # to choose on, and to report on
FIELDS = ("prompt", "text", "reference", "id")
LIKE = 'a prompt is like {"prompt": "…"}'
SHOWN = 40  # characters of a prompt


@dataclass(frozen=True)
class ReferencedPrompt(Prompt):
    """A prompt whose right answer is known."""

    reference: str = ""


@dataclass(frozen=True)
class AnswerPrompts:
    """Prompts to choose a change on and to report it on; its text is the source of each.

    `fitted_on` is what changes are fitted on, and `name` says what the prompts are of: the corpus, or where they are
    one's `own`, their file.
    """

    fitted_on: ParallelCorpus
    choose: tuple[Prompt, ...]
    report: tuple[Prompt, ...]
    name: str
    own: bool = False

    def of(self, part: str) -> tuple[Prompt, ...]:
        return self.choose if part == "choose" else self.report

    @property
    def scored(self) -> bool:
        """Whether right answers are known."""
        return isinstance(self.choose[0], ReferencedPrompt)

    def describe(self) -> dict[str, object]:
        """What tells these prompts from others."""
        prompts = (*self.choose, *self.report)
        pieces = [(*prompt.pieces, *references([prompt])) for prompt in prompts]
        digest = hashlib.sha256(json.dumps(pieces).encode()).hexdigest()
        return {"count": len(pieces), "hash": digest[:16]}

    def check(self) -> "AnswerPrompts":
        """Itself. Raises DiagnosisError where there are too few to choose or to report on."""
        if min(len(self.choose), len(self.report)) < FEWEST:
            raise DiagnosisError(
                f"{self.name} leaves under {FEWEST} lines to choose or to report on: more are needed"
            )
        return self

    def check_lengths(self, model: Model, answer: int) -> None:
        """Raise DiagnosisError for a prompt that is longer than the model reads, with an answer of so many tokens."""
        if model.positions is None:
            return
        prompts = (*self.choose, *self.report)
        for prompt, tokens in zip(prompts, encode(model, prompts), strict=True):
            if len(tokens) + answer > model.positions:
                raise DiagnosisError(
                    f"{self.name}: the prompt that begins {str(prompt)[:SHOWN]!r} has {len(tokens)} tokens, and with an "
                    f"answer of {answer} {model.name} reads {model.positions}: shorten it, or leave it out"
                )


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

    Of prompts that are alike the first counts.
    """
    order = sorted(_different(prompts), key=lambda prompt: place_of(str(prompt), seed))
    half = (len(order) + 1) // 2
    choose, report = tuple(order[:half][:most]), tuple(order[half:][:most])
    return AnswerPrompts(corpus, choose, report, name, own=True).check()


def references(prompts: Sequence[Prompt]) -> list[str]:
    """The right answers of those that have one."""
    return [prompt.reference for prompt in prompts if isinstance(prompt, ReferencedPrompt)]


def _different(prompts: Sequence[Prompt]) -> list[Prompt]:
    return list({str(prompt): prompt for prompt in reversed(prompts)}.values())


def read_prompts(path: str | Path) -> list[Prompt]:
    """The prompts of a file, of JSON lines where most of its lines are objects. Raises DiagnosisError, which
    names the line and what to do about it.
    """
    path = Path(path)
    text = read_file(path)
    refuse_array(text, path, LIKE)
    lines = list(json_lines(text))
    objects = sum(isinstance(line.value, dict) for line in lines)
    if path.suffix.lower() in (".jsonl", ".json", ".ndjson") or 2 * objects > len(lines):
        prompts = [_prompt(line, path) for line in lines]
        _check_references(prompts, lines, path)
    else:
        prompts = [Prompt(line.strip()) for line in text.split("\n") if line.strip()]
    count = len(_different(prompts))
    if count < 2 * FEWEST:
        raise DiagnosisError(
            f"{path} has {counted(count, 'different prompt')}, and {2 * FEWEST} are the least: half are chosen on, and half "
            "reported on"
        )
    return prompts


def _prompt(line: JsonLine, path: Path) -> Prompt:
    check_object(line, path, LIKE)
    row, where = line.value, f"{path}, line {line.number}"
    if unknown := [name for name in row if name not in FIELDS]:
        raise DiagnosisError(f"{where} has {unknown[0]!r}: there are {', '.join(FIELDS)}")
    prompt, text = row.get("prompt"), row.get("text")
    if not isinstance(prompt, str) or not prompt.strip():
        raise DiagnosisError(f"{where} has no prompt: a text that is to be answered")
    text = prompt if text is None else text
    if not isinstance(text, str) or not text.strip() or text not in prompt:
        raise DiagnosisError(f"{where}: its text must be a part of its prompt, or be left out")
    before, _, after = prompt.partition(text)
    reference = row.get("reference")
    if reference is None:
        return Prompt(text, before, after)
    if not isinstance(reference, str) or not reference.strip():
        raise DiagnosisError(
            f"{where}: its reference must be a text, a right answer, or be left out"
        )
    return ReferencedPrompt(text, before, after, reference.strip())


def _check_references(prompts: Sequence[Prompt], lines: Sequence[JsonLine], path: Path) -> None:
    without = first_without(lines, [isinstance(p, ReferencedPrompt) for p in prompts])
    if without is not None:
        raise DiagnosisError(
            f"{path}, line {without} has no reference, and others have: give all of them one, or none"
        )
