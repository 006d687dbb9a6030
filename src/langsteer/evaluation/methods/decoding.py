"""What acts on logits while an answer is written: bans by script, and the language confusion gate.

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
from langsteer.model.model import Model
from langsteer.steering.decoding.confusion_gate import ConfusionGate
from langsteer.steering.decoding.only_script import OnlyScript

Maker = Callable[[Model, str], LogitsProcessor]


def _method(name: str, title: str, make: Maker) -> EvaluationMethod:
    def prepare(setting: Setting) -> Plan:
        if setting.benchmark.kind == "choice":
            raise MethodError(
                f"{name} acts on what is written, and answers to {setting.benchmark.title} are chosen"
            )
        processors = (make(setting.model, setting.language),)
        docs = asked_docs(setting)
        return Plan(docs, setting.language, form_of(setting), processors=processors)

    return EvaluationMethod(name, title, prepare, kind="logits")


ONLY_SCRIPT = _method("only_script", "Only the language's script", OnlyScript)
WITHIN_REACH = _method(
    "within_reach", "Only the language's script, where it is within reach", ConfusionGate
)
CONFUSION_GATE = _method(
    "confusion_gate",
    "Language confusion gate, untrained",
    lambda model, language: ConfusionGate(model),
)
