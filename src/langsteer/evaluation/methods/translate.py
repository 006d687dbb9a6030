"""Translate first: the items in English by another's hand, asked in the English rendering of the form.

By a file, by the model itself (self-translate; Etxaniz et al., arXiv 2308.01223), by an MT model
(`machine`) or by a web service (`service`). Translations are kept, a line each, and gone on with.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import NonNegativeInt, PositiveInt

from langsteer.errors import BenchmarkError, MethodError
from langsteer.evaluation.benchmarks import Doc, load_translations
from langsteer.evaluation.methods.common import (
    EvaluationMethod,
    Plan,
    Setting,
    asked_docs,
    digest,
    english_form,
)
from langsteer.progress import track
from langsteer.storage.lines import read_json_lines, write_json_lines
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import language_name

BATCH = 64
SELF_TOKENS = 160


@runtime_checkable
class Translator(Protocol):
    """Anything that translates. `name` tells its translations from others' where they are kept."""

    @property
    def name(self) -> str: ...

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """One translation a text; `source` and `target` are BCP 47 tags."""
        ...


@dataclass(frozen=True)
class Translation:
    text: str
    seconds: float
    tokens: int = 0


class Cache:
    """Translations by one translator, in a file of JSON lines that is written whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = [line.value for line in read_json_lines(path)] if path.is_file() else []
        self.rows: dict[str, dict[str, Any]] = {row["key"]: row for row in rows if _is_kept(row)}

    def get(self, text: str) -> Translation | None:
        row = self.rows.get(digest(text))
        if row is None:
            return None
        return Translation(row["translation"], row.get("seconds", 0.0), row.get("tokens", 0))

    def add(self, texts: Sequence[str], translations: Sequence[Translation]) -> None:
        for text, made in zip(texts, translations, strict=True):
            key = digest(text)
            self.rows[key] = {
                "key": key,
                "text": text,
                "translation": made.text,
                "seconds": round(made.seconds, 4),
                "tokens": made.tokens,
            }
        write_json_lines(self.path, self.rows.values())


def translate_file(setting: Setting, file: str | Path | None = None) -> Plan:
    """The publisher's translations, or those of a JSON lines file: `id` and the fields of an item.

    Raises MethodError where there are none, or some are missing.
    """
    asked = asked_docs(setting)
    if file is None:
        try:
            rows = load_translations(setting.benchmark, setting.language, "test", setting.data)
        except BenchmarkError as error:
            raise MethodError(f"translate_file: {error}") from error
    else:
        rows = _read_lines(setting, Path(file))
    translated = {str(row["id"]): row for row in rows}
    missing = [doc["id"] for doc in asked if doc["id"] not in translated]
    if missing:
        where = file or f"the translations of {setting.benchmark.title}"
        raise MethodError(
            f"translate_file: {len(missing)} of the {len(asked)} items are not in {where}, "
            f"the first {missing[0]!r}"
        )
    fields = translated_fields(setting)
    docs = [{**doc, **{f: translated[doc["id"]][f] for f in fields}} for doc in asked]
    settings = {"translations": str(file) if file else "the publisher's"}
    return Plan(docs, "en", english_form(setting), settings=settings)


def self_translate(
    setting: Setting,
    shots: NonNegativeInt = 4,
    tokens: PositiveInt = SELF_TOKENS,
    longest: PositiveInt = 200,
) -> Plan:
    """By the model itself, from `shots` pairs of the corpus of at most `longest` characters."""
    if setting.corpus is None:
        raise MethodError("self_translate needs a parallel corpus to take its examples from")
    pair = setting.corpus.only(setting.language)
    return translated_by(setting, SelfTranslator(setting, pair, shots, tokens, longest))


def translated_by(setting: Setting, translator: Translator) -> Plan:
    """Ask the items as `translator` puts them into English."""
    docs = asked_docs(setting)
    fields = translated_fields(setting)
    texts = list(dict.fromkeys(text for doc in docs for text in _texts(doc, fields)))
    made = translate_texts(setting, translator, texts)
    return Plan(
        [_replaced(doc, fields, made) for doc in docs],
        "en",
        english_form(setting),
        settings={"translator": translator.name, "texts": len(texts)},
        extra_seconds=sum(t.seconds for t in made.values()),
        extra_tokens=sum(t.tokens for t in made.values()),
    )


def translate_texts(
    setting: Setting, translator: Translator, texts: Sequence[str]
) -> dict[str, Translation]:
    """Each text's translation to English: kept ones first, then batch by batch, each kept at once.

    An empty translation is no translation: the text stays as it is.
    """
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in translator.name)
    cache = Cache(setting.work / "translations" / name / f"{setting.language}.jsonl")
    missing = [text for text in texts if cache.get(text) is None]
    groups = [missing[i : i + BATCH] for i in range(0, len(missing), BATCH)]
    for group in track(groups, f"Translating {setting.language}", len(groups)):
        started, before = time.perf_counter(), _tokens_of(translator)
        written = translator.translate(group, setting.language, "en")
        if len(written) != len(group):
            raise MethodError(
                f"{translator.name} gave {len(written)} translations of {len(group)} texts"
            )
        seconds = (time.perf_counter() - started) / len(group)
        tokens = (_tokens_of(translator) - before) // len(group)
        cache.add(
            group,
            [
                Translation(new.strip() or old, seconds, tokens)
                for old, new in zip(group, written, strict=True)
            ],
        )
    done = {text: cache.get(text) for text in texts}
    return {text: made for text, made in done.items() if made is not None}


def translated_fields(setting: Setting) -> tuple[str, ...]:
    return (*setting.benchmark.source, *setting.benchmark.answers)


class SelfTranslator:
    """The model, shown a few pairs: `Swahili: …` newline `English: …`."""

    def __init__(
        self, setting: Setting, pair: ParallelCorpus, shots: int, tokens: int, longest: int
    ) -> None:
        self._setting, self._limit = setting, tokens
        self.tokens = 0
        self._examples = _short_pairs(pair, shots, longest, setting.seed)
        weights = setting.model.fingerprint["weights"]
        shown = digest(weights, self._examples, tokens)[:12]
        self.name = f"self_{setting.model.name.rpartition('/')[2]}_{shown}"

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        from langsteer.evaluation.harness.model import LangsteerLM

        names = language_name(source), language_name(target)
        shown = "".join(
            f"{names[0]}: {here}\n{names[1]}: {there}\n\n" for here, there in self._examples
        )
        prompts = [f"{shown}{names[0]}: {' '.join(text.split())}\n{names[1]}:" for text in texts]
        lm = LangsteerLM(self._setting.model)
        written = lm.complete(prompts, max_new_tokens=self._limit, stop=("\n",))
        self.tokens += lm.cost.tokens
        return written


def _short_pairs(
    pair: ParallelCorpus, shots: int, longest: int, seed: int
) -> list[tuple[str, str]]:
    lines = list(zip(pair.texts[pair.language], pair.texts[pair.pivot], strict=True))
    fitting = [both for both in lines if max(map(len, both)) <= longest and min(map(len, both)) > 3]
    if len(fitting) < shots:
        raise MethodError(
            f"self_translate: {pair.name} has {len(fitting)} pairs of at most {longest} "
            f"characters, and {shots} are to be shown"
        )
    # By the English side, so that every language is shown the same sentences where it can be.
    return sorted(fitting, key=lambda both: digest(seed, both[1]))[:shots]


def _texts(doc: Doc, fields: Iterable[str]) -> Iterator[str]:
    for name in fields:
        value = doc[name]
        yield from [value] if isinstance(value, str) else value


def _replaced(doc: Doc, fields: Iterable[str], made: Mapping[str, Translation]) -> Doc:
    new = dict(doc)
    for name in fields:
        value = doc[name]
        new[name] = made[value].text if isinstance(value, str) else [made[v].text for v in value]
    return new


def _read_lines(setting: Setting, path: Path) -> list[Doc]:
    fields = ("id", *translated_fields(setting))
    try:
        lines = read_json_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise MethodError(f"translate_file: cannot read {path}: {error}") from error
    rows = []
    for line in lines:
        if not isinstance(line.value, dict) or any(name not in line.value for name in fields):
            raise MethodError(
                f"translate_file: {path}, line {line.number} is not a JSON object with "
                f"{', '.join(fields)}"
            )
        rows.append(line.value)
    return rows


def _is_kept(row: Any) -> bool:
    return isinstance(row, dict) and {"key", "translation"} <= set(row)


def _tokens_of(translator: Translator) -> int:
    return int(getattr(translator, "tokens", 0))


TRANSLATE_FILE = EvaluationMethod("translate_file", "Translate: file", translate_file, kind="text")
SELF_TRANSLATE = EvaluationMethod("self_translate", "Self-translate", self_translate, kind="text")
