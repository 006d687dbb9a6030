"""Translating first: by a file and by the model; what is kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")


from langsteer.errors import MethodError
from langsteer.evaluation.benchmarks import get_benchmark
from langsteer.evaluation.methods import Setting, get_method
from langsteer.evaluation.methods.translate import (
    Cache,
    Translation,
    translate_texts,
    translated_by,
)
from langsteer.model.model import Model
from tests.made.published import json_lines, write
from tests.made.settings import prompts_of, setting
from tests.made.translators import Shouting


def test_the_text_and_the_choices_are_translated(model: Model, data: Path) -> None:
    given = setting(model, data, "xcopa", form="native")
    plan = translated_by(given, Shouting())
    assert (plan.language, plan.form) == ("en", "native")
    first = plan.docs[0]
    assert first["premise"] == "Mvua test 0. (sw to en)"
    assert first["choice1"] == "Paa 0. (sw to en)"
    assert first["label"] == 0
    assert "because" in prompts_of(plan, given)[0]
    assert plan.extra_seconds >= 0


def test_translations_are_kept_and_gone_on_with(
    model: Model,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = setting(model, data)
    monkeypatch.setattr("langsteer.evaluation.methods.translate.BATCH", 5)
    stopped = Shouting(fail_at=1)
    with pytest.raises(KeyboardInterrupt):
        translated_by(given, stopped)
    after = Shouting()
    translated_by(given, after)
    assert [len(call) for call in after.calls] == [5, 2]
    translated_by(given, after)
    assert len(after.calls) == 2
    path = given.work / "translations" / "shouting" / "sw.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 12
    assert {"key", "text", "translation", "seconds", "tokens"} == set(rows[0])
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1][:9]]), encoding="utf-8")
    assert len(Cache(path).rows) == 11
    translated_by(given, Shouting(name="another"))
    assert (given.work / "translations" / "another").is_dir()


def test_other_ends_of_lines_stay_inside_what_is_kept(tmp_path: Path) -> None:
    text = "a\u2028b\x85c\x0cd"
    cache = Cache(tmp_path / "sw.jsonl")
    cache.add([text], [Translation(text.upper(), 1.0)])
    assert Cache(cache.path).get(text) == Translation(text.upper(), 1.0)


def test_a_translator_that_loses_texts(model: Model, data: Path) -> None:
    class Losing:
        name = "losing"

        def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
            return list(texts)[1:]

    class Silent:
        name = "silent"

        def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
            return [" " for _ in texts]

    given = setting(model, data)
    with pytest.raises(MethodError, match="losing gave 1 translations of 2 texts"):
        translate_texts(given, Losing(), ["a", "b"])
    assert translate_texts(given, Silent(), ["a"])["a"].text == "a"


def test_the_publishers_file(model: Model, data: Path) -> None:
    given = setting(model, data, "xcopa")
    plan = get_method("translate_file").prepare(given)
    assert plan.docs[1]["premise"] == "Rain test 1."
    assert plan.docs[1]["choice2"] == "Sleep 1."
    assert [doc["id"] for doc in plan.docs] == [str(i) for i in range(6)]
    with pytest.raises(MethodError, match="SIB-200 is published without translations"):
        get_method("translate_file").prepare(setting(model, data))


def test_a_users_file(model: Model, data: Path, tmp_path: Path) -> None:
    given = setting(model, data)
    rows = [{"id": str(i), "text": f"Sentence {i}."} for i in range(200, 212)]
    path = write(tmp_path / "own.jsonl", json_lines(rows))
    plan = get_method("translate_file").prepare(given, file=path)
    assert plan.docs[3]["text"] == "Sentence 203."
    write(path, json_lines(rows[2:]))
    with pytest.raises(MethodError, match=r"2 of the 12 items are not in .*own\.jsonl"):
        get_method("translate_file").prepare(given, file=path)
    write(path, json_lines([{"id": "200"}]))
    with pytest.raises(MethodError, match="line 1 is not a JSON object with id, text"):
        get_method("translate_file").prepare(given, file=path)
    with pytest.raises(MethodError, match="cannot read"):
        get_method("translate_file").prepare(given, file=tmp_path / "none.jsonl")


def test_googles_file_of_xcopa(model: Model, shared: Path) -> None:
    given = Setting(model, get_benchmark("xcopa"), "et", None, shared, shared)
    plan = get_method("translate_file").prepare(given)
    english = get_method("english").prepare(given)
    assert len(plan.docs) == 500
    assert [doc["label"] for doc in plan.docs] == [doc["label"] for doc in english.docs]


# --- the model itself


def test_self_translate(model: Model, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = setting(model, data)
    asked: list[str] = []

    def complete(self: Any, prompts: Sequence[str], **options: Any) -> list[str]:
        asked.extend(prompts)
        assert options["stop"] == ("\n",)
        return [" A sentence."] * len(prompts)

    monkeypatch.setattr("langsteer.evaluation.harness.model.LangsteerLM.complete", complete)
    plan = get_method("self_translate").prepare(given, shots=3)
    assert plan.docs[0]["text"] == "A sentence."
    assert asked[0].endswith("Swahili: habari number 200\nEnglish:")
    assert asked[0].count("\nEnglish: ") == 3
    with pytest.raises(MethodError, match="needs a parallel corpus"):
        get_method("self_translate").prepare(setting(model, data, corpus=None))
    with pytest.raises(MethodError, match="pairs of at most 5 characters"):
        get_method("self_translate").prepare(given, longest=5)


def test_self_translate_counts_its_tokens(model: Model, data: Path) -> None:
    plan = get_method("self_translate").prepare(setting(model, data, limit=2), shots=1, tokens=4)
    assert plan.extra_tokens > 2 * 20
