"""The one check that numbers of a model are numbers, and what to do where they are not."""

import torch
from torch import Tensor

from langsteer.errors import StateError


def check_finite(tensor: Tensor, what: str, dtype: torch.dtype, otherwise: str = "") -> None:
    """Refuse NaN and infinity in `tensor`, of any shape.

    `what` names it in the plural ("the log-likelihoods"), `dtype` is the data type that the model
    is open in, and `otherwise` says what else may help ("choose smaller strengths"). Raises
    StateError.
    """
    if not bool(torch.isfinite(tensor).all()):
        raise StateError(not_finite(what, dtype, otherwise))


def not_finite(what: str, dtype: torch.dtype, otherwise: str = "") -> str:
    """One line: `what` is no number in `dtype`, and which data types have more room."""
    name = str(dtype).removeprefix("torch.")
    roomier = {
        torch.float16: "open the model with --dtype bfloat16 or --dtype float32",
        torch.bfloat16: "open the model with --dtype float32",
    }
    help_ = roomier.get(dtype, "its weights or what is added to it may be damaged")
    return f"{what} are not finite in {name}: {help_}" + (f", or {otherwise}" if otherwise else "")
