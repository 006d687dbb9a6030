"""Examples: balanced, the same in every language, never what is asked."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")


from langsteer.errors import BenchmarkError, MethodError
from langsteer.evaluation.methods import get_method
from langsteer.model.model import Model
from langsteer.steering.logit_bias import LogitBias
from tests.made.published import flores, tsv, write
from tests.made.settings import prompts_of, setting
from tests.made.topics import TOPICS


def test_few_shot_examples_are_balanced_and_the_same_everywhere(model: Model, data: Path) -> None:
    given = setting(model, data)
    here = get_method("few_shot").prepare(given, k=14)
    there = get_method("few_shot_english").prepare(given, k=14)
    assert [doc["id"] for doc in here.examples] == [doc["id"] for doc in there.examples]
    assert Counter(doc["category"] for doc in here.examples) == dict.fromkeys(TOPICS, 2)
    assert {"habari"} == {doc["text"].split()[0] for doc in here.examples}
    assert {"news"} == {doc["text"].split()[0] for doc in there.examples}
    assert here.chosen_on == {doc["id"] for doc in here.examples}
    assert (here.examples_language, there.examples_language) == (None, "en")
    other = get_method("few_shot").prepare(replace(given, seed=1), k=14)
    assert [doc["id"] for doc in here.examples] != [doc["id"] for doc in other.examples]
    prompt = prompts_of(there, given)[0]
    assert prompt.count("news number") == 14
    assert prompt.endswith("Text: habari number 200\nThe topic of this text is")


def test_english_examples_have_an_english_frame(model: Model, data: Path) -> None:
    given = setting(model, data, "xcopa", form="native")
    plan = get_method("few_shot_english").prepare(given, k=2)
    prompt = prompts_of(plan, given)[0]
    assert prompt.count("It rained on dev") == 2
    assert prompt.count(" because ") + prompt.count(" therefore ") == 2


def test_few_shot_never_takes_what_is_asked(model: Model, data: Path) -> None:
    given = setting(model, data)
    with pytest.raises(MethodError, match="cannot learn from the part test"):
        get_method("few_shot").prepare(given, part="test")
    path = data / "sib200" / "swh_Latn" / "train.tsv"
    rows: list[tuple[object, ...]] = [("index_id", "category", "text")]
    rows += [(1, "travel", "habari number 200"), (2, "travel", "habari nyingine")]
    write(path, tsv(rows))
    (data / "sib200" / "eng_Latn" / "train.tsv").unlink()
    plan = get_method("few_shot").prepare(given, k=1)
    assert [doc["index_id"] for doc in plan.examples] == [2]
    with pytest.raises(MethodError, match="2 examples were asked for"):
        get_method("few_shot").prepare(given, k=2)
    with pytest.raises(MethodError, match="k should be greater than 0, not 0"):
        get_method("few_shot").prepare(given, k=0)


def test_a_benchmark_without_a_part_to_learn_from(model: Model, data: Path) -> None:
    given = setting(model, data, "xcopa")
    plan = get_method("few_shot").prepare(given, k=2)
    assert plan.chosen_on == {doc["id"] for doc in plan.examples}
    with pytest.raises(MethodError, match="the part train, which XCOPA does not have"):
        get_method("few_shot").prepare(given, part="train")
    with pytest.raises(BenchmarkError, match="has no German"):
        get_method("direct").prepare(replace(given, language="de"))


def test_examples_of_a_benchmark_with_no_text_in_the_language(model: Model, tmp_path: Path) -> None:
    """A translation out of English is asked in English: other sentences are other items all the same."""
    flores(tmp_path)
    for code, text in {"eng_Latn": "A dog {}.", "swh_Latn": "Mbwa {}."}.items():
        lines = "".join(text.format(i) + "\n" for i in range(3))
        write(tmp_path / "flores200" / "dev" / f"{code}.dev", lines)
    given = setting(model, tmp_path, "flores_from_english")
    plan = get_method("few_shot").prepare(given, k=2)
    assert len(plan.examples) == 2
    assert all("dog" in doc["text"] for doc in plan.examples)
    both = get_method("few_shot+pivot_words").prepare(given, k=2)
    assert isinstance(both.change, LogitBias)
    assert len(both.examples) == 2
    more = get_method("few_shot+pivot_words*2 + language_words").prepare(given, k=2)
    assert more.change is not None
    assert [(part.method, part.strength) for part in more.change.parts] == [
        ("pivot_words", 2.0),
        ("language_words", 1.0),
    ]
    assert len(more.examples) == 2
