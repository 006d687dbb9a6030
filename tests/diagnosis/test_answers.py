"""The search for a change that brings answers in the language."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langsteer.cli import options
from langsteer.diagnosis import answers
from langsteer.diagnosis.answer_prompts import FEWEST, ReferencedPrompt
from langsteer.diagnosis.answers import AnswerSearchResults, find_answers, ranked, write_answers
from langsteer.diagnosis.outcome import BEST
from langsteer.errors import DiagnosisError
from langsteer.evaluation import written
from langsteer.fitting.learning import method_of
from langsteer.model.model import Model
from langsteer.steering.clamp import Clamp
from langsteer.steering.folder import load
from langsteer.text.identify import Identified
from tests.helpers import pairs, run

SWAHILI = "Paka ameketi juu ya mkeka na anamtazama mbwa wa jirani kwa makini"
ENGLISH = "The cat sits on the mat and looks at the dog of the neighbour"
LOOP = "Paka ameketi juu ya mkeka. " * 4


@pytest.fixture(autouse=True)
def told_by_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of lingua, which takes long to load."""

    def identify(texts: Sequence[str]) -> list[Identified]:
        return [Identified("sw" if "Paka" in text else "en", 1.0) for text in texts]

    monkeypatch.setattr(written, "identify", identify)


Written = Callable[[Any], str]


def writing(monkeypatch: pytest.MonkeyPatch, text: Written) -> list[Any]:
    """In place of the model's answers, `text` of the change; gives the changes that were asked."""
    asked: list[Any] = []

    def generate(model: Model, prompts: Sequence[Any], change: Any, **more: Any) -> list[str]:
        asked.extend(change)
        return [text(each) for each in change]

    monkeypatch.setattr(answers, "generate", generate)
    return asked


def good_at_layer_3(change: Any) -> str:
    """English as it is; at layer 3 and beyond the usual reach, Swahili; else Swahili over and over."""
    if change is None:
        return ENGLISH
    first = change.parts[-1]
    right = isinstance(first, Clamp) and first.layer == 3 and first.options["reach"] == 1.25
    return SWAHILI if right else LOOP


def test_the_best_that_does_not_repeat_is_taken(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = writing(monkeypatch, good_at_layer_3)
    change, results = find_answers(llama, pairs(60), tmp_path / "s", budget=5.0)
    assert "answers(reach=1.25):3" in results.recipe
    assert results.better
    assert (results.before["right"], results.after["right"]) == (0.0, 100.0)
    assert results.changes["right"].low == 100.0
    assert results.report_lines == 12
    assert {s.candidate for s in results.standings} > {"nothing", "answers(reach=1):3"}
    file = write_answers(change, results, tmp_path / "sw.safetensors")
    assert file is not None
    saved = load(file, llama)
    assert saved.scores["search"]["changes"]["right"]["value"] == 100.0
    before = len(asked)
    again, told = find_answers(llama, pairs(60), tmp_path / "s", budget=5.0)
    assert len(asked) == before
    assert told == results
    assert again.layers == change.layers
    assert method_of(results.recipe).name == results.recipe  # it can be fitted again by its name


def test_a_budget_that_is_spent_pays_for_no_second_round(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing(monkeypatch, good_at_layer_3)
    _, results = find_answers(llama, pairs(60), tmp_path / "s", budget=0.0001)
    assert "answers(reach=1.25):3" not in results.recipe
    assert "answers(reach=1):3" in {s.candidate for s in results.standings}
    assert {s.lines for s in results.standings} == {FEWEST}


@pytest.mark.parametrize(("wrong", "is_default"), [(1, True), (6, False)])
def test_what_is_better_by_luck_is_not_chosen(
    wrong: int, is_default: bool, llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clamp is always right, and the default wrong in so many of twelve."""
    default = "mean_difference:2@generated*-0.5 + pivot_words*2 + language_words"
    written_by_default: list[str] = []

    def text(change: Any) -> str:
        if change is None:
            return ENGLISH
        first, *others = change.parts
        if isinstance(first, Clamp) and first.layer == 3:
            return SWAHILI
        if len(others) == 2 and first.strength == -0.5:
            written_by_default.append(SWAHILI if len(written_by_default) % 12 >= wrong else ENGLISH)
            return written_by_default[-1]
        return ENGLISH

    writing(monkeypatch, text)
    _, results = find_answers(llama, pairs(60), tmp_path / "s", budget=5.0)
    assert (results.recipe == default) == is_default, results.recipe


def test_a_search_that_was_stopped_goes_on(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = writing(monkeypatch, good_at_layer_3)
    _, whole = find_answers(llama, pairs(60), tmp_path / "whole", budget=5.0)
    total = len(asked)
    trials = (tmp_path / "whole" / "trials.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "trials.jsonl").write_text("".join(trials[:-6]), encoding="utf-8")
    asked.clear()
    _, rest = find_answers(llama, pairs(60), tmp_path / "cut", budget=5.0)
    assert 0 < len(asked) < total
    assert (rest.recipe, rest.after) == (whole.recipe, whole.after)
    with pytest.raises(DiagnosisError, match="is of another search"):
        find_answers(llama, pairs(60), tmp_path / "cut", budget=5.0, seed=1)


def test_nothing_is_written_where_nothing_helps(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing(monkeypatch, lambda change: ENGLISH if change is None else LOOP)
    change, results = find_answers(llama, pairs(60), tmp_path / "s", budget=5.0)
    assert results.after["right"] == 100.0
    assert not results.better  # it repeats itself
    assert write_answers(change, results, tmp_path / "sw.safetensors") is None
    assert write_answers(change, results, tmp_path / "sw.safetensors", anyway=True) is not None
    assert AnswerSearchResults.from_json(json.loads(json.dumps(results.as_json()))) == results


def test_a_score_stands_beside_where_right_answers_are_known(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing(monkeypatch, good_at_layer_3)
    for right, better in ((SWAHILI, True), (ENGLISH, False)):
        prompts = [ReferencedPrompt(f"swali {i}", reference=right) for i in range(20)]
        _, results = find_answers(
            llama, pairs(60), tmp_path / str(better), budget=5.0, prompts=prompts
        )
        assert results.after["right"] == 100.0
        assert (results.after["score"] == pytest.approx(100.0)) == better
        assert (results.before["score"] == pytest.approx(100.0)) != better
        assert results.better == better  # a lower score is no gain
        assert set(results.standings[0].measures) == {*written.MEASURES, "score"}


def test_with_the_model_s_own_answers(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "NEW_TOKENS", 3)
    change, results = find_answers(llama, pairs(60), tmp_path / "s", budget=0.01, limit=8)
    assert (tmp_path / "s" / BEST).is_file()
    assert change.layers == load(tmp_path / "s" / BEST, llama).layers
    assert not results.better


def test_too_few_lines(llama: Model, tmp_path: Path) -> None:
    with pytest.raises(DiagnosisError, match="leaves under 8 lines"):
        find_answers(llama, pairs(24), tmp_path / "s")


def test_ranking() -> None:
    candidates = {
        "loops": {"right": 100.0, "other": 0.0, "distinct_3": 40.0},
        "some": {"right": 95.0, "other": 5.0, "distinct_3": 99.0},
        "most": {"right": 92.0, "other": 0.0, "distinct_3": 81.0},
        "most, cleaner": {"right": 92.0, "other": 0.0, "distinct_3": 85.0},
    }
    more = dict.fromkeys(candidates, 0.0) | {"loops": 20.0}
    assert ranked(candidates, more) == ["most, cleaner", "most", "some", "loops"]
    assert ranked(candidates, more | {"loops": 9.0})[2] == "loops"
    assert ranked(candidates, more | {"loops": 1.0})[0] == "loops"
    assert ranked(candidates, more | {"loops": 1.0}, strict=True)[-1] == "loops"


def test_answers_by_command(
    llama: Model,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(options, "open_model", lambda **_: llama)
    writing(monkeypatch, good_at_layer_3)
    text = pairs(60).texts
    corpus, output = tmp_path / "pairs.tsv", tmp_path / "sw.safetensors"
    rows = zip(text["sw"], text["en"], strict=True)
    corpus.write_text("sw\ten\n" + "".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    command = ["fit", "-l", "sw", "-c", str(corpus), "--for", "answers", "-o", str(output)]
    code, out, err = run(capsys, *command)
    assert code == 0, err
    assert "answers(reach=1.25):3" in out
    assert "On 12 other lines" in out
    assert f"Written: {output}" in " ".join(out.split())
    assert load(output).scores["search"]["task"] == "answers"
    code, out, err = run(capsys, *command, "--json")
    assert code == 0, err
    assert json.loads(out)["better"] is True
    code, _, err = run(capsys, *command, "--data", str(tmp_path))
    assert (code, "--for answers has none" in err) == (1, True)


def test_more_repetition_is_told_from_chance() -> None:
    place = answers.MEASURES.index("distinct_3")
    before = np.full((16, len(answers.MEASURES)), 80.0)
    after = before.copy()
    after[:, place] += np.array([-20.0, 18.0] * 8)
    assert answers.more_repetition(after, before) == 0
    after[:, place] -= 10
    assert answers.more_repetition(after, before) > 0


def test_candidates_share_batches(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = answers.generate

    def generate(model: Model, prompts: Sequence[Any], change: Any, **more: Any) -> list[str]:
        sizes.append(len(prompts))
        return real(model, prompts, change, **more)

    monkeypatch.setattr(answers, "NEW_TOKENS", 3)
    monkeypatch.setattr(answers, "generate", generate)
    find_answers(llama, pairs(60), tmp_path / "s", budget=1.0)
    assert max(sizes) == answers.ROWS
    assert sum(sizes) > 4 * len(sizes)
