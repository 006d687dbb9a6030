"""Direct and English, on invented items in the published formats and a tiny model."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")


from langsteer.errors import MethodError
from langsteer.evaluation.methods import get_method
from langsteer.model.model import Model
from tests.made.settings import setting


def test_direct_and_a_limit_that_is_the_same_in_every_language(model: Model, data: Path) -> None:
    given = setting(model, data)
    plan = get_method("direct").prepare(given)
    assert [doc["id"] for doc in plan.docs] == [str(i) for i in range(200, 212)]
    assert (plan.language, plan.form, plan.change, plan.model) == ("sw", "english", None, None)
    limited = replace(given, limit=4)
    few = [get_method(name).prepare(limited) for name in ("direct", "english")]
    assert len(few[0].docs) == 4
    assert [d["id"] for d in few[0].docs] == [d["id"] for d in few[1].docs]
    assert few[1].docs[0]["text"].startswith("news")
    assert few[1].language == "en"


def test_english_has_the_form_asked_for(model: Model, data: Path) -> None:
    plan = get_method("english").prepare(setting(model, data, form="native"))
    assert plan.form == "native"
    (data / "sib200" / "eng_Latn" / "test.tsv").unlink()
    with pytest.raises(MethodError, match="there is no original to ask"):
        get_method("english").prepare(setting(model, data))
