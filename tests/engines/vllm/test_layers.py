"""The blocks that add, and what they read."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from langsteer.engines.vllm.catalogue import Catalogue, make_catalogue
from langsteer.engines.vllm.layers import find_blocks, install
from langsteer.engines.vllm.running import Running
from langsteer.engines.vllm.steering import Prompt, steering_of
from langsteer.engines.vllm.word import KEY, Word
from langsteer.errors import VectorError
from tests.helpers import make_vector, tiny

IDS = (1, 10, 11, 12, 13)


class Block(nn.Module):
    def forward(self, hidden: Tensor, residual: Tensor | None = None) -> Any:
        return hidden * 2 if residual is None else (hidden * 2, residual)


class Missing(Block):
    """A block that another pipeline stage holds."""


class Network(nn.Module):
    def __init__(self, layers: int = 4, **others: nn.Module) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(Block() for _ in range(layers))
        for name, module in others.items():
            self.add_module(name, module)


@pytest.fixture(autouse=True)
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of the one thing that is imported of vLLM."""
    names = ("vllm", "vllm.model_executor", "vllm.model_executor.models")
    for name in (*names, "vllm.model_executor.models.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    utils: Any = sys.modules["vllm.model_executor.models.utils"]
    utils.PPMissingLayer = Missing


@pytest.fixture
def catalogue() -> Catalogue:
    model = tiny("llama")
    return make_catalogue(
        {
            "sw": make_vector(model, 1, language="sw", layer=1),
            "tr": make_vector(model, 2, language="tr", layer=3, positions="generated"),
        }
    )


def travelling(catalogue: Catalogue, language: str, strength: float) -> dict[str, Any]:
    steering = steering_of(Word(language, strength), catalogue, Prompt(IDS, 1))
    assert steering is not None
    return {KEY: steering.plain()}


def test_each_token_gets_its_own(catalogue: Catalogue) -> None:
    network = Network()
    running = Running(catalogue, 64, torch.device("cpu"))
    install(network, running, 4)
    running.start("a", travelling(catalogue, "sw", 0.5))
    running.start("b", None)
    running.start("c", travelling(catalogue, "tr", -2.0))
    slots = running.slots_of(["c", "a", "b"])
    running.write(slots, np.array([4, 0, 0]), np.array([2, 3, 2], dtype=np.int32))
    hidden = torch.randn(8, 32)  # the last is padding
    sw, tr = (catalogue.changes[tag].tensors()["values"] for tag in ("sw", "tr"))
    wanted = {0: hidden * 2, 1: hidden * 2, 2: hidden * 2, 3: hidden * 2}
    wanted[1][3:5] += 0.5 * sw
    wanted[3][1:2] += -2.0 * tr
    for layer, block in enumerate(network.model.layers):
        assert torch.equal(block(hidden), wanted[layer])
        changed, residual = block(hidden, hidden)
        assert torch.equal(changed, wanted[layer])
        assert residual is hidden


def test_what_has_ended_leaves_nothing(catalogue: Catalogue) -> None:
    network = Network()
    running = Running(catalogue, 64, torch.device("cpu"))
    install(network, running, 4)
    hidden = torch.randn(6, 32)
    block = network.model.layers[1]
    running.start("a", travelling(catalogue, "sw", 1.0))
    running.write(running.slots_of(["a"]), np.array([0]), np.array([6]))
    assert not torch.equal(block(hidden), hidden * 2)
    running.end("a")
    running.start("b", None)
    running.write(running.slots_of(["b"]), np.array([0]), np.array([2]))
    assert torch.equal(block(hidden), hidden * 2)
    running.start("a", travelling(catalogue, "tr", 1.0))
    running.start("a", None)
    assert running.slots_of(["a", "b", "unknown"]).tolist() == [0, 0, 0]


def test_blocks_of_other_stages_are_left_alone(catalogue: Catalogue) -> None:
    network = Network()
    network.model.layers[3] = Missing()
    install(network, Running(catalogue, 8, torch.device("cpu")), 4)
    assert type(network.model.layers[3]) is Missing
    assert type(network.model.layers[1]).__name__ == "SteeredBlock"
    assert type(network.model.layers[0]) is Block


def test_a_compiled_block_is_compiled_once(catalogue: Catalogue) -> None:
    import torch._dynamo

    network = Network()
    running = Running(catalogue, 64, torch.device("cpu"))
    install(network, running, 4)
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(network.model.layers[1], backend=backend, fullgraph=True, dynamic=True)
    for tag, tokens in (("sw", 5), ("tr", 9), ("sw", 12)):
        running.start("a", travelling(catalogue, tag, 0.5))
        running.write(running.slots_of(["a"]), np.array([0]), np.array([tokens]))
        hidden = torch.randn(tokens, 32)
        assert torch.equal(compiled(hidden), network.model.layers[1](hidden))
    assert len(graphs) == 1


def test_blocks_are_those_of_the_text(catalogue: Catalogue) -> None:
    class Seeing(Network):
        def get_language_model(self) -> nn.Module:
            return self.model

    tower = nn.Module()
    tower.layers = nn.ModuleList(Block() for _ in range(4))
    assert find_blocks(Seeing(4, tower=tower), 4) is not tower.layers
    with pytest.raises(VectorError, match="cannot find the 4 decoder blocks of Network: 2 lists"):
        find_blocks(Network(4, tower=tower), 4)
    with pytest.raises(VectorError, match="0 lists of modules could be they"):
        find_blocks(Network(4), 5)


def test_states_of_another_form_are_refused(catalogue: Catalogue) -> None:
    network = Network()
    install(network, Running(catalogue, 8, torch.device("cpu")), 4)
    with pytest.raises(VectorError, match="returns states of another form"):
        network.model.layers[1](torch.zeros(2, 3, 32))
