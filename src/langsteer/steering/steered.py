"""Steered: a model, the changes of several languages, and what chooses among them."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from langsteer.errors import VectorError
from langsteer.model.model import Model
from langsteer.model.opening import as_model, load_model
from langsteer.model.tokens import Prompt, Text, Tokens
from langsteer.states.generating import around_generate
from langsteer.states.intervention import PositionKind
from langsteer.steering.change import Change, steer
from langsteer.steering.files import ROUTER_NAME, FetchOptions, fetched, local_path
from langsteer.steering.folder import Source, changes_by_language
from langsteer.steering.generation import chat_prompt, generate
from langsteer.steering.router import CONFIDENT, Router
from langsteer.steering.sharing import Pushable
from langsteer.text.identify import Identified
from langsteer.text.languages import parse_tag


@dataclass(frozen=True, eq=False)
class Steered(Pushable):
    """A model whose texts are steered by their language.

    `changes` are by language tag. A text's language is the one that is named, else what `router`
    hears, where it is at least `confidence` sure; a single change without a router is every text's.
    `push_to_hub` shares the changes and the router, not the model.
    """

    model: Model
    changes: Mapping[str, Change]
    router: Router | None = None
    confidence: float = CONFIDENT
    other_weights: bool = False

    def __post_init__(self) -> None:
        if not self.changes:
            raise VectorError("there is no vector to steer with")
        for change in self.changes.values():
            change.check_fits(self.model, other_weights=self.other_weights)
        if self.router is not None:
            self.router.check_fits(self.model)

    @classmethod
    def from_pretrained(
        cls, repo_id: str | Path, model: Any, **options: Unpack[FetchOptions]
    ) -> "Steered":
        """`model`, as `steered` takes it, with all changes and the router of a repository of the hub;
        options as of `SteeringVector.from_pretrained`.
        """
        return steered(model, fetched(repo_id, **options))

    @property
    def network(self) -> Any:
        """The transformers model."""
        return self.model.network

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    @property
    def pivot(self) -> str:
        """The language that the changes lead to."""
        return next(iter(self.changes.values())).pivot

    def identify(self, texts: Sequence[Text]) -> list[Identified]:
        """The language that the router hears in each text. Raises VectorError without a router."""
        return self._the_router().identify(self.model, texts)

    def route(self, texts: Sequence[Text], language: str | None = None) -> list[Change | None]:
        """The change for each text: that of `language`, or of the one it is in; None for the pivot,
        for a language without a change, and where the router is unsure.

        Raises VectorError where a language is named that has no change, or where there are several
        changes and nothing that chooses among them.
        """
        if (named := self._named(language)) is not None:
            return [named[0]] * len(texts)
        if not texts:
            return []
        return [self.choose(identified) for identified in self.identify(texts)]

    def generate(
        self,
        texts: Sequence[Text],
        *,
        language: str | None = None,
        max_new_tokens: int = 64,
        strength: float | None = None,
        positions: PositionKind | None = None,
        on_text: Callable[[str], None] | None = None,
        **options: Any,
    ) -> list[str]:
        """Continue each text, steered by its language; arguments as of `route` and `generate`."""
        return generate(
            self.model,
            texts,
            self.route(texts, language),
            max_new_tokens=max_new_tokens,
            strength=strength,
            positions=positions,
            other_weights=self.other_weights,
            on_text=on_text,
            **options,
        )

    def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        language: str | None = None,
        max_new_tokens: int = 256,
        **options: Any,
    ) -> str:
        """The model's answer to a chat: a user's text, or turns `{"role": ..., "content": ...}`.

        The language is that of the last user's turn. Raises ModelError without a chat template.
        """
        conversation = chat_prompt(self.model, messages)
        change = self.route([Prompt(conversation.pieces[-2])], language)[0]
        return generate(
            self.model,
            [conversation],
            change,
            max_new_tokens=max_new_tokens,
            other_weights=self.other_weights,
            **options,
        )[0]

    def applied(
        self,
        texts: Sequence[Text] | None = None,
        *,
        language: str | None = None,
        strength: float | None = None,
        positions: PositionKind | None = None,
        mask: Tensor | None = None,
        any_thread: bool = False,
    ) -> AbstractContextManager[Any]:
        """Steer whatever runs the network inside a `with` block; arguments as of `steer`.

        With `texts`, each row of a batch is steered as its text is to be. Without, every call of
        the network's `generate` inside is, by the tokens it is given, so that `transformers.pipeline`
        and other loops around it need not know: then other passes are not steered.
        """
        if texts is None:
            return self._generate_routed(language, strength, positions, any_thread)
        return steer(
            self.model,
            self.route(texts, language),
            strength=strength,
            positions=positions,
            mask=mask,
            any_thread=any_thread,
            other_weights=self.other_weights,
        )

    @contextlib.contextmanager
    def _generate_routed(
        self,
        language: str | None,
        strength: float | None,
        positions: PositionKind | None,
        any_thread: bool,
    ) -> Iterator["Steered"]:
        def routed(
            prompt: Tensor | None, arguments: dict[str, Any]
        ) -> AbstractContextManager[None]:
            return steer(
                self.model,
                self._route_ids(prompt, arguments.get("attention_mask"), language),
                strength=strength,
                positions=positions,
                any_thread=any_thread,
                other_weights=self.other_weights,
            )

        with around_generate(self.network, routed):
            yield self

    def _route_ids(
        self, ids: Tensor | None, attention: Tensor | None, language: str | None
    ) -> list[Change | None]:
        """The change for each row of token ids [rows, tokens], padded where `attention` is 0."""
        if ids is None or ids.dim() != 2:
            raise VectorError("only token ids can be routed: hand input_ids to generate")
        if (named := self._named(language)) is not None:
            return [named[0]] * len(ids)
        special = set(self.tokenizer.all_special_ids)
        kept = torch.ones_like(ids) if attention is None else attention
        rows = [row[keep.bool()].tolist() for row, keep in zip(ids, kept, strict=True)]
        tokens = [Tokens(row, [i not in special for i in row]) for row in rows]
        told = self._the_router().identify_tokens(self.model, tokens)
        return [self.choose(identified) for identified in told]

    def _named(self, language: str | None) -> tuple[Change | None] | None:
        """The change that needs no text to be chosen, where that is so: a tuple of it."""
        if language is not None:
            tag = parse_tag(language)
            if tag == self.pivot:
                return (None,)
            if tag not in self.changes:
                there = ", ".join(sorted(self.changes))
                raise VectorError(f"there is no vector for {tag}: there are {there}")
            return (self.changes[tag],)
        if self.router is None and len(self.changes) == 1:
            return (next(iter(self.changes.values())),)
        return None

    def choose(self, identified: Identified) -> Change | None:
        """The change for a text that `identify` said this of; None where it is to be left alone."""
        return self._the_router().choose(identified, self.changes, self.confidence)

    def _the_router(self) -> Router:
        if self.router is None:
            raise VectorError(
                f"there are vectors for {', '.join(sorted(self.changes))} and no {ROUTER_NAME}, "
                "which tells languages apart: make one (fit --router), or name the language"
            )
        return self.router


def steered(
    model: Any,
    vectors: Source | Iterable[Source] | Mapping[str, Change],
    *,
    router: Router | None = None,
    confidence: float = CONFIDENT,
    other_weights: bool = False,
    **options: Any,
) -> Steered:
    """A model with its vectors and router in one object.

    `model` is what `load_model` takes (with its `options`), a `Model`, or a transformers network.
    `vectors` are a file, a folder with its router.safetensors, a repository of the hub like one
    (`user/repo`, `user/repo@revision`), several of them, or changes by language. Raises ModelError and VectorError.
    """
    changes = changes_by_language(vectors)
    opened = load_model(model, **options) if isinstance(model, str | Path) else as_model(model)
    return Steered(opened, changes, router or _router_of(vectors), confidence, other_weights)


def _router_of(vectors: Any) -> Router | None:
    """The router in the folder, where one folder is named and has one."""
    if isinstance(vectors, str | Path):
        file = local_path(vectors) / ROUTER_NAME
        return Router.load(file) if file.is_file() else None
    if isinstance(vectors, Sequence) and len(vectors) == 1:
        return _router_of(vectors[0])
    return None
