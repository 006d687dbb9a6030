"""Which language a task, or the text of its items, is in."""

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from lm_eval.api.instance import Instance

from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.tasks import language_of_docs, language_of_task
from langsteer.model.model import Model
from tests.helpers import vector_at


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("xcopa_sw", "sw"),
        ("belebele_swh_Latn", "sw"),
        ("global_mmlu_full_sw_anatomy", "sw"),
        ("mgsm_direct_zh", "zh-Hans"),
        ("flores_sw-en", "sw"),
        ("flores_en-sw", None),
        ("belebele_zho_Hant", None),
        ("mmmlu_sw_ke_anatomy", "sw"),
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


def requests(name: str, *texts: str) -> list[Instance]:
    made = []
    for text in texts:
        request = Instance("loglikelihood", {"text": text}, (text, " x"), 0)
        request.task_name = name
        made.append(request)
    return made


ITALIAN = "Ieri sera ha piovuto molto nella nostra città"
ENGLISH = "Heavy rain fell in our town last night"


def test_a_word_in_a_name_is_checked_against_the_text(llama: Model) -> None:
    pytest.importorskip("lingua")
    lm = LangsteerLM(llama, vectors={"it": vector_at(llama, 1), "am": vector_at(llama, 2)})
    told = [lm.languages.of(r) for r in requests("own_it", ITALIAN, ENGLISH)]
    assert told == ["it", None]
    amharic = "ትናንት ማታ በከተማችን ብዙ ዝናብ ዘነበ"  # a language that lingua does not know
    assert [lm.languages.of(r) for r in requests("own_am", amharic, ENGLISH)] == ["am", None]
    assert lm.languages.of(requests("own", amharic)[0]) is None


def test_which_task_is_steered_as_what_is_said_once(
    llama: Model, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("lingua")
    lm = LangsteerLM(llama, vectors={"it": vector_at(llama, 1)})
    asked = [
        *requests("xcopa_it", "ciao"),
        *requests("xnli_it", "ciao"),
        *requests("arc_de", "hallo"),
        *requests("bbh_it_object", ENGLISH, ENGLISH + "!"),
        *requests("own", ITALIAN, ENGLISH),
    ]
    lm.loglikelihood(asked, disable_tqdm=True)
    said = [record.getMessage() for record in caplog.records]
    assert "steered as Italian (it): xcopa_it, xnli_it" in said
    assert "not steered, for there is no vector for de (it): arc_de" in said
    looked = "the name tells no language, so each text was looked at; steered, "
    assert f"{looked}2 not: bbh_it_object" in said
    assert f"{looked}1 as it, 1 not: own" in said
    caplog.clear()
    lm.loglikelihood(asked, disable_tqdm=True)
    assert not caplog.records


def test_without_lingua_a_word_steers_nothing(
    llama: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("langsteer.text.identify._known", dict)
    lm = LangsteerLM(llama, vectors={"it": vector_at(llama, 1)})
    asked = requests("own_it", ITALIAN)
    assert lm.languages.of(asked[0]) is None
    lm.languages.tell(asked)
    assert "'it' may be a word: name one with language=" in caplog.text


def test_the_language_of_most_texts() -> None:
    pytest.importorskip("lingua")
    docs = [{"text": ITALIAN}, {"text": ITALIAN + "!"}, {"text": ENGLISH}]
    assert language_of_docs(docs, "own", ["it", "sw"]) == "it"
    assert language_of_docs(docs[1:], "own", ["it", "sw"]) is None
    assert language_of_docs([], "own", ["it"]) is None
