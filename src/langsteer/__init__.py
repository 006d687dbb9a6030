"""Make an open language model better in other languages with one vector at one layer.

The names below are loaded when they are first used, so that importing langsteer costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from langsteer.errors import LangsteerError
from langsteer.version import __version__

if TYPE_CHECKING:
    from langsteer.evaluation.calibrated import Calibrated, Choice, Priors, calibrated
    from langsteer.fitting.average import average
    from langsteer.fitting.learning import fit, learn, learn_all
    from langsteer.fitting.methods import METHODS
    from langsteer.fitting.router import fit_router
    from langsteer.hub.card import CardOptions
    from langsteer.hub.push import push_to_hub
    from langsteer.model.model import Model
    from langsteer.model.opening import load_model, wrap_model
    from langsteer.model.tokens import Conversation, Prompt
    from langsteer.states.capture import MeanStates, States, capture, mean_states, sentence_states
    from langsteer.states.intervention import Intervention, intervene
    from langsteer.steering.change import Change, steer
    from langsteer.steering.clamp import Clamp
    from langsteer.steering.folder import from_pretrained, load
    from langsteer.steering.generation import chat_prompt, generate
    from langsteer.steering.logit_bias import LogitBias
    from langsteer.steering.low_rank import LowRank
    from langsteer.steering.projection import Projection
    from langsteer.steering.router import Router
    from langsteer.steering.sequence import ChangeSequence
    from langsteer.steering.steered import Steered, steered
    from langsteer.steering.vector import SteeringVector
    from langsteer.text.corpus import ParallelCorpus, builtin
    from langsteer.text.languages import language_name, parse_tag
    from langsteer.text.readers import (
        read_corpus,
        read_flores,
        read_hub,
        read_jsonl,
        read_moses,
        read_ntrex,
        read_tmx,
        read_tsv,
    )

_HOMES = {
    "evaluation.calibrated": ("Calibrated", "Choice", "Priors", "calibrated"),
    "fitting.average": ("average",),
    "fitting.learning": ("fit", "learn", "learn_all"),
    "fitting.methods": ("METHODS",),
    "fitting.router": ("fit_router",),
    "hub.card": ("CardOptions",),
    "hub.push": ("push_to_hub",),
    "model.model": ("Model",),
    "model.opening": ("load_model", "wrap_model"),
    "model.tokens": ("Conversation", "Prompt"),
    "states.capture": ("MeanStates", "States", "capture", "mean_states", "sentence_states"),
    "states.intervention": ("Intervention", "intervene"),
    "steering.change": ("Change", "steer"),
    "steering.clamp": ("Clamp",),
    "steering.logit_bias": ("LogitBias",),
    "steering.folder": ("from_pretrained", "load"),
    "steering.generation": ("chat_prompt", "generate"),
    "steering.low_rank": ("LowRank",),
    "steering.projection": ("Projection",),
    "steering.router": ("Router",),
    "steering.sequence": ("ChangeSequence",),
    "steering.steered": ("Steered", "steered"),
    "steering.vector": ("SteeringVector",),
    "text.corpus": ("ParallelCorpus", "builtin"),
    "text.languages": ("language_name", "parse_tag"),
    "text.readers": (
        "read_corpus",
        "read_flores",
        "read_hub",
        "read_jsonl",
        "read_moses",
        "read_ntrex",
        "read_tmx",
        "read_tsv",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "METHODS",
    "Calibrated",
    "CardOptions",
    "Change",
    "ChangeSequence",
    "Choice",
    "Clamp",
    "Conversation",
    "Intervention",
    "LangsteerError",
    "LogitBias",
    "LowRank",
    "MeanStates",
    "Model",
    "ParallelCorpus",
    "Priors",
    "Projection",
    "Prompt",
    "Router",
    "States",
    "Steered",
    "SteeringVector",
    "__version__",
    "average",
    "builtin",
    "calibrated",
    "capture",
    "chat_prompt",
    "fit",
    "fit_router",
    "from_pretrained",
    "generate",
    "intervene",
    "language_name",
    "learn",
    "learn_all",
    "load",
    "load_model",
    "mean_states",
    "parse_tag",
    "push_to_hub",
    "read_corpus",
    "read_flores",
    "read_hub",
    "read_jsonl",
    "read_moses",
    "read_ntrex",
    "read_tmx",
    "read_tsv",
    "sentence_states",
    "steer",
    "steered",
    "wrap_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'langsteer' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"langsteer.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
