"""Instruction records to learn from, a tiny model to learn them with, and what it answers."""

import json
from pathlib import Path
from typing import Any

import torch

from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from langsteer.tuning.data import Instructions, Record
from tests.helpers import make_vector

FAST: dict[str, Any] = {"steps": 40, "batch": 8, "rate": 0.02, "half": False, "held_out": 0.2}


SIZE: dict[str, Any] = {"max_position_embeddings": 1024, "initializer_range": 0.3}


def toy(count: int = 10) -> Instructions:
    """Answers that follow from the language, in two languages with the same ids."""
    answers = {"en": ("yes", "no"), "sw": ("ndio", "hapana")}
    return Instructions(
        tuple(
            Record(str(i), tag, (("user", f"{tag} {i}?"),), good, bad)
            for tag, (good, bad) in answers.items()
            for i in range(count)
        ),
        "toy",
    )


def logits(model: Model, text: str = "### Instruction\nsw 1?\n\n### Response\n") -> torch.Tensor:
    ids = model.tokenizer(text)["input_ids"]
    with torch.no_grad():
        found: torch.Tensor = model.network(**model.batch([ids])).logits
    return found


def lines(path: Path, *rows: Any) -> Path:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def swahili(model: Model, **changes: Any) -> SteeringVector:
    return make_vector(model, language="sw", values=torch.randn(model.hidden_size) * 3, **changes)
