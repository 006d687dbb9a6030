"""The Python that the first pages show, run as it stands there, on tiny models."""

import json
import re
from pathlib import Path

import pytest

import langsteer
from langsteer.model.model import Model
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import build_model, make_vector, pairs

ROOT = Path(__file__).parents[2]


def _python(page: str) -> str:
    (code, *_) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    return str(code)


def test_ten_lines_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build_model("gemma3")

    def load_model(name: str) -> Model:
        assert name == "gemma-3-270m"
        return model

    def builtin(*languages: str) -> ParallelCorpus:
        assert languages == ("sw",)
        return pairs()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(langsteer, "load_model", load_model)
    monkeypatch.setattr(langsteer, "builtin", builtin)
    exec(_python("README.md"), {})
    assert langsteer.load("sw.safetensors").language == "sw"
    assert capsys.readouterr().out.startswith("['")


def test_the_method_that_a_page_adds(llama: Model) -> None:
    namespace: dict[str, object] = {}
    exec(_python("docs/how-to/add-a-method.md"), namespace)
    method = namespace["METHOD"]
    vector = method.fit(llama, pairs())  # type: ignore[attr-defined]
    assert vector.method == "median"
    assert vector.values.shape == (llama.hidden_size,)
    assert float(vector.values.norm()) > 0


def test_serving_from_python_and_in_a_pipeline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build_model("gemma3")
    served = langsteer.steered(model, make_vector(model))
    blocks = re.findall(
        r"```python\n(.*?)```",
        (ROOT / "docs" / "how-to" / "serve.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert len(blocks) == 2

    def steered(name: str, vectors: str) -> langsteer.Steered:
        assert (name, vectors) == ("gemma-3-270m", "vectors/")
        return served

    monkeypatch.setattr(langsteer, "steered", steered)
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(block, namespace)
    answers = namespace["answers"]
    assert isinstance(answers, list)
    assert len(answers) == 2
    assert capsys.readouterr().out.startswith("Mji mkuu wa Kenya ni")


def test_the_format_that_a_page_adds(llama: Model, tmp_path: Path) -> None:
    namespace: dict[str, object] = {}
    exec(_python("docs/how-to/add-an-export.md"), namespace)
    form = namespace["FORMAT"]
    vector = make_vector(llama).at("all")
    form.export([vector], tmp_path / "sw.json")  # type: ignore[attr-defined]
    written = json.loads((tmp_path / "sw.json").read_text(encoding="utf-8"))
    numbers = {str(vector.layer): (vector.strength * vector.values).tolist()}
    assert written == {"layers": numbers, "note": None}
    assert form.is_own(tmp_path / "sw.json")  # type: ignore[attr-defined]
    with pytest.raises(langsteer.LangsteerError, match="every token"):
        form.export([make_vector(llama).at("source")], tmp_path / "no.json")  # type: ignore[attr-defined]
    form.export([make_vector(llama).at("source")], tmp_path / "all.json", everywhere=True)  # type: ignore[attr-defined]
    assert "on every token" in (tmp_path / "all.json").read_text(encoding="utf-8")
