"""The adapter: LoRA (Hu et al., arXiv 2106.09685) on every linear module, made, written and opened by PEFT."""

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from langsteer.extras import need
from langsteer.model.model import Model, base_network
from langsteer.model.opening import wrap_model
from langsteer.progress import NOISY, quiet
from langsteer.storage.files import save_errors

ADAPTER = "default"  # the name that PEFT gives the adapter of a folder


@dataclass(frozen=True)
class LoraOptions:
    """How an adapter is made and learnt.

    `rank` (None: 8, or that of an adapter which is tuned further) and `scale` (alpha ÷ rank) are
    of the adapter on every linear module. `rate` is Adam's, falling to zero. `epochs` counts
    passes over what is learnt from, `batch` the rows of a step; `steps`, where given, takes the
    place of epochs. `half`: multiply in bfloat16; the adapter is in float32 all the same.
    """

    rank: int | None = None
    scale: float = 2.0
    dropout: float = 0.0
    epochs: float = 2.0
    steps: int | None = None
    rate: float = 2e-4
    batch: int = 8
    half: bool = True
    seed: int = 0


def libraries(feature: str) -> tuple[Any, Any]:
    """peft and trl. Raises MissingExtraError where one is not installed."""
    with quiet(NOISY):
        return need("peft", "train", feature), need("trl", "train", feature)


def adapted(model: Model, options: LoraOptions) -> Model:
    """A copy of the model whose adapter can be trained: its own where it has one, else a new one.

    It is named after its base. On a CPU weights are float32, where autocast is several times faster
    than bfloat16 weights.
    """
    peft = libraries("LoRA")[0]
    name = _base_name(model)
    network = copy.deepcopy(model.network)
    if model.device.type == "cpu":
        network = network.float()
    if isinstance(network, peft.PeftModel):
        config = network.peft_config[ADAPTER]
        config.inference_mode = False
        config.base_model_name_or_path = base_network(network).name_or_path  # where PEFT looks
        network.set_adapter(ADAPTER)
    else:
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        rank = options.rank or 8
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=rank * options.scale,
            lora_dropout=options.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        network = peft.get_peft_model(network, config)
    return wrap_model(network, model.tokenizer, name=name)


def _base_name(model: Model) -> str:
    """What `load_model` opens the model, or what an adapter of it was made for, by."""
    config = getattr(model.network, "peft_config", {}).get(ADAPTER)
    if config is not None and config.base_model_name_or_path:
        return str(config.base_model_name_or_path)
    path = Path(model.name).expanduser()
    return str(path.resolve()) if path.exists() else model.name


def save_adapter(tuned: Model, folder: Path) -> None:
    """Write the adapter of an `adapted` model as PEFT does, with the name of its base."""
    tuned.network.peft_config[ADAPTER].base_model_name_or_path = tuned.name
    with save_errors(folder):
        tuned.network.save_pretrained(
            str(folder), selected_adapters=[ADAPTER], save_embedding_layers=False
        )
    (folder / "README.md").unlink(missing_ok=True)  # an empty form that names a folder of here


def open_tuned(model: Model, folder: Path, name: str) -> Model:
    """A copy of the model with an adapter on: merged in float32, else beside the weights."""
    peft = libraries("LoRA")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network = peft.PeftModel.from_pretrained(copy.deepcopy(model.network), str(folder)).eval()
    if model.dtype == torch.float32:
        network = network.merge_and_unload()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return wrap_model(network.eval(), model.tokenizer, name=name)
