"""Translating first by an MT model."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers

pytest.importorskip("lm_eval")


from langsteer.errors import MethodError, MissingExtraError
from langsteer.evaluation.methods import get_method
from langsteer.evaluation.methods.machine import HubTranslator, code_of, language_codes
from langsteer.model.model import Model
from tests.made.published import write
from tests.made.settings import setting


@pytest.fixture(scope="module")
def nllb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny M2M-100 network with random weights, and a tokeniser of NLLB's kind."""
    folder = tmp_path_factory.mktemp("nllb")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789▁"
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    vocabulary |= {letter: i for i, letter in enumerate(letters, 4)}
    tokenizer = transformers.NllbTokenizer(vocab=vocabulary, merges=[])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.M2M100Config(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    transformers.M2M100ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_an_nllb_model(nllb: Path, model: Model, data: Path) -> None:
    plan = get_method("translate_mt").prepare(
        setting(model, data, limit=3), model=str(nllb), tokens=6, beams=2, batch=2
    )
    assert plan.extra_tokens > 0
    assert len(plan.docs) == 3
    assert plan.settings["translator"] == f"{nllb.name}_beams2"


def test_the_languages_are_told_to_the_model(nllb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = HubTranslator(str(nllb), str(nllb), 1, 5, 4)
    network, tokenizer = engine._opened()
    seen: dict[str, Any] = {}

    def generate(**options: Any) -> torch.Tensor:
        seen.update(options)
        return torch.tensor([[2, 4, 5]] * len(options["input_ids"]))

    monkeypatch.setattr(network, "generate", generate)
    assert engine.translate(["ab", "c"], "sw", "en") == ["ab", "ab"]
    assert seen["forced_bos_token_id"] == tokenizer.convert_tokens_to_ids("eng_Latn")
    first = tokenizer.convert_ids_to_tokens(seen["input_ids"][0].tolist())
    assert "swh_Latn" in first
    codes = language_codes(tokenizer)
    assert (codes["zh-Hans"], codes["ar"], codes["sw"]) == ("zho_Hans", "arb_Arab", "swh_Latn")
    with pytest.raises(MethodError, match="has no Klingon"):
        code_of(codes, "tlh", "nllb")


def test_a_model_of_one_pair_has_no_codes(tmp_path: Path) -> None:
    """Opus-MT: nothing is forced. The tokeniser is a stand-in, as Marian's needs sentencepiece."""
    config = transformers.MarianConfig(
        vocab_size=20,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=32,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
        forced_eos_token_id=2,
    )
    torch.manual_seed(0)
    engine = HubTranslator("opus-mt-sw-en", "opus-mt-sw-en", 2, 5, 4)
    from tests.helpers import character_tokenizer

    network = transformers.MarianMTModel(config).eval()
    tokenizer = character_tokenizer()

    def small(*args: Any, **options: Any) -> Any:
        inputs = tokenizer(*args, **options)
        inputs["input_ids"] %= 20
        inputs.pop("token_type_ids", None)
        return inputs

    class Small:
        def __call__(self, *args: Any, **options: Any) -> Any:
            return small(*args, **options)

        batch_decode = staticmethod(tokenizer.batch_decode)

    engine._open = network, Small()
    assert language_codes(Small()) == {}
    assert len(engine.translate(["ab", "cde", "f", "g", "h"], "sw", "en")) == 5
    assert engine.tokens > 0


def test_a_folder_of_ctranslate2(
    nllb: Path,
    tmp_path: Path,
    model: Model,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "converted"
    write(folder / "model.bin", "")
    given = setting(model, data, limit=2)
    options = {"model": str(folder), "tokenizer": str(nllb)}
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(MissingExtraError, match="needs ctranslate2"):
        get_method("translate_mt").prepare(given, **options)
    seen: list[Any] = []

    class Engine:
        def __init__(self, path: str) -> None:
            assert path == str(folder)

        def translate_batch(self, pieces: list[list[str]], **options: Any) -> list[Any]:
            seen.append((pieces, options))
            hypotheses = [["eng_Latn", "▁", "o", "k"]]
            return [type("Result", (), {"hypotheses": hypotheses})() for _ in pieces]

    module = ModuleType("ctranslate2")
    module.Translator = Engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ctranslate2", module)
    plan = get_method("translate_mt").prepare(given, **options)
    assert [doc["text"] for doc in plan.docs] == ["ok", "ok"]
    pieces, passed = seen[0]
    assert pieces[0][0] == "swh_Latn"
    assert passed["target_prefix"] == [["eng_Latn"]] * 2


def test_no_model_to_translate_with(model: Model, data: Path, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"cannot open .*none as a translation model"):
        get_method("translate_mt").prepare(setting(model, data), model=str(tmp_path / "none"))
