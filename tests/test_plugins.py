"""Packages that join langsteer's registries."""

import importlib.metadata

import pytest

from langsteer import plugins
from langsteer.errors import FitError, PluginError
from langsteer.fitting.learning import fit, learn
from langsteer.fitting.methods import METHODS
from langsteer.fitting.options import Method, Options, make_vector
from langsteer.model.model import Model
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import pairs


def ones(model: Model, corpus: ParallelCorpus, options: Options = Options()) -> object:
    import torch

    return make_vector(
        model,
        corpus,
        options,
        values=torch.ones(model.hidden_size),
        layer=options.layer if options.layer is not None else 1,
        method="ones",
        state_norm=1.0,
    )


ONES = Method("ones", ones)
OTHER = Method("twos", ones)
NUMBER = 3


def points(*pairs: tuple[str, str]) -> list[importlib.metadata.EntryPoint]:
    return [
        importlib.metadata.EntryPoint(name, where, "langsteer.methods") for name, where in pairs
    ]


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(plugins, "_installed", lambda group: points(("ones", f"{__name__}:ONES")))
    return monkeypatch


def test_a_method_of_another_package(llama: Model, joined: pytest.MonkeyPatch) -> None:
    assert list(METHODS)[-1] == "ones"
    vector = learn(llama, pairs(), method="ones", layers=[1, 2], strengths=[0.5])
    assert vector.method == "ones"
    assert vector.layers in ((1,), (2,))
    assert fit(llama, pairs(), method="ones:2").layers == (2,)


def test_plugins_that_cannot_be_used(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(*pairs: tuple[str, str]) -> None:
        monkeypatch.setattr(plugins, "_installed", lambda group: points(*pairs))

    install(("ones", "nowhere.at_all:X"))
    assert "ones" in METHODS
    with pytest.raises(
        PluginError, match=r"ones of a package cannot be loaded from nowhere\.at_all"
    ):
        fit(llama, pairs(), method="ones")
    install(("ones", f"{__name__}:NUMBER"))
    with pytest.raises(PluginError, match="gives a int, not a Method"):
        fit(llama, pairs(), method="ones")
    install(("ones", f"{__name__}:OTHER"))
    with pytest.raises(PluginError, match="its own name is 'twos'"):
        fit(llama, pairs(), method="ones")
    install(("ones", f"{__name__}:ONES"), ("ones", f"{__name__}:OTHER"))
    with pytest.raises(PluginError, match="both add 'ones'"):
        list(METHODS)


def test_langsteers_own_names_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_installed", lambda group: points(("probe", f"{__name__}:ONES")))
    assert METHODS["probe"].name == "probe"
    assert list(METHODS).count("probe") == 1
    with pytest.raises(FitError, match="there is no method 'ones'"):
        fit(None, pairs(), method="ones")  # type: ignore[arg-type]
