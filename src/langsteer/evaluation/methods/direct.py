"""Direct: the model as it is. English: the English original of the same items, the upper bound."""

from langsteer.errors import BenchmarkError, MethodError
from langsteer.evaluation.methods.common import (
    EvaluationMethod,
    Plan,
    Setting,
    Stage,
    all_docs,
    asked_docs,
    english_form,
    form_of,
)


def direct(setting: Setting) -> Plan:
    return Plan(asked_docs(setting), setting.language, form_of(setting))


def english(setting: Setting) -> Plan:
    """Raises MethodError where the benchmark has no English original."""
    wanted = {doc["id"] for doc in asked_docs(setting)}
    try:
        docs = [doc for doc in all_docs(setting, "en") if doc["id"] in wanted]
    except BenchmarkError as error:
        raise MethodError(f"english: there is no original to ask: {error}") from error
    missing = len(wanted) - len(docs)
    if missing:
        raise MethodError(
            f"english: {missing} of the {len(wanted)} items in {setting.language} are not in the "
            f"English part of {setting.benchmark.title}"
        )
    return Plan(docs, "en", english_form(setting))


DIRECT = EvaluationMethod("direct", "Direct", direct, stage=Stage.NOW)
ENGLISH = EvaluationMethod(
    "english", "English original (upper bound)", english, kind="text", stage=Stage.NOW
)
