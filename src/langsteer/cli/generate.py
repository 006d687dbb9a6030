"""langsteer generate"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langsteer.cli import options as shared
from langsteer.errors import VectorError

if TYPE_CHECKING:
    from transformers import LogitsProcessor

    from langsteer.model.model import Model
    from langsteer.states.intervention import PositionKind
    from langsteer.steering.change import Change
    from langsteer.text.identify import Identified


def command(
    prompt: Annotated[str, typer.Argument(help="The text in the language.")],
    vectors: Annotated[
        list[Path],
        shared.vectors("A vector file, or a folder of them with a router (fit --router)."),
    ],
    model: shared.ModelName = shared.DEFAULT_MODEL,
    language: Annotated[
        str | None,
        shared.language("The language of the text, where nothing is to be heard from it."),
    ] = None,
    before: Annotated[str, typer.Option(help="Template before the text; not steered.")] = "",
    after: Annotated[str, typer.Option(help="Template after the text; not steered.")] = "",
    chat: Annotated[bool, typer.Option(help="Use the model's chat template.")] = False,
    strength: shared.Strength = None,
    positions: Annotated[
        str | None, shared.positions("Which tokens are steered: source, prompt, generated or all.")
    ] = None,
    only_script: Annotated[
        bool,
        typer.Option(
            "--only-script",
            help="Never write a token of another script than the language's; Latin names go too.",
        ),
    ] = False,
    within_reach: Annotated[
        bool,
        typer.Option(
            "--within-reach",
            help="The same, but only where one of its script is among the likeliest.",
        ),
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Write at most so many tokens.")] = 64,
    carry: shared.Carry = False,
    dtype: shared.Dtype = "auto",
    device: shared.Device = None,
    device_map: shared.DeviceMap = None,
    as_json: shared.Json = False,
) -> None:
    """Continue a prompt without and with steering.

    Example: `langsteer generate "Mji mkuu wa Kenya ni" -v sw.safetensors`

    The text between a template: `langsteer generate "Habari za asubuhi" --after $'\\nEnglish:' -v sw.safetensors`

    Whichever vector is of the prompt's language, and none for English: `langsteer generate "Habari za asubuhi" -v vectors/`

    What is written in the script of the vector's language alone: `langsteer generate "Καλημέρα" -v el.safetensors --only-script`

    The vector of one language of a folder: `langsteer generate "Habari za asubuhi" -v vectors/ -l sw`
    """
    from langsteer.model.tokens import Prompt
    from langsteer.steering.change import check_strength
    from langsteer.steering.generation import chat_prompt, generate
    from langsteer.steering.steered import steered

    shared.quiet_libraries()
    if strength is not None:
        check_strength(strength)
    ready = steered(
        model, vectors, other_weights=carry, dtype=dtype, device=device, device_map=device_map
    )
    text = chat_prompt(ready.model, prompt) if chat else Prompt(prompt, before, after)
    identified = None
    if language is None and ready.router is not None:
        identified = ready.identify([Prompt(prompt)])[0]
        change = ready.choose(identified)
    else:
        change = ready.route([text], language)[0]
    if positions is not None and change is not None and not change.layers:
        raise VectorError(
            f"--positions: that of {change.language} is a bias of what is written, which acts at no "
            "other tokens: leave it out"
        )
    named = language or (change.language if change is not None else None)
    console = shared.console()
    if identified is not None and not as_json:
        console.print(_told(identified, change), style="dim")
    answers: dict[str, str] = {}
    for name, used in (("unsteered", None), ("steered", change)):
        if not as_json:
            console.print(f"── {name} ──", style="bold")
            console.print(str(text), end="", style="dim")
        answers[name] = generate(
            ready.model,
            [text],
            used,
            max_new_tokens=max_new_tokens,
            strength=strength,
            positions=_position(positions),
            other_weights=carry,
            logits_processor=_bans(ready.model, named, only_script, within_reach) if used else [],
            on_text=None if as_json else lambda piece: console.print(piece, end=""),
        )[0]
        if not as_json:
            console.print("\n")
    if as_json:
        told = {"language": vars(identified)} if identified is not None else {}
        vector = change.language if change is not None else None
        shared.print_json({"prompt": str(text), **told, "vector": vector, **answers})


def _bans(
    model: "Model", language: str | None, only_script: bool, within_reach: bool
) -> "list[LogitsProcessor]":
    """What bans tokens of other scripts, with the steering."""
    from langsteer.steering.decoding.confusion_gate import ConfusionGate
    from langsteer.steering.decoding.only_script import OnlyScript

    if language is None:
        return []
    only = [OnlyScript(model, language)] if only_script else []
    return [*only, *([ConfusionGate(model, language)] if within_reach else [])]


def _told(identified: "Identified", change: "Change | None") -> str:
    from langsteer.text.languages import UNDETERMINED, language_name

    if identified.language == UNDETERMINED:
        return "a language that the router does not know: not steered"
    sure = f"{language_name(identified.language)} ({identified.confidence:.0%} sure)"
    return sure if change is not None else f"{sure}: not steered"


def _position(name: str | None) -> "PositionKind | None":
    return name  # type: ignore[return-value]  # intervene() refuses what it does not know
