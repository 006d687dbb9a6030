"""How a request asks to be steered, by its field `steering` or its model's name, and what was used."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langsteer.errors import LanguageError
from langsteer.serving.errors import RequestError
from langsteer.states.intervention import POSITIONS, PositionKind
from langsteer.steering.change import Change
from langsteer.steering.steered import Steered
from langsteer.steering.vector import SteeringVector
from langsteer.text.identify import Identified
from langsteer.text.languages import parse_tag

AUTO = "auto"
MOST = 100.0  # a strength beyond this is a slip, and overflows in half precision
FIELDS = ("language", "strength", "positions", "layer")


@dataclass(frozen=True)
class Asked:
    """What a request asks for: a language, `auto` for the one that is heard, None for no steering."""

    language: str | None = AUTO
    strength: float | None = None
    positions: PositionKind | None = None
    layer: int | None = None


@dataclass(frozen=True, eq=False)
class Used:
    """What a request was steered with, and what the router heard, where it was asked."""

    asked: Asked
    change: Change | None
    identified: Identified | None = None

    def record(self) -> dict[str, Any]:
        """What the reply says: `vector` is None where the text was not steered."""
        heard = self.identified
        return {
            "requested": self.asked.language,
            "vector": self.change.language if self.change is not None else None,
            "strength": self.change.strength if self.change is not None else None,
            "positions": self.change.positions if self.change is not None else None,
            "layers": list(self.change.layers) if self.change is not None else None,
            "language": heard.language if heard is not None else None,
            "confidence": round(heard.confidence, 4) if heard is not None else None,
        }


def model_names(name: str, ready: Steered) -> dict[str, str | None]:
    """The names that a model is listed under, each with the language it asks for; None: the name says nothing."""
    tags = (AUTO, *sorted(ready.changes))
    return {name: None, **{f"{name}-{tag}": tag for tag in tags}}


def check_name(name: Any, names: Collection[str]) -> None:
    """Raise RequestError where no model is listed under a name."""
    if not isinstance(name, str) or name not in names:
        message = f"there is no model {name!a:.200}: there are {', '.join(names)}"
        raise RequestError(message, 404, "model_not_found", "model")


def layer_moves(change: Change) -> bool:
    """Whether a change may be tried at another layer: a vector, which is added wherever it is put.
    A map of states is of the layer whose states it was made of.
    """
    return isinstance(change, SteeringVector)


def read_asked(field: Any, named: str | None, ready: Steered, moves: bool = False) -> Asked:
    """What the field `steering` and the model's name ask for together.

    `named` is the language of the model's name, None where it names none; `moves`, whether the
    engine can put a vector at another layer. Raises RequestError where the field is not understood,
    or says something else than the name.
    """
    if isinstance(field, Mapping):
        asked = _of_object(field, named or AUTO)
    elif field is None or isinstance(field, str):
        asked = Asked(field)
    else:
        raise _wrong("steering is a language, auto, null, or an object")
    language = _language(asked.language, ready)
    if named not in (None, AUTO) and language != named:
        raise _wrong(f"the model's name asks for {named}, and steering for {language or 'null'}")
    if asked.layer is not None:
        _check_layer(asked.layer, language, ready, moves)
    return replace(asked, language=language)


def _check_layer(layer: int, language: str | None, ready: Steered, moves: bool) -> None:
    if not moves:
        raise _wrong("this server's engine leaves vectors at their layers: leave layer out")
    if layer >= ready.model.layers:
        raise _wrong(f"no layer {layer}: the model's layers are 0 to {ready.model.layers - 1}")
    for tag, change in ready.changes.items():
        if language in (tag, AUTO) and not layer_moves(change):
            raise _wrong(f"that of {tag} is a {change.kind.name}, which stays at its layer")


def _of_object(field: Mapping[str, Any], default: str) -> Asked:
    if unknown := sorted(set(field) - set(FIELDS)):
        raise _wrong(f"steering has no {unknown[0]!a}: it takes {', '.join(FIELDS)}")
    language = field.get("language", default)
    strength, positions = field.get("strength"), field.get("positions")
    if language is not None and not isinstance(language, str):
        raise _wrong("steering.language is a language, auto, or null")
    if strength is not None and not _is_strength(strength):
        raise _wrong(f"steering.strength is a number from {-MOST:g} to {MOST:g}")
    if positions is not None and positions not in POSITIONS:
        raise _wrong(f"no positions {positions!a}: one of {', '.join(POSITIONS)}")
    layer = field.get("layer")
    if layer is not None and (type(layer) is not int or layer < 0):
        raise _wrong("steering.layer is the number of a layer, counted from 0")
    return Asked(language, None if strength is None else float(strength), positions, layer)


def _is_strength(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -MOST <= value <= MOST


def _language(language: str | None, ready: Steered) -> str | None:
    """The tag of a language that can be steered. Raises RequestError where there is none."""
    if language is None:
        return None
    if language == AUTO:
        if ready.router is None and len(ready.changes) > 1:
            raise _wrong(
                "there are several vectors and no router that tells languages apart: name one of "
                f"{', '.join(sorted(ready.changes))} in steering, or null"
            )
        return AUTO
    try:
        tag = parse_tag(language)
    except LanguageError as error:
        there = ", ".join(sorted(ready.changes))
        raise _wrong(f"{language!a} is no language: there are vectors for {there}") from error
    if tag != ready.pivot and tag not in ready.changes:
        raise _wrong(f"there is no vector for {tag}: there are {', '.join(sorted(ready.changes))}")
    return tag


def _wrong(message: str) -> RequestError:
    return RequestError(message, code="invalid_steering", param="steering")


def resolve(ready: Steered, requests: Sequence[tuple[Any, Asked]]) -> list[Used]:
    """What each text (`source`, what it asks) is steered with; the router reads those of `auto`.

    Equal requests share one change, so that rows of a batch are changed together.
    """
    routed = [
        i
        for i, (_, asked) in enumerate(requests)
        if asked.language == AUTO and ready.router is not None
    ]
    heard = (
        dict(zip(routed, ready.identify([requests[i][0] for i in routed]), strict=True))
        if routed
        else {}
    )
    made: dict[tuple[Any, ...], Change] = {}
    used = []
    for i, (_, asked) in enumerate(requests):
        change = _chosen(ready, asked, heard.get(i))
        if change is not None:
            key = (change.language, asked.strength, asked.positions, asked.layer)
            if key not in made:
                made[key] = _adjusted(change, asked)
            change = made[key]
        used.append(Used(asked, change, heard.get(i)))
    return used


def _chosen(ready: Steered, asked: Asked, heard: Identified | None) -> Change | None:
    if asked.language is None:
        return None
    if heard is not None and ready.router is not None:
        return ready.choose(heard)
    if asked.language == AUTO:
        return next(iter(ready.changes.values()))
    return ready.changes.get(asked.language)


def _adjusted(change: Change, asked: Asked) -> Change:
    if asked.strength is not None:
        change = change.with_strength(asked.strength)
    if asked.layer is not None and isinstance(change, SteeringVector):
        change = replace(change, layer=asked.layer)
    return change if asked.positions is None else change.at(asked.positions)
