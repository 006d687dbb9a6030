"""Recipes: changes of several parts, each with its method, layer, positions and strength.

    learned@prompt + mean_difference:10@generated*-0.5

is a vector learned for the prompt, at its method's usual layer and best strength, and half of the mean
difference at layer 10, turned round, on what is generated. A part is

    METHOD(OPTION=VALUE, ...):LAYER@POSITIONS*STRENGTH

of which all but the method may be left out. Parts are fitted each on the model as it is, not on what the others
make of it.
"""

import ast
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from langsteer.errors import FitError
from langsteer.fitting.options import Method, Options
from langsteer.fitting.search import search
from langsteer.model.model import Model
from langsteer.states.intervention import POSITIONS, PositionKind
from langsteer.steering.change import Change
from langsteer.steering.sequence import ChangeSequence
from langsteer.text.corpus import ParallelCorpus

SHARES = (0.5, 0.75, 1.0)  # of the parts' strengths, where several act on what is read
LEARNED_AT: tuple[PositionKind, ...] = ("source", "prompt", "all")
_PART = re.compile(
    r"(?P<method>\w+)(\((?P<options>[^()]*)\))?(:(?P<layer>\d+))?(@(?P<positions>\w+))?"
    r"(\*(?P<strength>[-+]?[\d.]+(e[-+]?\d+)?))?"
)

Learn = Callable[..., Change]


@dataclass(frozen=True)
class Part:
    """One part of a recipe; None is left to its method, or to the search."""

    method: str
    layer: int | None = None
    positions: PositionKind | None = None
    strength: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        own = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return "".join(
            [
                self.method,
                f"({own})" if own else "",
                f":{self.layer}" if self.layer is not None else "",
                f"@{self.positions}" if self.positions is not None else "",
                f"*{self.strength:g}" if self.strength is not None else "",
            ]
        )


def is_recipe(name: str) -> bool:
    """Whether a name is more than that of a method."""
    return not re.fullmatch(r"\w+", name.strip())


def parse_recipe(text: str) -> list[Part]:
    """The parts that a recipe names. Raises FitError, showing the part that cannot be read."""
    return [_parse_part(piece.strip(), text) for piece in re.split(r"\+(?![\d.])", text)]


def recipe_method(text: str, get_method: Callable[[str], Method], learn: Learn) -> Method:
    """A recipe as a method. `learn` is that of `langsteer`, which its parts are learned by.

    Raises FitError for a method that does not exist, or a part that cannot be fitted.
    """
    parts = parse_recipe(text)
    for part in parts:
        _check_part(part, get_method(part.method))
    name = " + ".join(map(str, parts))
    return Method(
        name,
        fit=functools.partial(_fit, parts, get_method),
        options=Options,
        learn=functools.partial(_learn, parts, name, learn),
        title=name,
        all_languages=any(get_method(part.method).all_languages for part in parts),
    )


def _learn(
    parts: Sequence[Part],
    name: str,
    learn: Learn,
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    options: Options = Options(),
    whole: ParallelCorpus | None = None,
) -> Change:
    changes = []
    dealt = corpus if whole is None else whole
    for part in parts:
        made = learn(
            model,
            dealt,
            corpus.language,
            part.method,
            layers=layers if part.layer is None else (part.layer,),
            strengths=strengths if part.strength is None else (part.strength,),
            seed=options.seed,
            **_learned_at(part),
            **part.options,
        )
        changes.append(made if part.positions is None else made.at(part.positions))
    if len(changes) == 1:
        return changes[0]
    reading = [change for change in changes if change.positions != "generated"]
    made_of = ChangeSequence.of(changes, options={"recipe": name, **asdict(options)})
    if not reading:
        return made_of
    held_out = dealt.split(fit=0.8, choose=0.2, report=0.0)["choose"].only(corpus.language)
    return search(model, held_out, [made_of], SHARES if len(reading) > 1 else (1.0,))


def _fit(
    parts: Sequence[Part],
    get_method: Callable[[str], Method],
    model: Model,
    corpus: ParallelCorpus,
    options: Options = Options(),
    whole: ParallelCorpus | None = None,
) -> Change:
    changes = []
    for part in parts:
        method = get_method(part.method)
        own = method.make_options({**_learned_at(part), **part.options})
        own = replace(own, seed=options.seed, strength=part.strength or options.strength)
        own = own if part.layer is None else replace(own, layer=part.layer)
        more = {"whole": whole} if method.all_languages else {}
        made = method.fit(model, corpus, own, **more)
        changes.append(made if part.positions is None else made.at(part.positions))
    return changes[0] if len(changes) == 1 else ChangeSequence.of(changes)


def _learned_at(part: Part) -> dict[str, Any]:
    """Nothing is generated while a part is learned: what acts there is learned at the text."""
    return {"positions": part.positions} if part.positions in LEARNED_AT else {}


def _parse_part(piece: str, text: str) -> Part:
    match = _PART.fullmatch(piece.replace(" ", "") if "(" not in piece else piece)
    if match is None:
        raise FitError(
            f"the part {piece!r} of {text!r} cannot be read: write METHOD:LAYER@POSITIONS*STRENGTH, "
            "such as mean_difference:10@generated*-0.5"
        )
    layer, strength, positions = match["layer"], match["strength"], match["positions"]
    if positions is not None and positions not in POSITIONS:
        raise FitError(f"{piece}: there are the positions {', '.join(POSITIONS)}")
    try:
        return Part(
            match["method"],
            int(layer) if layer is not None else None,
            positions,
            float(strength) if strength is not None else None,
            dict(map(_option, filter(str.strip, (match["options"] or "").split(",")))),
        )
    except ValueError as error:
        raise FitError(f"the part {piece!r} of {text!r} cannot be read: {error}") from error


def _option(text: str) -> tuple[str, Any]:
    key, sign, value = (side.strip() for side in text.partition("="))
    if not sign:
        raise ValueError(f"{text!r} is not OPTION=VALUE")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def _check_part(part: Part, method: Method) -> None:
    method.make_options(dict(part.options))
    if part.positions == "generated" and part.strength is None:
        raise FitError(
            f"{part}: nothing is generated while strengths are chosen, so name one, such as "
            f"{part}*-0.5"
        )
