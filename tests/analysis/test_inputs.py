from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langsteer.analysis.inputs import check_languages, chosen_lines, vectors_for
from langsteer.analysis.layers.analyze import analyze
from langsteer.errors import (
    AnalysisError,
    CorpusError,
    LangsteerError,
    VectorError,
)
from langsteer.model.model import Model
from langsteer.text.corpus import ParallelCorpus, builtin, spread
from tests.helpers import tiny
from tests.made.analysis import QUICK, corpus, noise, vector


def test_spread() -> None:
    assert spread(10, 5) == (0, 2, 4, 6, 8)
    assert spread(3, 9) == (0, 1, 2)
    assert spread(3, 0) == ()


def test_the_held_out_part_is_read() -> None:
    text = builtin("sw")
    chosen = chosen_lines(text, None)
    assert len(chosen) == 203
    assert set(chosen.parts) == {"report"}
    few = chosen_lines(text, 14)
    assert len(few) == 14
    assert len(set(few.topics)) == 7
    assert len(chosen_lines(corpus("sw"), 50)) == 12


def test_bad_input_is_one_line(tmp_path: Path, llama: Model) -> None:
    text = corpus("sw", lines=6)

    def refused(message: str, kind: type[LangsteerError] = AnalysisError) -> Any:
        return pytest.raises(kind, match=message)

    with refused("at least 2 lines|2 are the least"):
        analyze(llama, text.lines([0]))
    with refused("needs 2 lines or more, not 1"):
        analyze(llama, text, lines=1)
    hole = ParallelCorpus({"sw": ("habari", " "), "en": ("news", "tree")}, "en", "holes")
    with refused(r"holes has no Swahili \(sw\) in line 2"):
        analyze(llama, hole)
    good = vector(llama, noise(32).float(), 1)
    with refused("vector for German"):
        analyze(llama, text, {"de": replace(good, language="de")})
    with refused("given for sw is one for de"):
        analyze(llama, text, {"sw": replace(good, language="de")})
    with refused("leads to fr, and the analysis compares with en"):
        analyze(llama, text, {"sw": replace(good, pivot="fr")})
    with refused("steers generated tokens only"):
        analyze(llama, text, {"sw": replace(good, positions="generated")})
    with refused("does not fit tiny-gpt2: architecture is llama", VectorError):
        analyze(tiny("gpt2"), text, {"sw": good})
    with refused("no map 'tsne'"):
        analyze(llama, text, options=replace(QUICK, map="tsne"))
    with refused("there is no tuned lens file"):
        analyze(llama, text, tuned_lens=tmp_path / "none")
    with refused(r"English \(en\) is the pivot"):
        check_languages(["sw", "eng_Latn"], "en")
    with refused("name a language to analyse"):
        check_languages([], "en")
    with refused("has one language", CorpusError):
        ParallelCorpus({"en": ("a", "b")}, "en", "alone")


def test_vectors_of_a_folder(tmp_path: Path, llama: Model) -> None:
    for tag in ("sw", "de"):
        vector(llama, noise(32).float(), 1, language=tag).save(tmp_path / f"{tag}.safetensors")
    assert set(vectors_for([], (), tmp_path)) == {"sw", "de"}
    assert set(vectors_for(["swh_Latn"], (), tmp_path)) == {"sw"}
    assert set(vectors_for(["sw"], [tmp_path / "de.safetensors"], None)) == {"de"}
    with pytest.raises(VectorError, match="several vectors for de"):
        vectors_for(["sw"], [tmp_path / "de.safetensors"], tmp_path)
    twice = [tmp_path / "de.safetensors"] * 2
    with pytest.raises(VectorError, match="one of several vectors for de"):
        vectors_for([], twice, None)
