"""What a server says of itself: its models, by the language that each name asks for, and its vectors."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from langsteer.serving.asked import check_name, layer_moves
from langsteer.serving.heard import LinguaRouter
from langsteer.steering.change import Change
from langsteer.steering.steered import Steered
from langsteer.text.languages import language_name, own_name

NOT_SERVED = "not served"


def models_record(
    names: Mapping[str, str | None], ready: Steered, left_out: Mapping[str, str], moves: bool
) -> dict[str, Any]:
    """OpenAI's list of models; `steering` says which vectors there are, and what was left out and
    why. `moves`: whether a request may move a vector to another layer.
    """
    steering = {
        "pivot": _language(ready.pivot),
        "router": list(ready.router.languages) if ready.router is not None else None,
        "hears": _hears(ready.router),
        "layers": ready.model.layers,
        "chat": bool(getattr(ready.tokenizer, "chat_template", None)),
        "vectors": [_vector(change, moves) for change in ready.changes.values()],
        "left_out": [{"file": file, "reason": why} for file, why in left_out.items()],
    }
    return {**names_record(names), "steering": steering}


def names_record(names: Iterable[str]) -> dict[str, Any]:
    """OpenAI's list of models, and no more."""
    return {"object": "list", "data": [_model(name) for name in names]}


def model_record(name: str, names: Collection[str]) -> dict[str, Any]:
    """OpenAI's record of one model. Raises RequestError where there is none of the name."""
    check_name(name, names)
    return _model(name)


def _hears(router: Any) -> str | None:
    """What tells languages apart: the model's own router, or lingua, which needs no model."""
    if router is None:
        return None
    return "lingua" if isinstance(router, LinguaRouter) else "router"


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "langsteer"}


def health_record(alive: bool, left_out: Mapping[str, str]) -> dict[str, Any]:
    """What a probe is told; the files that were left out, without a reason: it needs no key."""
    told: dict[str, Any] = {"status": "ok" if alive else "stopping"}
    return {**told, "left_out": list(left_out)} if left_out else told


def _language(tag: str) -> dict[str, str]:
    return {"tag": tag, "name": language_name(tag), "own_name": own_name(tag)}


def _vector(change: Change, moves: bool) -> dict[str, Any]:
    return {
        **_language(change.language),
        "kind": change.kind.name,
        "method": change.method,
        "layers": list(change.layers),
        "layer_moves": moves and layer_moves(change),
        "strength": change.strength,
        "positions": change.positions,
    }
