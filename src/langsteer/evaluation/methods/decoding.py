"""What acts on logits while an answer is written: bans by script, the language confusion gate, a bias by word.

See `langsteer.steering.decoding`. For benchmarks whose answers are written.
"""

from collections.abc import Callable

from transformers import LogitsProcessor

from langsteer.errors import MethodError
from langsteer.evaluation.methods.common import (
    EvaluationMethod,
    Plan,
    Setting,
    asked_docs,
    form_of,
)
from langsteer.fitting.logit_bias import MOST
from langsteer.model.model import Model
from langsteer.steering.decoding.biased import Biased
from langsteer.steering.decoding.confusion_gate import ConfusionGate
from langsteer.steering.decoding.only_script import OnlyScript
from langsteer.steering.decoding.pivot_words import PivotWords, language_excess
from langsteer.text.corpus import ParallelCorpus

Maker = Callable[[Model, str], LogitsProcessor]


def _method(name: str, title: str, make: Maker) -> EvaluationMethod:
    def prepare(setting: Setting) -> Plan:
        return _plan(setting, name, lambda: make(setting.model, setting.language))

    return EvaluationMethod(name, title, prepare, kind="logits")


def _plan(setting: Setting, name: str, make: Callable[[], LogitsProcessor]) -> Plan:
    """Raises MethodError where answers are chosen, since nothing is written there."""
    if setting.benchmark.kind == "choice":
        raise MethodError(
            f"{name} acts on what is written, and answers to {setting.benchmark.title} are chosen"
        )
    docs = asked_docs(setting)
    return Plan(docs, setting.language, form_of(setting), processors=(make(),))


def pivot_words(setting: Setting, strength: float = 1.0) -> Plan:
    """From the setting's parallel corpus. Raises MethodError where there is none."""
    pair = _counted(setting, "pivot_words")
    return _plan(setting, "pivot_words", lambda: PivotWords(setting.model, pair, strength))


def language_words(setting: Setting, strength: float = 1.0, most: float = MOST) -> Plan:
    """From the setting's parallel corpus. Raises MethodError where there is none."""
    pair = _counted(setting, "language_words")

    def make() -> LogitsProcessor:
        return Biased([strength * language_excess(setting.model, pair, most)])

    return _plan(setting, "language_words", make)


def _counted(setting: Setting, name: str) -> ParallelCorpus:
    if setting.corpus is None:
        raise MethodError(f"{name} needs a parallel corpus to count words in")
    return setting.corpus.only(setting.language)


ONLY_SCRIPT = _method("only_script", "Only the language's script", OnlyScript)
WITHIN_REACH = _method(
    "within_reach", "Only the language's script, where it is within reach", ConfusionGate
)
CONFUSION_GATE = _method(
    "confusion_gate",
    "Language confusion gate, untrained",
    lambda model, language: ConfusionGate(model),
)
PIVOT_WORDS = EvaluationMethod(
    "pivot_words", "Less of the pivot's words", pivot_words, kind="logits"
)
LANGUAGE_WORDS = EvaluationMethod(
    "language_words", "More of the language's words", language_words, kind="logits"
)
