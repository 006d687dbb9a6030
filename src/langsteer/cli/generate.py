"""langsteer generate"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from langsteer.cli import options as common
from langsteer.model.tokens import Prompt
from langsteer.states.intervention import PositionKind
from langsteer.steering.change import Change
from langsteer.steering.folder import read_changes
from langsteer.steering.generation import chat_prompt, generate
from langsteer.steering.router import read_router
from langsteer.text.identify import Identified
from langsteer.text.languages import language_name


def command(
    prompt: Annotated[str, typer.Argument(help="The text in the language.")],
    vector: Annotated[
        Path,
        typer.Option(
            "--vector",
            "-v",
            help="A vector file, or a folder of them with a router (fit --router).",
        ),
    ],
    model: common.ModelName = common.DEFAULT,
    before: Annotated[str, typer.Option(help="Template before the text; not steered.")] = "",
    after: Annotated[str, typer.Option(help="Template after the text; not steered.")] = "",
    chat: Annotated[bool, typer.Option(help="Use the model's chat template.")] = False,
    strength: common.Strength = None,
    positions: Annotated[str | None, typer.Option(help="source, prompt, generated or all.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 64,
    other_weights: common.OtherWeights = False,
    dtype: common.Dtype = "auto",
    device: common.Device = None,
    device_map: common.DeviceMap = None,
    as_json: common.Json = False,
) -> None:
    """Continue a prompt without and with steering.

    Example: `langsteer generate "Mji mkuu wa Kenya ni" -v sw.safetensors`

    The text between a template: `langsteer generate "Habari za asubuhi" --after $'\\nEnglish:' -v sw.safetensors`

    Whichever vector is of the prompt's language, and none for English: `langsteer generate "Habari za asubuhi" -v vectors/`
    """
    router = read_router(vector) if vector.is_dir() else None
    vectors = read_changes(vector)
    opened = common.open_model(model, dtype, device, device_map)
    text = chat_prompt(opened, prompt) if chat else Prompt(prompt, before, after)
    console = Console(highlight=False, markup=False)
    found: Identified | None = None
    steering: Change | None = next(iter(vectors.values()))
    if router is not None:
        found = router.identify(opened, [text])[0]
        steering = router.choose(found, vectors)
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
            other_weights=other_weights,
            on_text=None if as_json else lambda piece: console.print(piece, end=""),
        )[0]
        if not as_json:
            console.print("\n")
    if as_json:
        language = {"language": vars(found)} if found is not None else {}
        common.print_json({"prompt": str(text), **language, **answers})


def _told(found: Identified, steering: Change | None) -> str:
    sure = f"{language_name(found.language)} ({found.confidence:.0%} sure)"
    return sure if steering is not None else f"{sure}: not steered"


def _position(name: str | None) -> PositionKind | None:
    return name  # type: ignore[return-value]  # intervene() refuses what it does not know
