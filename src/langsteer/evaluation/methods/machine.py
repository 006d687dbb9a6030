"""Translate first, by an MT model: NLLB, M2M-100 or Opus-MT, through transformers or CTranslate2."""

import importlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt

from langsteer.errors import LanguageError, MethodError
from langsteer.evaluation.methods.common import EvaluationMethod, Plan, Setting
from langsteer.evaluation.methods.translate import translated_by
from langsteer.extras import need
from langsteer.text.languages import language_name, parse_tag

DEFAULT = "facebook/nllb-200-distilled-600M"
BEAMS = 4
TOKENS = 256

_CODE = re.compile(r"_*([a-z]{2,3}(?:_[A-Z][a-z]{3})?)_*")


def translate_mt(
    setting: Setting,
    model: str = DEFAULT,
    tokenizer: str | None = None,
    beams: PositiveInt = BEAMS,
    tokens: PositiveInt = TOKENS,
    batch: PositiveInt = 16,
) -> Plan:
    """`model`: a hub id, a folder, or a folder that CTranslate2 has written (`model.bin`).

    {source} and {target} in it stand for the languages, as Opus-MT has a model for each pair:
    `Helsinki-NLP/opus-mt-{source}-{target}`. A CTranslate2 folder without a tokeniser needs
    `tokenizer`, a hub id or folder. `tokens`: the longest translation.
    """
    name = model.format(source=setting.language.split("-")[0], target="en")
    if Path(name, "model.bin").is_file():
        engine: Any = ConvertedTranslator(name, tokenizer or name, beams, tokens, batch)
    else:
        engine = HubTranslator(name, tokenizer or name, beams, tokens, batch)
    return translated_by(setting, engine)


class HubTranslator:
    """An encoder-decoder of transformers, opened when the first text comes."""

    def __init__(self, model: str, tokenizer: str, beams: int, tokens: int, batch: int) -> None:
        self.model, self.tokenizer_name = model, tokenizer
        self.beams, self.limit, self.batch = beams, tokens, batch
        self.name = f"{Path(model).name}_beams{beams}"
        self.tokens = 0
        self._open: tuple[Any, Any] | None = None

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        network, tokenizer = self._opened()
        codes = language_codes(tokenizer)
        if codes:
            tokenizer.src_lang = code_of(codes, source, self.model)
        options = {"num_beams": self.beams, "max_new_tokens": self.limit}
        if codes:
            forced = code_of(codes, target, self.model)
            options["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(
                language_token(tokenizer, forced)
            )
        translations: list[str] = []
        for group in _in_groups(texts, self.batch):
            inputs = tokenizer(group, return_tensors="pt", padding=True, truncation=True)
            with torch.inference_mode():
                ids = network.generate(**inputs.to(network.device), **options)
            self.tokens += int(inputs["attention_mask"].sum()) + ids.numel()
            translations += tokenizer.batch_decode(ids, skip_special_tokens=True)
        return translations

    def _opened(self) -> tuple[Any, Any]:
        if self._open is None:
            transformers = importlib.import_module("transformers")
            try:
                network = transformers.AutoModelForSeq2SeqLM.from_pretrained(self.model)
            except (OSError, ValueError, KeyError) as error:
                raise MethodError(_cannot_open(self.model, error)) from error
            self._open = network.eval(), open_tokenizer(self.tokenizer_name)
        return self._open


class ConvertedTranslator:
    """A model that CTranslate2 has converted."""

    def __init__(self, folder: str, tokenizer: str, beams: int, tokens: int, batch: int) -> None:
        self.folder, self.tokenizer_name = folder, tokenizer
        self.beams, self.limit, self.batch = beams, tokens, batch
        self.name = f"{Path(folder).name}_ct2_beams{beams}"
        self.tokens = 0
        self._open: tuple[Any, Any] | None = None

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        engine, tokenizer = self._opened()
        codes = language_codes(tokenizer)
        more: dict[str, Any] = {}
        if codes:
            tokenizer.src_lang = code_of(codes, source, self.folder)
            prefix = language_token(tokenizer, code_of(codes, target, self.folder))
            more["target_prefix"] = [[prefix]] * len(texts)
        pieces = [tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in texts]
        results = engine.translate_batch(
            pieces,
            beam_size=self.beams,
            max_decoding_length=self.limit,
            max_batch_size=self.batch,
            **more,
        )
        written = [result.hypotheses[0][1 if codes else 0 :] for result in results]
        self.tokens += sum(map(len, pieces)) + sum(map(len, written))
        return [
            tokenizer.decode(tokenizer.convert_tokens_to_ids(row), skip_special_tokens=True)
            for row in written
        ]

    def _opened(self) -> tuple[Any, Any]:
        if self._open is None:
            ctranslate2 = need("ctranslate2", "mt", "a CTranslate2 model")
            try:
                engine = ctranslate2.Translator(self.folder)
            except (RuntimeError, ValueError) as error:
                raise MethodError(_cannot_open(self.folder, error)) from error
            self._open = engine, open_tokenizer(self.tokenizer_name)
        return self._open


def open_tokenizer(name: str) -> Any:
    transformers = importlib.import_module("transformers")
    try:
        return transformers.AutoTokenizer.from_pretrained(name)
    except ImportError:
        need("sentencepiece", "mt", f"the tokeniser of {name}")
        raise
    except (OSError, ValueError, KeyError) as error:
        raise MethodError(_cannot_open(name, error)) from error


def language_codes(tokenizer: Any) -> dict[str, str]:
    """A model's own code for each language tag; none for a model of one pair, such as Opus-MT."""
    names: Iterable[str] = getattr(tokenizer, "lang_code_to_id", None) or ()
    if not names:
        names = list(getattr(tokenizer, "extra_special_tokens", None) or ())
        names += list(getattr(tokenizer, "additional_special_tokens", None) or ())
    codes: dict[str, str] = {}
    for name in names:
        match = _CODE.fullmatch(name)
        if match is None:
            continue
        try:
            codes.setdefault(parse_tag(match[1]), match[1])
        except LanguageError:
            continue
    return codes


def language_token(tokenizer: Any, code: str) -> str:
    """The token of a language: NLLB's is its code, M2M-100's stands between underscores."""
    return code if code in tokenizer.get_vocab() or "_" in code else f"__{code}__"


def code_of(codes: dict[str, str], language: str, model: str) -> str:
    """Raises MethodError for a language that the model has no code for."""
    for tag in (language, language.split("-")[0]):
        if tag in codes:
            return codes[tag]
    raise MethodError(
        f"translate_mt: {model} has no {language_name(language)} ({language}); it has "
        f"{len(codes)} languages: {', '.join(sorted(codes)[:12])}…"
    )


def _in_groups(texts: Sequence[str], size: int) -> Iterable[list[str]]:
    return (list(texts[i : i + size]) for i in range(0, len(texts), size))


def _cannot_open(name: str, error: Exception) -> str:
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return f"translate_mt: cannot open {name} as a translation model: {line[:200]}"


TRANSLATE_MT = EvaluationMethod("translate_mt", "Translate: MT model", translate_mt, kind="text")
