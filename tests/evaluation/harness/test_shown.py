"""In every benchmark that comes with langsteer, and every form of it, a vector at the text touches the text."""

from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from langsteer.evaluation.benchmarks import get_benchmark, load_docs
from langsteer.evaluation.evaluate import show_tokens
from langsteer.evaluation.harness.spans import texts_of
from langsteer.model.model import Model
from tests.helpers import build_model, vector_at
from tests.made.published import WRITERS


@pytest.fixture(scope="module")
def model() -> Model:
    return build_model("llama", max_position_embeddings=4096)


@pytest.mark.parametrize("name", WRITERS)
def test_the_text_of_an_item_is_steered(name: str, model: Model, tmp_path: Path) -> None:
    writer, tags = WRITERS[name]
    writer(tmp_path)
    benchmark = get_benchmark(name)
    change = vector_at(model, 1)
    for form in benchmark.forms_of(tags[0]):
        vectors = {tags[0]: change}
        (item,) = show_tokens(model, [name], vectors, data=tmp_path, form=form)
        text = sum(s.tokens for s in item.stretches if s.part == "text" and s.steered)
        assert text > 0
        assert not any(s.steered for s in item.stretches if s.part != "text")
        doc = load_docs(benchmark, tags[0], "test", tmp_path)[0]
        longest = max(map(len, texts_of(doc, benchmark.source)), default=0)
        assert text >= 0.6 * longest
