"""A translator that nobody trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Shouting:
    """Puts texts into capitals, and counts what it was asked."""

    name: str = "shouting"
    calls: list[list[str]] = field(default_factory=list)
    fail_at: int = 99

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(list(texts))
        return [f"{text} ({source} to {target})" for text in texts]
