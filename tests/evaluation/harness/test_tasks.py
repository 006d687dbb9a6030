"""Which language a task, or the text of its items, is in."""

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from lm_eval.api.instance import Instance

from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.tasks import language_of_task
from langsteer.model.model import Model
from tests.helpers import vector_at


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("xcopa_sw", "sw"),
        ("belebele_swh_Latn", "sw"),
        ("global_mmlu_full_sw_anatomy", "sw"),
        ("mgsm_direct_zh", "zh-Hans"),
        ("flores_en-sw", "sw"),
        ("hellaswag", None),
        ("xcopa", None),
    ],
)
def test_language_of_task(name: str, tag: str | None) -> None:
    assert language_of_task(name, {"sw": 0, "zh-Hans": 0, "et": 0}) == tag


def test_the_text_tells_the_language_where_the_task_does_not(llama: Model) -> None:
    pytest.importorskip("lingua")
    lm = LangsteerLM(llama, vectors={"sw": vector_at(llama, 1), "et": vector_at(llama, 1, seed=5)})
    texts = {
        "Mvua kubwa ilinyesha jana usiku katika mji wetu": "sw",
        "Eile öösel sadas meie linnas tugevat vihma": "et",
        "Heavy rain fell in our town last night": None,
        "Izolo ebusuku imvula enkulu yanetha edolobheni lethu": None,
        "ok": None,
    }
    for text, tag in texts.items():
        request = Instance("loglikelihood", {"text": text}, (text, " x"), 0)
        request.task_name = "topics"
        assert lm.languages.of(request) == tag
