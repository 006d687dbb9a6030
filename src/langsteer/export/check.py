"""Whether llama.cpp does with an export what langsteer does with the change: both are run and compared.

The model's GGUF file is opened by transformers, dequantised, and run by llama-server with and without each vector, on lines
of the built-in corpus. The server goes on from each line for some tokens, with its cache; transformers reads the
same tokens in one pass. The server is healthy, and answers, also where it took no vector: so what
it says is compared, never whether it runs.
"""

import configparser
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor

from langsteer.engines.llama_cpp import (
    PRECISE,
    LlamaServer,
    Place,
    find_server,
    last_words,
    running,
    version_of,
)
from langsteer.errors import EngineError, ExportError
from langsteer.export.check_numbers import (
    Checked,
    Ours,
    Theirs,
    compare,
)
from langsteer.export.format import vectors_of
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.model.tokens import encode
from langsteer.progress import announce
from langsteer.steering.change import Change, steer
from langsteer.text.corpus import builtin

TEXTS, WRITTEN = 4, 8  # lines of the corpus, and tokens that are written after each
LIKELIEST = 1000  # tokens a place
UNFINISHED = "\ufffd"  # what a part of a character is decoded to
MOST_READ = 64  # tokens of a line
FULL_PRECISION = ("F32", "F16", "BF16")

Languages = Mapping[str, Sequence[Change]]
Bias = Sequence[tuple[int | str, float | bool]]


@dataclass(frozen=True)
class Report:
    """What came out for each language, with which llama.cpp, on which file."""

    engine: str
    model: Path
    quantised: bool
    checked: tuple[Checked, ...]

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong, by language."""
        told = {checked.language: checked.problem() for checked in self.checked}
        return {language: problem for language, problem in told.items() if problem is not None}

    def require(self) -> None:
        """Raise EngineError where a language is not steered as langsteer steers it."""
        if self.problems:
            listed = "; ".join(f"{tag}: {problem}" for tag, problem in self.problems.items())
            raise EngineError(
                f"llama.cpp does not steer {self.model.name} as langsteer does: {listed}"
            )

    def record(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "model": str(self.model),
            "quantised": self.quantised,
            "languages": [checked.record() for checked in self.checked],
        }


@dataclass(frozen=True)
class Pair:
    """A server that is steered and one that is not, or one server under two names of the model."""

    steered: LlamaServer
    plain: LlamaServer
    steered_name: str | None = None
    plain_name: str | None = None


Servers = Callable[[str], contextlib.AbstractContextManager[Pair]]


def check_control_vectors(
    changes: Languages,
    files: Mapping[str, Path],
    model: str | Path,
    *,
    program: str | Path | None = None,
    opened: Model | None = None,
) -> Report:
    """Run llama-server with each language's control vector file, and compare.

    `changes` are what the `files` were made of, by language; `model` is the GGUF file of the
    model, which transformers opens too, unless it is `opened`; `program` is where llama-server is. Raises EngineError where it cannot be run,
    ExportError where the changes are no vectors, and ModelError.
    """
    server, file = find_server(program), Path(model).expanduser()

    @contextlib.contextmanager
    def servers(language: str) -> Iterator[Pair]:
        plain = ("--model", str(file), *PRECISE)
        steered = (*plain, "--control-vector", str(files[language]))
        with running(server, plain) as without, running(server, steered) as with_vector:
            yield Pair(with_vector, without)

    return _check(changes, file, server, servers, opened)


def check_preset(
    changes: Languages,
    preset: Path,
    model: str | Path,
    *,
    program: str | Path | None = None,
    opened: Model | None = None,
) -> Report:
    """Run llama-server with a preset of all languages, and compare each; arguments and errors as above.

    The preset's first section is the model as it is, `NAME`; that of a language is `NAME-TAG`.
    """
    server, name = find_server(program), _plain_section(preset, Path(model))
    arguments = ("--models-preset", str(preset), "--models-max", "2", *PRECISE)

    @contextlib.contextmanager
    def servers(language: str) -> Iterator[Pair]:
        yield Pair(router, router, f"{name}-{language}", name)

    with running(server, arguments) as router:
        return _check(changes, Path(model), server, servers, opened)


def _plain_section(preset: Path, model: Path) -> str:
    reader = configparser.ConfigParser(interpolation=None, comment_prefixes=(";",))
    reader.read_string("[global]\n" + preset.read_text(encoding="utf-8"))
    name = reader.sections()[1]
    if Path(reader[name]["model"]).resolve() != model.expanduser().resolve():
        raise ExportError(f"{preset} runs {reader[name]['model']}: check it with that, not {model}")
    return name


def _check(
    changes: Languages, file: Path, program: Path, servers: Servers, opened: Model | None
) -> Report:
    checked = compare_all(opened or load_model(file), changes, servers)
    return Report(f"llama.cpp {version_of(program)}", file, is_quantised(file), checked)


def compare_all(model: Model, changes: Languages, servers: Servers) -> tuple[Checked, ...]:
    """What comes out for each language, where `servers` gives what runs it."""
    bias: Bias = [(token, False) for token in fragments(model)]
    checked = []
    for language, own in changes.items():
        announce(f"{language}: llama.cpp and transformers go on from {TEXTS} lines")
        with servers(language) as pair:
            lines = _lines(model, language)
            texts = [_compared(model, own, pair, ids, bias) for ids in lines]
        checked.append(compare(language, pair.steered_name or language, texts))
    return tuple(checked)


def is_quantised(file: Path) -> bool:
    """Whether a GGUF file holds weights that are not floating-point numbers."""
    kinds = {tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    return not kinds <= set(FULL_PRECISION)


def _lines(model: Model, language: str) -> Iterable[list[int]]:
    """Tokens of lines in the language; of the pivot where the corpus does not have it."""
    texts = builtin().texts
    lines = texts.get(language, texts["en"])[:TEXTS]
    return [text.ids[:MOST_READ] for text in encode(model, lines)]


def fragments(model: Model) -> list[int]:
    """Tokens that are parts of characters."""
    texts = model.tokenizer.batch_decode([[token] for token in range(model.vocab_size)])
    return [token for token, text in enumerate(texts) if UNFINISHED in text]


def _compared(
    model: Model, changes: Sequence[Change], pair: Pair, ids: list[int], bias: Bias
) -> tuple[Ours, Theirs]:
    """One line: the server goes on from it steered, and says what it would say there unsteered."""
    steered = pair.steered.places(ids, WRITTEN, LIKELIEST, pair.steered_name, bias)
    if not steered:
        raise EngineError(f"llama-server wrote nothing: {last_words(pair.steered.log)}")
    row = [*ids, *(place.token for place in steered[:-1])]
    plain: list[Place] = []
    for end in range(len(ids), len(row) + 1):
        plain += pair.plain.places(row[:end], 1, LIKELIEST, pair.plain_name, bias)
    return _ours(model, changes, row, len(steered)), Theirs(steered, plain)


@torch.inference_mode()
def _ours(model: Model, changes: Sequence[Change], row: list[int], places: int) -> Ours:
    inputs = model.batch([row])

    def logprobs() -> Tensor:
        return model.last_logits(inputs, places)[0].float().log_softmax(-1)

    plain = logprobs()
    with contextlib.ExitStack() as stack:
        for change in changes:
            stack.enter_context(steer(model, change, other_weights=True))
        fitted = logprobs()
    with everywhere(model, changes):
        return Ours(logprobs(), plain, fitted)


@contextlib.contextmanager
def everywhere(model: Model, changes: Sequence[Change]) -> Iterator[None]:
    """Inside, the vectors are added at every token, the beginning-of-sequence token too.

    A prompt of no tokens (the mask's width) makes all tokens generated ones, and those include it.
    """
    nothing = torch.zeros(1, 0, dtype=torch.bool)
    with contextlib.ExitStack() as stack:
        for vector in vectors_of(changes, "control vector"):
            applied = steer(model, vector, positions="generated", mask=nothing, other_weights=True)
            stack.enter_context(applied)
        yield
