"""What is answered in a search for answers in the language."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langsteer.diagnosis import answers
from langsteer.diagnosis.answer_prompts import (
    REQUESTS,
    ReferencedPrompt,
    corpus_prompts,
    own_prompts,
    read_prompts,
    references,
)
from langsteer.diagnosis.answers import find_answers
from langsteer.errors import DiagnosisError
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from tests.helpers import build_model, pairs, run


def test_lines_of_a_corpus_with_requests() -> None:
    asked = corpus_prompts(pairs(60), 8)
    lines = {*pairs(60).texts["sw"]} - {*asked.fitted_on.texts["sw"]}
    assert (len(asked.choose), len(asked.report)) == (8, 8)
    for prompts in (asked.choose, asked.report):
        assert {prompt.source for prompt in prompts} <= lines
        ends = [request.format("Swahili") for request in REQUESTS]
        assert [prompt.after for prompt in prompts[:3]] == ends
    assert not {*asked.choose} & {*asked.report}


@given(st.lists(st.text(min_size=1), min_size=16, max_size=40, unique=True), st.integers(0, 3))
def test_prompts_of_ones_own_are_cut_in_two(texts: list[str], seed: int) -> None:
    prompts = [Prompt(text) for text in texts]
    asked = own_prompts(pairs(12), [*prompts, prompts[0]], "own", 100, seed)
    assert {*asked.choose} | {*asked.report} == {*prompts}
    assert not {*asked.choose} & {*asked.report}
    assert abs(len(asked.choose) - len(asked.report)) <= 1
    assert asked.fitted_on is not None
    assert own_prompts(pairs(12), prompts[::-1], "own", 100, seed).choose == asked.choose


MORE = [f"swali {i}" for i in range(16)]
JSON = "\n".join(f'{{"prompt": "{text}"}}' for text in MORE)


def test_a_file_of_lines(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffHabari?\r\n\n  Mji mkuu wa Kenya ni \n" + "\n".join(MORE), "utf-8")
    wanted = ["Habari?", "Mji mkuu wa Kenya ni", *MORE]
    assert read_prompts(file) == [Prompt(text) for text in wanted]


@pytest.mark.parametrize("name", ["p.jsonl", "p.JSONL", "p.ndjson", "p.txt"])
def test_a_file_of_json_lines(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(
        '{"prompt": "Translate: Hi.\\nSwahili:", "text": "Hi."}\n{"prompt": "Habari?", "id": 3}\n'
        + JSON,
        encoding="utf-8",
    )
    first = [Prompt("Hi.", "Translate: ", "\nSwahili:"), Prompt("Habari?")]
    assert read_prompts(file) == [*first, *map(Prompt, MORE)]


def test_json_is_not_taken_for_text(tmp_path: Path) -> None:
    rows = [json.dumps({"prompt": text}) for text in MORE]
    file = tmp_path / "prompts"
    file.write_text("[" + ",\n".join(rows) + "]", encoding="utf-8")
    with pytest.raises(DiagnosisError, match="is one JSON array: write one object a line"):
        read_prompts(file)
    file.write_text("\n".join(["Habari?", *rows]), encoding="utf-8")
    with pytest.raises(DiagnosisError, match="line 1 is not a JSON object"):
        read_prompts(file)
    file.write_text("\n".join(["[INST] Habari? [/INST]", *MORE]), encoding="utf-8")
    assert len(read_prompts(file)) == 17


def test_right_answers(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    rows = [{"prompt": f"{i} + 1 =", "text": str(i), "reference": f" {i + 1} "} for i in range(16)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    prompts = read_prompts(file)
    assert prompts[3] == ReferencedPrompt("3", "", " + 1 =", "4")
    asked = own_prompts(pairs(12), prompts, "own", 100)
    assert asked.scored
    assert references(asked.of("report")) == [str(int(p.source) + 1) for p in asked.of("report")]
    plain = own_prompts(pairs(12), list(map(Prompt, MORE)), "own", 100)
    assert not plain.scored
    assert references(plain.report) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}\n[1]', r"line 2 is not a JSON object \(list, not an object\)"),
        ('{"prompt": "a"', "line 1 is not a JSON object"),
        ('{"text": "a"}', "line 1 has no prompt"),
        ('{"prompt": " "}', "line 1 has no prompt"),
        (
            '{"prompt": "abc", "texts": "b"}',
            "line 1 has 'texts': there are prompt, text, reference, id",
        ),
        ('{"prompt": "abc", "text": "d"}', "line 1: its text must be a part of its prompt"),
        ('{"prompt": "abc", "reference": " "}', "line 1: its reference must be a text, a right"),
        (
            '{"prompt": "a", "reference": "b"}\n{"prompt": "c"}',
            "line 2 has no reference, and others have: give all of them one, or none",
        ),
        ('{"prompt": "abc", "text": 3}', "line 1: its text must be a part of its prompt"),
        ('{"prompt": "\\ud800 abc"}', "line 1 has half of a character"),
        (b"Habari\nmchana \xff", "is not UTF-8: line 2 has an invalid byte. Save it as UTF-8"),
        ("", "has 0 different prompts, and 16 are the least"),
        ('{"prompt": "a"}\n' * 20, "has 1 different prompt, and 16 are the least"),
    ],
)
def test_what_is_no_prompt(content: str | bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DiagnosisError, match=message):
        read_prompts(file)


def test_a_prompt_of_several_texts_counts_once() -> None:
    twins = [Prompt("b", "a ", " c"), Prompt("a", "", " b c")]
    others = [Prompt(text) for text in MORE]
    asked = own_prompts(pairs(12), [*twins, *others], "own", 100)
    assert twins[0] in (*asked.choose, *asked.report)
    assert len(asked.choose) + len(asked.report) == 17


def test_a_prompt_that_is_too_long_is_told_at_once(tmp_path: Path) -> None:
    model = build_model("llama", max_position_embeddings=128)
    prompts = [*map(Prompt, MORE), Prompt("y" * 120)]
    with pytest.raises(DiagnosisError, match=r"own: the prompt that begins 'yyy.*has 12. tokens"):
        find_answers(model, pairs(12), tmp_path, prompts=prompts, prompts_from="own")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DiagnosisError, match="cannot read"):
        read_prompts(tmp_path / "none.txt")


def test_too_few() -> None:
    with pytest.raises(DiagnosisError, match="own leaves under 8 lines"):
        own_prompts(pairs(12), [Prompt(str(i)) for i in range(15)], "own", 100)


def test_a_search_asks_them(llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [Prompt(f"swali {i}") for i in range(20)]
    asked: set[str] = set()
    real = answers.generate

    def generate(model: Model, given: list[Prompt], *more: object, **options: object) -> list[str]:
        asked.update(map(str, given))
        return real(model, given, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(answers, "NEW_TOKENS", 3)
    monkeypatch.setattr(answers, "generate", generate)
    change, results = find_answers(llama, pairs(60), tmp_path / "s", budget=0.01, prompts=prompts)
    assert asked == {str(prompt) for prompt in prompts}
    assert (results.report_lines, results.prompts) == (10, "prompts of one's own")
    assert results.recipe in {standing.candidate for standing in results.standings}
    assert change.corpus["lines"] == 60  # all of it is fitted on
    other = [
        Prompt("0", "swali "),
        *prompts[1:],
    ]  # the same texts, of which less is in the language
    for others, told in (
        (prompts[:18], "count of prompts is 20 there, and 18 now"),
        (other, "of other prompts"),
        (None, "prompts: given there, and not now"),
    ):
        with pytest.raises(DiagnosisError, match=told):
            find_answers(llama, pairs(60), tmp_path / "s", budget=0.01, prompts=others)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--for", "sib200"], "--prompts is for --for answers"),
        ([], "--prompts: --for is needed with it"),
        (["-l", "tr", "--for", "answers"], "answered in one language"),
    ],
)
def test_the_command_refuses(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.txt"
    file.write_text("\n".join(MORE), encoding="utf-8")
    output = ["--output", str(tmp_path / "a")]
    code, _, error = run(capsys, "fit", "-l", "sw", "--prompts", str(file), *output, *more)
    assert code == 1
    assert message in " ".join(error.split())
