"""The field `logit_bias` of a request to vLLM, llama.cpp's server, and others with OpenAI's interface.

    {"TOKEN": BIAS, ...}

a token's number as text, and what is added to its logit at each token that is written, from -100 to 100. Tokens whose
bias is 0 are left out.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from langsteer.errors import ExportError
from langsteer.export.format import ExportFormat
from langsteer.steering.change import Change
from langsteer.steering.logit_bias import LogitBias, request_bias
from langsteer.storage.files import write_text

TITLE = "logit_bias of OpenAI's interface"


def export(changes: Sequence[Change], path: str | Path) -> dict[str, float]:
    """Write the biases of one language, added up, into a JSON file; what it holds.

    Raises ExportError where a change acts on hidden states, which a request cannot ask for, and SaveError.
    """
    content = {str(token): number for token, number in request_bias(_total(changes)).items()}
    if not content:
        raise ExportError(f"the bias of {changes[0].language} is 0 for every token")
    write_text(path, json.dumps(content))
    return content


def _total(changes: Sequence[Change]) -> Tensor:
    for change in changes:
        for part in change.parts:
            if not isinstance(part, LogitBias):
                raise ExportError(
                    f"a file for {TITLE} holds what is added to logits: that of {change.language} has a "
                    f"{part.kind.name}, which changes hidden states: fit the bias by itself. langsteer serve applies both"
                )
        if change.model != changes[0].model:
            raise ExportError(f"the biases of {change.language} are of different models")
    biases = [bias for change in changes if (bias := change.logit_bias()) is not None]
    return sum(biases[1:], biases[0])


def _is_own(path: Path) -> bool:
    """Whether a file has numbers by tokens' numbers, and nothing else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (
        isinstance(content, dict)
        and bool(content)
        and all(key.isdecimal() and isinstance(n, float | int) for key, n in content.items())
    )


FORMAT = ExportFormat("logit-bias", TITLE, ".json", export, is_own=_is_own)
