"""Translating first: by a file, by the model, by an MT model, and by a web service."""

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers

pytest.importorskip("lm_eval")


from langsteer.errors import MethodError, MissingExtraError
from langsteer.evaluation.benchmarks import get_benchmark
from langsteer.evaluation.methods import Setting, get_method
from langsteer.evaluation.methods.machine import HubTranslator, code_of, language_codes
from langsteer.evaluation.methods.service import CHARACTERS_A_CALL, GoogleTranslator, open_service
from langsteer.evaluation.methods.translate import Cache, translate_texts, translated_by
from langsteer.model.model import Model
from tests.made.published import json_lines, write
from tests.made.settings import prompts_of, setting

SECRET = "AIza-very-secret"


@dataclass
class Shouting:
    """Puts texts into capitals, and counts what it was asked."""

    name: str = "shouting"
    calls: list[list[str]] = field(default_factory=list)
    fail_at: int = 99

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(list(texts))
        return [f"{text} ({source} to {target})" for text in texts]


# --- what is kept


def test_the_text_and_the_choices_are_translated(model: Model, data: Path) -> None:
    given = setting(model, data, "xcopa", form="native")
    plan = translated_by(given, Shouting())
    assert (plan.language, plan.form) == ("en", "native")
    first = plan.docs[0]
    assert first["premise"] == "Mvua test 0. (sw to en)"
    assert first["choice1"] == "Paa 0. (sw to en)"
    assert first["label"] == 0
    assert "because" in prompts_of(plan, given)[0]
    assert plan.extra_seconds >= 0


def test_translations_are_kept_and_gone_on_with(
    model: Model,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = setting(model, data)
    monkeypatch.setattr("langsteer.evaluation.methods.translate.BATCH", 5)
    stopped = Shouting(fail_at=1)
    with pytest.raises(KeyboardInterrupt):
        translated_by(given, stopped)
    after = Shouting()
    translated_by(given, after)
    assert [len(call) for call in after.calls] == [5, 2]
    translated_by(given, after)
    assert len(after.calls) == 2
    path = given.work / "translations" / "shouting" / "sw.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 12
    assert {"key", "text", "translation", "seconds", "tokens"} == set(rows[0])
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1][:9]]), encoding="utf-8")
    assert len(Cache(path).lines) == 11
    translated_by(given, Shouting(name="another"))
    assert (given.work / "translations" / "another").is_dir()


def test_a_translator_that_loses_texts(model: Model, data: Path) -> None:
    class Losing:
        name = "losing"

        def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
            return list(texts)[1:]

    class Silent:
        name = "silent"

        def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
            return [" " for _ in texts]

    given = setting(model, data)
    with pytest.raises(MethodError, match="losing gave 1 translations of 2 texts"):
        translate_texts(given, Losing(), ["a", "b"])
    assert translate_texts(given, Silent(), ["a"])["a"].text == "a"


# --- a file


def test_the_publishers_file(model: Model, data: Path) -> None:
    given = setting(model, data, "xcopa")
    plan = get_method("translate_file").plan(given)
    assert plan.docs[1]["premise"] == "Rain test 1."
    assert plan.docs[1]["choice2"] == "Sleep 1."
    assert [doc["id"] for doc in plan.docs] == [str(i) for i in range(6)]
    with pytest.raises(MethodError, match="SIB-200 is published without translations"):
        get_method("translate_file").plan(setting(model, data))


def test_a_users_file(model: Model, data: Path, tmp_path: Path) -> None:
    given = setting(model, data)
    rows = [{"id": str(i), "text": f"Sentence {i}."} for i in range(200, 212)]
    path = write(tmp_path / "own.jsonl", json_lines(rows))
    plan = get_method("translate_file").plan(given, file=path)
    assert plan.docs[3]["text"] == "Sentence 203."
    write(path, json_lines(rows[2:]))
    with pytest.raises(MethodError, match=r"2 of the 12 items are not in .*own\.jsonl"):
        get_method("translate_file").plan(given, file=path)
    write(path, json_lines([{"id": "200"}]))
    with pytest.raises(MethodError, match="line 1 is not a JSON object with id, text"):
        get_method("translate_file").plan(given, file=path)
    with pytest.raises(MethodError, match="cannot read"):
        get_method("translate_file").plan(given, file=tmp_path / "none.jsonl")


def test_googles_file_of_xcopa(model: Model, shared: Path) -> None:
    given = Setting(model, get_benchmark("xcopa"), "et", None, shared, shared)
    plan = get_method("translate_file").plan(given)
    english = get_method("english").plan(given)
    assert len(plan.docs) == 500
    assert [doc["label"] for doc in plan.docs] == [doc["label"] for doc in english.docs]


# --- the model itself


def test_self_translate(model: Model, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = setting(model, data)
    asked: list[str] = []

    def complete(self: Any, prompts: Sequence[str], **options: Any) -> list[str]:
        asked.extend(prompts)
        assert options["stop"] == ("\n",)
        return [" A sentence."] * len(prompts)

    monkeypatch.setattr("langsteer.evaluation.harness.model.LangsteerLM.complete", complete)
    plan = get_method("self_translate").plan(given, shots=3)
    assert plan.docs[0]["text"] == "A sentence."
    assert asked[0].endswith("Swahili: habari number 200\nEnglish:")
    assert asked[0].count("\nEnglish: ") == 3
    with pytest.raises(MethodError, match="needs a parallel corpus"):
        get_method("self_translate").plan(setting(model, data, corpus=None))
    with pytest.raises(MethodError, match="pairs of at most 5 characters"):
        get_method("self_translate").plan(given, longest=5)


def test_self_translate_counts_its_tokens(model: Model, data: Path) -> None:
    plan = get_method("self_translate").plan(setting(model, data, limit=2), shots=1, tokens=4)
    assert plan.extra_tokens > 2 * 20


# --- MT models


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
    plan = get_method("translate_mt").plan(
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
        get_method("translate_mt").plan(given, **options)
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
    plan = get_method("translate_mt").plan(given, **options)
    assert [doc["text"] for doc in plan.docs] == ["ok", "ok"]
    pieces, passed = seen[0]
    assert pieces[0][0] == "swh_Latn"
    assert passed["target_prefix"] == [["eng_Latn"]] * 2


def test_no_model_to_translate_with(model: Model, data: Path, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"cannot open .*none as a translation model"):
        get_method("translate_mt").plan(setting(model, data), model=str(tmp_path / "none"))


# --- a web service


@dataclass
class FakeGoogle:
    """Answers as Google Cloud Translation v2 does, after `failures` that it may be asked again."""

    url: str = ""
    failures: list[int] = field(default_factory=list)
    calls: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGoogle]:
    fake = FakeGoogle()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.calls.append((self.path, dict(self.headers), body))
            code = fake.failures.pop(0) if fake.failures else 200
            message = f"API key {SECRET} not valid"
            answer: dict[str, Any] = {"error": {"code": code, "message": message}}
            if code == 200:
                rows = [{"translatedText": f"{text} &amp; more"} for text in body["q"]]
                answer = {"data": {"translations": rows}}
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_port}/v2"
    monkeypatch.setenv("GOOGLE_TRANSLATE_API_KEY", SECRET)
    yield fake
    server.shutdown()
    server.server_close()


def test_google(google: FakeGoogle, model: Model, data: Path) -> None:
    google.failures = [503, 429]
    given = setting(model, data)
    plan = get_method("translate_service").plan(given, endpoint=google.url, pause=0.0)
    assert plan.docs[0]["text"] == "habari number 200 & more"
    assert len(google.calls) == 3
    path, headers, body = google.calls[-1]
    assert SECRET not in path
    assert headers["X-Goog-Api-Key"] == SECRET
    assert (body["source"], body["target"], body["format"]) == ("sw", "en", "text")
    kept = [file.read_text(encoding="utf-8") for file in given.work.rglob("*") if file.is_file()]
    assert kept
    assert not any(SECRET in text for text in kept)


def test_a_key_that_is_refused_is_not_told(google: FakeGoogle) -> None:
    google.failures = [403]
    with pytest.raises(MethodError, match=r"refused \(403\): API key … not valid") as caught:
        GoogleTranslator(google.url, pause=0.0).translate(["a"], "sw", "en")
    assert SECRET not in str(caught.value)
    assert len(google.calls) == 1
    google.failures = [500] * 9
    with pytest.raises(MethodError, match=r"refused \(500\)"):
        GoogleTranslator(google.url, retries=2, pause=0.0).translate(["a"], "sw", "en")
    assert len(google.calls) == 4


def test_no_key_and_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_TRANSLATE_API_KEY", raising=False)
    with pytest.raises(MethodError, match="in the environment variable GOOGLE_TRANSLATE_API_KEY"):
        GoogleTranslator().translate(["a"], "sw", "en")
    monkeypatch.setenv("OTHER", SECRET)
    engine = GoogleTranslator("http://127.0.0.1:9/", "OTHER", retries=1, pause=0.0)
    with pytest.raises(MethodError, match="cannot be reached") as caught:
        engine.translate(["a"], "sw", "en")
    assert SECRET not in str(caught.value)


def test_long_texts_are_sent_in_several_calls(google: FakeGoogle) -> None:
    texts = ["x" * 3000, "y" * 3000, "z" * (CHARACTERS_A_CALL + 1), *["short"] * 130]
    found = GoogleTranslator(google.url).translate(texts, "zh-Hans", "en")
    assert len(found) == len(texts)
    assert [len(body["q"]) for _, _, body in google.calls] == [1, 1, 1, 100, 30]
    assert google.calls[0][2]["source"] == "zh-CN"


def test_services_of_a_users_own() -> None:
    made = open_service("tests.evaluation.methods.test_translate:Shouting", name="mine")
    assert made.name == "mine"
    assert open_service(made) is made
    with pytest.raises(MethodError, match="no service 'nowhere'"):
        open_service("nowhere")
    with pytest.raises(MethodError, match="has no name and translate"):
        open_service("collections:Counter")
