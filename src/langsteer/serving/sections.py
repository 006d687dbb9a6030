"""Which of an engine's sections a request gets, where each section is the model with one vector.

A section cannot be changed for a single request: a strength of its own, or positions, are refused.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langsteer.model.opening import load_model
from langsteer.serving.asked import AUTO, Asked, Used, model_names, read_asked
from langsteer.serving.errors import RequestError
from langsteer.steering.change import Change
from langsteer.steering.router import CONFIDENT, Router
from langsteer.text.identify import Identified, identifiable, identify

Hear = Callable[[Sequence[str]], Sequence[Identified | None]]


@dataclass(frozen=True)
class Sections:
    """What can be chosen: the changes by language, and what hears a text's language (`router`),
    None where nothing does. The model's own name is that of the section without a vector.
    """

    name: str
    changes: Mapping[str, Change]
    router: Hear | None = None
    confidence: float = CONFIDENT
    names: Mapping[str, str | None] = field(init=False)

    def __post_init__(self) -> None:
        ours: Any = self  # what chooses, as far as a request is read; no model is open
        object.__setattr__(self, "names", model_names(self.name, ours))

    @property
    def pivot(self) -> str:
        return next(iter(self.changes.values())).pivot

    def asked(self, body: Mapping[str, Any]) -> Asked:
        """What a request asks for. Raises RequestError where it cannot be done."""
        model = body.get("model")
        if not isinstance(model, str) or model not in self.names:
            message = f"there is no model {model!a}: there are {', '.join(self.names)}"
            raise RequestError(message, 404, "model_not_found", "model")
        named = self.names[model]
        ours: Any = self
        asked = read_asked(body.get("steering", named or AUTO), named, ours)
        for what, value in (("strength", asked.strength), ("positions", asked.positions)):
            if value is not None and (what, value) != ("positions", "all"):
                raise RequestError(
                    f"llama-server adds each vector as it was started with, at every token: leave "
                    f"steering.{what} out",
                    code="invalid_steering",
                    param="steering",
                )
        return asked

    def used(self, asked: Asked, texts: Sequence[str]) -> Used:
        """What a request is steered with. Raises RequestError where its texts want different ones."""
        if asked.language != AUTO:
            return Used(asked, self._at_all(asked.language))
        if self.router is None:
            return Used(asked, self._at_all(next(iter(self.changes))))
        heard = list(self.router(texts)) or [None]
        tags = [self._sure(identified) for identified in heard]
        if len(set(tags)) > 1:
            raise RequestError(
                "the prompts are in several languages, and this server steers a request with one "
                "vector: ask once for each",
                param="prompt",
            )
        return Used(asked, self._at_all(tags[0]), heard[0])

    def section(self, used: Used) -> str:
        """The name under which llama-server lists the model so."""
        return self.name if used.change is None else f"{self.name}-{used.change.language}"

    def _at_all(self, tag: str | None) -> Change | None:
        change = self.changes.get(tag or "")
        return None if change is None else change.at("all")

    def _sure(self, heard: Identified | None) -> str | None:
        if heard is None or heard.confidence < self.confidence:
            return None
        return heard.language if heard.language in self.changes else None


def hearing(changes: Mapping[str, Change], router: Router | None, model: str | Path) -> Hear | None:
    """What hears a text's language: the router, on the model opened by transformers too; else lingua,
    where it is installed and knows the languages. None where there is neither, or one vector only.
    """
    if router is not None:
        return _by_states(router, model)
    if len(changes) == 1:
        return None
    pivot = next(iter(changes.values())).pivot
    tags = [*dict.fromkeys([*changes, pivot])]
    if not all(map(identifiable, tags)):
        return None
    return lambda texts: identify(texts, tags)


def _by_states(router: Router, model: str | Path) -> Hear:
    opened, alone = load_model(model), threading.Lock()
    router.check_fits(opened)

    def hear(texts: Sequence[str]) -> Sequence[Identified | None]:
        with alone:
            return router.identify(opened, texts) if all(texts) else [None] * len(texts)

    return hear


def texts_of(body: Mapping[str, Any]) -> list[str]:
    """The texts whose language counts: the prompts, or what the user said last."""
    if "prompt" in body:
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        return [prompt if isinstance(prompt, str) else "" for prompt in prompts]
    turns = body.get("messages", body.get("input"))
    if isinstance(turns, str):
        return [turns]
    listed = turns if isinstance(turns, list) else []
    said = [turn for turn in listed if isinstance(turn, dict) and turn.get("role") == "user"]
    return [_content(said[-1].get("content"))] if said else [""]


def _content(content: Any) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in parts if isinstance(text, str))
    return content if isinstance(content, str) else ""
