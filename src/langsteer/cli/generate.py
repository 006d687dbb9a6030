"""langsteer generate"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langsteer.cli import options as shared
from langsteer.errors import VectorError

if TYPE_CHECKING:
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
    before: Annotated[str, typer.Option(help="Template before the text; not steered.")] = "",
    after: Annotated[str, typer.Option(help="Template after the text; not steered.")] = "",
    chat: Annotated[bool, typer.Option(help="Use the model's chat template.")] = False,
    strength: shared.Strength = None,
    positions: Annotated[
        str | None, shared.positions("Which tokens are steered: source, prompt, generated or all.")
    ] = None,
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
    """
    from langsteer.model.tokens import Prompt
    from langsteer.steering.folder import read_changes
    from langsteer.steering.generation import chat_prompt, generate
    from langsteer.steering.router import read_router

    folder = next((path for path in vectors if path.is_dir()), None)
    by_language = read_changes(*vectors)
    if folder is None and len(by_language) > 1:
        raise VectorError("several vectors need a router: put them into a folder with one")
    router = read_router(folder) if folder is not None else None
    opened = shared.open_model(model, dtype, device, device_map)
    text = chat_prompt(opened, prompt) if chat else Prompt(prompt, before, after)
    console = shared.console()
    found: Identified | None = None
    steering: Change | None = next(iter(by_language.values()))
    if router is not None:
        found = router.identify(opened, [text])[0]
        steering = router.choose(found, by_language)
        if not as_json:
            console.print(_told(found, steering), style="dim")
    answers: dict[str, str] = {}
    for name, used in (("unsteered", None), ("steered", steering)):
        if not as_json:
            console.print(f"── {name} ──", style="bold")
            console.print(str(text), end="", style="dim")
        answers[name] = generate(
            opened,
            [text],
            used,
            max_new_tokens=max_new_tokens,
            strength=strength,
            positions=_position(positions),
            other_weights=carry,
            on_text=None if as_json else lambda piece: console.print(piece, end=""),
        )[0]
        if not as_json:
            console.print("\n")
    if as_json:
        language = {"language": vars(found)} if found is not None else {}
        shared.print_json({"prompt": str(text), **language, **answers})


def _told(found: "Identified", steering: "Change | None") -> str:
    from langsteer.text.languages import language_name

    sure = f"{language_name(found.language)} ({found.confidence:.0%} sure)"
    return sure if steering is not None else f"{sure}: not steered"


def _position(name: str | None) -> "PositionKind | None":
    return name  # type: ignore[return-value]  # intervene() refuses what it does not know
