from hypothesis import given
from hypothesis import strategies as st

from langsteer.evaluation.harness.spans import source_spans, texts_of


def found(prompt: str, *texts: str, perhaps: tuple[str, ...] = ()) -> list[str]:
    return [prompt[a:b] for a, b in source_spans(prompt, texts, perhaps)]


def test_every_place_where_a_text_stands() -> None:
    assert found("Text: jambo sana / jambo sana?", "jambo sana") == ["jambo sana"] * 2


def test_a_template_may_trim_a_text_or_change_its_ends() -> None:
    assert found("Mvua ilinyesha kwa hiyo", "Mvua ilinyesha.") == ["Mvua ilinyesha"]
    assert found("so: aliondoka mapema", "Aliondoka mapema") == ["liondoka mapema"]
    assert found("Q: habari zenu nyote leo!", " habari zenu nyote leo\n") == [
        "habari zenu nyote leo"
    ]


def test_a_text_that_is_not_there_is_not_found() -> None:
    assert found("The topic of this text is", "Mvua ilinyesha jana usiku") == []
    assert found("Mvua ilinyesha kwa hiyo", "x", perhaps=("Mvua ilinyesha.",)) == []


def test_texts_that_touch_are_one_span() -> None:
    assert source_spans("abcdef", ["abc", "def"]) == [(0, 6)]


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_a_text_inside_a_template_is_covered(before: str, text: str, after: str) -> None:
    prompt = before + text + after
    covered = {i for a, b in source_spans(prompt, [text]) for i in range(a, b)}
    inner = text.strip()
    start = prompt.find(inner)
    assert set(range(start, start + len(inner))) <= covered


def test_the_texts_of_an_item() -> None:
    doc = {"id": "x", "label": 3, "question": "cause", "premise": "Mvua ilinyesha.", "c": ["梨子"]}
    assert texts_of(doc) == ["Mvua ilinyesha.", "梨子"]
    assert texts_of(doc, ["premise"]) == ["Mvua ilinyesha."]
    assert texts_of(doc, ["missing"]) == []
    assert texts_of(None) == []
