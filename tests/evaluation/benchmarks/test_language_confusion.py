"""Whether an answer is in the language asked for."""

import pytest

pytest.importorskip("lm_eval")

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import (
    get_benchmark,
    make_task,
)
from langsteer.evaluation.benchmarks.language_confusion import line_pass, word_pass

ENGLISH = "The cat sat on the mat and looked at the dog."
GERMAN = "Die Katze saß auf der Matte und sah den Hund an."
HINDI = "बिल्ली चटाई पर बैठी थी और कुत्ते को देख रही थी।"
CHINESE = "猫坐在垫子上看着那只狗，然后慢慢地走开了，再也没有回来。"


@pytest.mark.parametrize(
    ("answer", "tag", "line", "word"),
    [
        (GERMAN, "de", 1.0, None),
        (ENGLISH, "de", 0.0, None),
        (f"{GERMAN}\n{ENGLISH}", "de", 0.0, None),
        (f"{GERMAN}\nOK.\n", "de", 1.0, None),
        ("Ja.", "de", None, None),
        ("", "de", None, None),
        (HINDI, "hi", 1.0, 1.0),
        (f"{HINDI} और फिर weather अच्छा था।", "hi", 1.0, 0.0),
        (f"{HINDI} और फिर Rome गए।", "hi", 1.0, 1.0),
        (ENGLISH, "hi", 0.0, None),
        (CHINESE, "zh-Hans", 1.0, 1.0),
    ],
)
def test_line_and_word_pass(answer: str, tag: str, line: float | None, word: float | None) -> None:
    pytest.importorskip("lingua")
    assert line_pass(answer, tag) == pytest.approx(
        float("nan") if line is None else line, nan_ok=True
    )
    assert word_pass(answer, tag) == pytest.approx(
        float("nan") if word is None else word, nan_ok=True
    )


def test_language_that_cannot_be_identified_is_refused() -> None:
    pytest.importorskip("lingua")
    doc = {"id": "1", "prompt": "x", "source": "flores", "language": "ace"}
    with pytest.raises(BenchmarkError, match=r"lingua cannot identify .*\(ace\)"):
        make_task(get_benchmark("language_confusion_flores"), "ace", [doc])
