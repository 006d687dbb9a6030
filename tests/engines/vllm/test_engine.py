"""vLLM itself with a tiny model: every answer is that of transformers with the same vectors."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer.extras import installed
from langsteer.model.model import Model
from langsteer.model.tokens import encode
from langsteer.steering.change import Change, steer
from langsteer.steering.folder import read_changes
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import build_model, make_bias, make_vector

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(not installed("vllm"), reason="vLLM is not installed"),
]

SIZES = {"hidden_size": 64, "head_dim": 32, "max_position_embeddings": 512}
START = "The text is about what follows here: "  # a start that many prompts share
WORDS = ("abcde", "fghij klm", "nopqrstu", "vwxyz!", "0123 45")
LANGUAGES = ("sw", None, "tr", "et", "hi", "vi")
POSITIONS = ("source", "prompt", "generated", "all", None)
STEPS = {"max_model_len": 256, "max_num_batched_tokens": 64, "max_num_seqs": 64, "block_size": 32}


@pytest.fixture(scope="module")
def model() -> Model:
    return build_model("llama", seed=3, **SIZES)


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint, and vectors of one layer, of another, and of a reading and a writing part."""
    path = tmp_path_factory.mktemp("served")
    model.network.save_pretrained(path / "model")
    model.tokenizer.save_pretrained(path / "model")
    for seed, (tag, layer) in enumerate((("sw", 1), ("tr", 2))):
        made = make_vector(model, seed, language=tag, layer=layer, strength=3.0, positions="source")
        made.save(path / "vectors" / f"{tag}.safetensors")
    parts = [
        make_vector(model, 7, language="et", layer=1, strength=2.0, positions="prompt"),
        make_vector(model, 8, language="et", layer=3, strength=-2.0, positions="generated"),
    ]
    ChangeSequence(tuple(parts), strength=1.5).save(path / "vectors" / "et.safetensors")
    vector = make_vector(model, 9, language="hi", layer=2, strength=2.0, positions="prompt")
    ChangeSequence((vector, make_bias(model, "hi"))).save(path / "vectors" / "hi.safetensors")
    make_bias(model, "vi").save(path / "vectors" / "vi.safetensors")
    return path


@pytest.fixture(scope="module")
def changes(folder: Path) -> Mapping[str, Change]:
    return read_changes(folder / "vectors")


def run(folder: Path, rounds: Sequence[Any], **told: Any) -> dict[str, Any]:
    """What an engine of its own process answers."""
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), **told.pop("environment", {})}
    given = {
        "model": str(folder / "model"),
        "vectors": str(folder / "vectors"),
        "engine": {**STEPS, "compilation_config": {"backend": "eager"}, **told},
        "rounds": rounds,
    }
    done = subprocess.run(
        [sys.executable, str(root / "tests" / "made" / "vllm_engine.py")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        env=environment,
        timeout=500,
    )
    if "Model Runner V2 requires Triton" in done.stderr:
        pytest.skip("vLLM's second runner needs Triton, which it has not here")
    assert done.returncode == 0, done.stderr[-6000:]
    answered: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answered


def mixed(model: Model, count: int) -> list[dict[str, Any]]:
    """Requests of several languages and none, at all positions and strengths, of several lengths."""
    choices = itertools.cycle(itertools.product(LANGUAGES, POSITIONS, (None, 0.5)))
    requests = []
    for number, (language, positions, strength) in zip(range(count), choices, strict=False):
        text = START * (number % 3) + " ".join(WORDS[number % 5 :]) * (1 + number % 4)
        word = {"language": language, "positions": positions, "strength": strength}
        said = None if language is None else {k: v for k, v in word.items() if v is not None}
        ids = encode(model, [text])[0].ids
        requests.append({"prompt": ids, "steering": said, "tokens": 6 + number % 5})
    return requests


def expected(model: Model, request: Mapping[str, Any], changes: Mapping[str, Change]) -> list[int]:
    """The greedy tokens of transformers."""
    word = request["steering"] or {}
    change = changes.get(word.get("language", ""))
    ids = torch.tensor([request["prompt"]])
    options = {"max_new_tokens": request["tokens"], "do_sample": False, "eos_token_id": None}
    steered = [change] if change is not None else []
    with (
        torch.inference_mode(),
        steer(
            model, steered or [None], strength=word.get("strength"), positions=word.get("positions")
        ),
    ):
        written = model.network.generate(ids, attention_mask=torch.ones_like(ids), **options)
    return list(written[0, ids.shape[1] :].tolist())


def tokens(answers: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    return [answer["tokens"][0] for answer in answers]


def test_every_answer_is_that_of_transformers(
    model: Model, folder: Path, changes: Mapping[str, Change]
) -> None:
    """64 at once with chunked prefill, a prefix cache, preemption, in a compiled model, twice."""
    requests = mixed(model, 64)
    wanted = [expected(model, request, changes) for request in requests]
    plain = [expected(model, {**request, "steering": None}, changes) for request in requests]
    moved = sum(a != b for a, b in zip(wanted, plain, strict=True))
    assert moved > 30, "the vectors must change what is written, or nothing is shown"
    answered = run(folder, [requests, requests], num_gpu_blocks_override=20)
    first, second = answered["rounds"]
    assert tokens(first) == wanted
    assert tokens(second) == wanted
    assert answered["preempted"] > 0
    assert sum(answer["cached"] for answer in first) > 0
    assert answered["graphs"] == [answered["graphs"][0]] * 3
    assert answered["graphs"][0] > 0
    assert answered["breaks"] == 0


def test_blocks_are_shared_among_those_that_are_steered_alike(
    model: Model, folder: Path, changes: Mapping[str, Change]
) -> None:
    ids = encode(model, [START * 4])[0].ids
    whole = len(ids) // 32 * 32

    def asked(word: Any) -> list[dict[str, Any]]:
        return [{"prompt": ids, "steering": word, "tokens": 4}]

    late = {"language": "sw", "positions": "source", "spans": [[70, 90]]}
    words = (
        None,
        {"language": "sw", "positions": "generated"},
        {"language": "sw", "positions": "all"},
        {"language": "sw", "positions": "prompt"},
        {"language": "sw", "positions": "prompt", "strength": 0.5},
        {"language": "tr", "positions": "prompt"},
        late,
        {**late, "spans": [[70, 90], [100, 104]]},
        None,
    )
    answered = run(folder, [asked(word) for word in words])["rounds"]
    cached = [answers[0]["cached"] for answers in answered]
    assert cached == [0, whole, 0, whole, 0, 0, 64, 96, whole]
    wanted = [expected(model, asked(word)[0], changes) for word in words[:6]]
    assert [answers[0]["tokens"][0] for answers in answered[:6]] == wanted
    assert answered[8] == [{**answered[0][0], "cached": whole}]


def test_what_cannot_be_steered_is_an_error(model: Model, folder: Path) -> None:
    ids = encode(model, ["abcdefgh"])[0].ids
    texts = {"language": "sw", "positions": "text", "texts": ["cde"]}
    words = ("fr", '{"language": "sw", "positions": "some"}', {**texts, "texts": ["zzz"]}, "{")
    good = (texts, {"language": "sw", "positions": "source", "spans": [[3, 6]]}, "en", None)
    rounds = [[{"prompt": ids, "steering": word, "tokens": 4}] for word in (*words, *good)]
    several = [{"prompt": ids, "steering": "sw", "n": 3, "tokens": 4}, rounds[-1][0]]
    answered = run(folder, [*rounds, several, [several[0] | {"n": 1}]])["rounds"]
    errors = [answers[0].get("error", "") for answers in answered[:4]]
    assert all("VLLMValidationError" in error for error in errors)
    assert "there is no vector for fr: there are et, sw, tr" in errors[0]
    assert "'zzz' is not in the prompt" in errors[2]
    by_text, by_span, pivot, none, parallel, single = answered[4:]
    assert tokens(by_text) == tokens(by_span) != tokens(none) == tokens(pivot)
    assert parallel[0]["tokens"] == [single[0]["tokens"][0]] * 3
    assert parallel[1]["tokens"] == none[0]["tokens"]


@pytest.mark.parametrize(
    "told",
    [
        {"tensor_parallel_size": 2},
        {"pipeline_parallel_size": 2},
        {"environment": {"VLLM_USE_V2_MODEL_RUNNER": "1"}, "enforce_eager": True},
    ],
    ids=["tensor parallel", "pipeline parallel", "second runner"],
)
def test_however_the_model_is_run(
    model: Model, folder: Path, changes: Mapping[str, Change], told: dict[str, Any]
) -> None:
    requests = mixed(model, 40)
    wanted = [expected(model, request, changes) for request in requests]
    assert tokens(run(folder, [requests], **told)["rounds"][0]) == wanted


def test_vectors_of_another_model_are_refused(model: Model, folder: Path, tmp_path: Path) -> None:
    other = build_model("llama", num_hidden_layers=6, **SIZES)
    make_vector(other, language="sw").save(tmp_path / "vectors" / "sw.safetensors")
    os.symlink(folder / "model", tmp_path / "model")
    with pytest.raises(AssertionError, match="layers is 6 there and 4 here"):
        run(tmp_path, [])
