"""Make an open language model better in other languages with one vector at one layer."""

from langsteer.errors import LangsteerError
from langsteer.fitting.learning import METHODS, fit, learn, learn_all
from langsteer.model.model import Model, load_model, wrap_model
from langsteer.model.tokens import Prompt
from langsteer.states.capture import MeanStates, States, capture, mean_states, sentence_states
from langsteer.states.intervention import intervene
from langsteer.steering.generation import chat_prompt, generate
from langsteer.steering.router import Router, fit_router
from langsteer.steering.vector import SteeringVector, steer
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
from langsteer.version import __version__

__all__ = [
    "METHODS",
    "LangsteerError",
    "MeanStates",
    "Model",
    "ParallelCorpus",
    "Prompt",
    "Router",
    "States",
    "SteeringVector",
    "__version__",
    "builtin",
    "capture",
    "chat_prompt",
    "fit",
    "fit_router",
    "generate",
    "intervene",
    "language_name",
    "learn",
    "learn_all",
    "load_model",
    "mean_states",
    "parse_tag",
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
    "wrap_model",
]
