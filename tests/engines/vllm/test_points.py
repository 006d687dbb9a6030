"""The wrappers around vLLM's functions, with stand-ins for its objects."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from langsteer.engines.vllm import core, front, worker
from langsteer.engines.vllm.running import Running
from langsteer.engines.vllm.start import catalogue_of, settings_of
from langsteer.engines.vllm.steering import is_plain
from langsteer.errors import EngineError, VectorError
from langsteer.steering.logit_bias import request_bias
from tests.helpers import BOS, character_tokenizer, make_bias, make_vector, tiny

IDS = [BOS, *range(10, 50)]


class RefusedError(Exception):
    def __init__(self, message: str, *, parameter: str) -> None:
        super().__init__(message)


@pytest.fixture(autouse=True)
def refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vllm", "vllm.exceptions"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    exceptions: Any = sys.modules["vllm.exceptions"]
    exceptions.VLLMValidationError = RefusedError


@pytest.fixture
def config(tmp_path: Path) -> Any:
    make_bias(tiny("llama"), "hi").save(tmp_path / "hi.safetensors")
    for seed, tag in enumerate(("sw", "tr")):
        made = make_vector(tiny("llama"), seed, language=tag, positions="source")
        made.save(tmp_path / f"{tag}.safetensors")
    return SimpleNamespace(
        additional_config={"langsteer": {"vectors": str(tmp_path)}},
        model_config=SimpleNamespace(hf_text_config=SimpleNamespace(bos_token_id=BOS)),
    )


def request(extra: Any, name: str = "a", **changes: Any) -> Any:
    params = SimpleNamespace(extra_args=extra, logit_bias=None)
    made = {"prompt_token_ids": IDS, "prompt_embeds": None, "resumable": False}
    return SimpleNamespace(sampling_params=params, req_id=name, **{**made, **changes})


def processed(config: Any, asked: Any) -> Any:
    processor = SimpleNamespace(vllm_config=config, tokenizer=character_tokenizer())
    return front.process_inputs(lambda own, *args: asked, processor, "id", "prompt")


def steered(config: Any, word: Any, name: str = "a", **changes: Any) -> Any:
    return processed(config, request({"langsteer": word}, name, **changes))


def test_a_word_becomes_what_travels(config: Any) -> None:
    given = {"langsteer": "sw", "other": 1}
    done = processed(config, request(given))
    assert is_plain(done.sampling_params.extra_args["langsteer"])
    assert done.sampling_params.extra_args["other"] == 1
    assert given == {"langsteer": "sw", "other": 1}
    assert processed(config, done) is done
    assert steered(config, "en").sampling_params.extra_args == {}
    assert processed(config, request(None)).sampling_params.extra_args is None
    pooling = SimpleNamespace(sampling_params=None)
    assert processed(config, pooling) is pooling


def test_a_bias_is_added_to_what_is_asked(config: Any) -> None:
    own = make_bias(tiny("llama"), "hi")
    done = steered(config, "hi").sampling_params
    assert done.extra_args == {}
    assert done.logit_bias == request_bias(own.values)
    token, other = (int((own.values != 0).int().argmax()), int((own.values == 0).int().argmax()))
    asked = request({"langsteer": "hi"})
    asked.sampling_params.logit_bias = {token: 1.5, other: -2.0}
    total = processed(config, asked).sampling_params.logit_bias
    assert total[token] == pytest.approx(done.logit_bias[token] + 1.5)
    assert total[other] == -2.0
    assert len(total) == len(done.logit_bias) + 1
    assert steered(config, "sw").sampling_params.logit_bias is None


@pytest.mark.parametrize(
    ("word", "changes", "message"),
    [
        ("fr", {}, "there is no vector for fr"),
        ("{", {}, "langsteer is not JSON"),
        ("sw", {"prompt_token_ids": None}, "a prompt of embeddings"),
        ("sw", {"prompt_embeds": torch.zeros(1)}, "a prompt of embeddings"),
        ("sw", {"resumable": True}, "goes on as it is read"),
    ],
)
def test_what_is_refused_is_refused_as_vllm_does(
    config: Any, word: str, changes: Any, message: str
) -> None:
    with pytest.raises(RefusedError, match=message):
        steered(config, word, **changes)


def test_a_beam_search_is_not_steered() -> None:
    asked = SimpleNamespace(vllm_xargs={"langsteer": "sw"})
    with pytest.raises(RefusedError, match="beam search"):
        front.beam_search(lambda own: 3, asked)
    assert front.beam_search(lambda own: 3, SimpleNamespace(vllm_xargs=None)) == 3


def test_no_request_passes_the_core_without_its_steering(config: Any) -> None:
    engine = SimpleNamespace(vllm_config=config)

    def passed(asked: Any) -> Any:
        return core.preprocess_add_request(lambda own, asked: asked, engine, asked)

    done = steered(config, "sw")
    assert passed(done) is done
    assert passed(request(None)) is not None
    with pytest.raises(VectorError, match="was not made out"):
        passed(request({"langsteer": "sw"}))
    other = {"scale": 1.0, "pieces": [[0, 3, "ff"]]}
    with pytest.raises(VectorError, match="the engine has no vector ff"):
        passed(request({"langsteer": other}))
    config.additional_config = {}
    with pytest.raises(EngineError, match="was started without any"):
        passed(done)


def test_blocks_have_the_keys_of_their_own_tokens(config: Any) -> None:
    def keys(asked: Any, start: int, own: Any = None) -> Any:
        def plain(*args: Any) -> Any:
            return own, 5

        return core.generate_block_hash_extra_keys(plain, asked, start, start + 16, 0)

    late = steered(config, {"language": "sw", "spans": [[20, 24]]})
    assert keys(late, 0) == (None, 5)
    assert keys(late, 0, (("lora", "a"),)) == ((("lora", "a"),), 5)
    (name, key), *rest = keys(late, 16)[0]
    assert name == "langsteer"
    assert key[:3] == (1.0, 4, 8)
    assert rest == []
    both = keys(late, 16, (("lora", "a"),))[0]
    assert both == (("lora", "a"), ("langsteer", key))
    assert keys(late, 32) == (None, 5)
    assert keys(request(None), 16) == (None, 5)


def running(config: Any) -> Running:
    return Running(catalogue_of(settings_of(config) or {}), 64, torch.device("cpu"))


def rows(written: Running, tokens: int) -> list[int]:
    return list(written.buffers.index[:tokens].tolist())


def test_the_first_runner(config: Any) -> None:
    written = running(config)
    batch = SimpleNamespace(
        req_ids=["b", "a", None], num_reqs=2, num_computed_tokens_cpu=np.array([38, 0, 0])
    )
    runner = SimpleNamespace(
        vllm_config=config,
        input_batch=batch,
        get_model=lambda: SimpleNamespace(langsteer_running=written),
    )
    new = [steered(config, "sw", "a"), steered(config, {"language": "tr", "positions": "all"}, "b")]
    step = SimpleNamespace(finished_req_ids=set(), scheduled_new_reqs=new)
    assert worker.update_states(lambda *args: "updated", runner, step) == "updated"
    assert worker.prepare_inputs(lambda *args: "ready", runner, step, np.array([5, 3])) == "ready"
    sw, tr = (
        written.catalogue.places[written.catalogue.entries[t].rows["all"][0]] for t in ("sw", "tr")
    )
    assert rows(written, 9) == [tr] * 5 + [0, sw, sw, 0]
    batch.req_ids, batch.num_reqs = ["a", None, None], 1
    batch.num_computed_tokens_cpu = np.array([40])
    gone = SimpleNamespace(finished_req_ids={"b"}, scheduled_new_reqs=[])
    worker.update_states(lambda *args: None, runner, gone)
    worker.prepare_inputs(lambda *args: None, runner, gone, np.array([2]))
    assert rows(written, 9) == [sw] + [0] * 8
    runner.get_model = lambda: SimpleNamespace()
    with pytest.raises(EngineError, match="the vectors are not in"):
        worker.update_states(lambda *args: None, runner, gone)
    config.additional_config = {}
    assert worker.prepare_inputs(lambda *args: "ready", runner, gone, np.array([2])) == "ready"


def test_the_second_runner(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def add_request(self, req_index: int, new: Any) -> None:
            self.calls.append(new.req_id)

        def remove_request(self, name: str) -> None:
            self.calls.append(f"without {name}")

        def prepare_inputs(self, batch: Any, states: Any) -> Any:
            return {"states": states}

    states: Any = ModuleType("model_states")
    states.resolve_model_state_cls = lambda config, model: (
        model.get_model_state_cls() if hasattr(model, "get_model_state_cls") else Plain
    )
    package: Any = ModuleType("vllm.v1.worker.gpu")
    package.model_states = states
    for name in ("vllm.v1", "vllm.v1.worker"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "vllm.v1.worker.gpu", package)
    written = running(config)
    model: Any = SimpleNamespace(langsteer_running=written)
    model.get_model_state_cls = lambda: worker._state_class(config, model)
    made = states.resolve_model_state_cls(config, model)()
    assert isinstance(made, Plain)
    assert hasattr(model, "get_model_state_cls")
    made.add_request(7, steered(config, "sw", "a"))
    made.add_request(2, request(None, "b"))
    batch = SimpleNamespace(
        num_reqs=2,
        idx_mapping_np=np.array([2, 7, 0]),
        num_computed_tokens_np=np.array([0, 38, 0], dtype=np.int32),
        num_scheduled_tokens=np.array([3, 4, 0], dtype=np.int32),
    )
    assert made.prepare_inputs(batch, "own") == {"states": "own"}
    sw = written.catalogue.places[written.catalogue.entries["sw"].rows["all"][0]]
    assert rows(written, 8) == [0, 0, 0, sw, sw, sw, 0, 0]
    made.remove_request("a")
    made.add_request(7, request(None, "c"))
    made.prepare_inputs(batch, None)
    assert rows(written, 8) == [0] * 8
    assert made.calls == ["a", "b", "without a", "c"]
