"""Draw the picture of the first page from benchmarks/results/demo.json: python docs/make_picture.py"""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from langsteer.text.languages import language_name

HERE = Path(__file__).parent
NUMBERS = HERE.parent / "benchmarks" / "results" / "demo.json"
BEFORE, AFTER, ENGLISH = "#9aa5b1", "#0b5d8a", "#b8442b"


def draw(numbers: dict[str, Any]) -> Any:
    """Arrows from unsteered to steered accuracy, a row a language, English as a line."""
    rows = sorted(numbers["languages"], key=lambda row: float(row["unsteered"]))
    figure, axes = pyplot.subplots(figsize=(8, 3.7), layout="constrained")
    for height, row in enumerate(rows):
        before, after = float(row["unsteered"]), float(row["steered"])
        axes.annotate(
            "",
            (after, height),
            (before, height),
            arrowprops={"arrowstyle": "-|>", "color": AFTER, "lw": 3, "mutation_scale": 18},
        )
        axes.plot(before, height, "o", color=BEFORE, markersize=11, zorder=3)
        axes.text(before - 1.1, height, f"{before:.0f}", ha="right", va="center", color="#52606d")
        above = height + 0.2
        axes.text(after, above, f"{after:.0f}", ha="center", color=AFTER, weight="bold")
    english = float(numbers["english"])
    axes.axvline(english, color=ENGLISH, lw=2)
    axes.text(english - 0.8, -0.35, f"English {english:.0f}", ha="right", color=ENGLISH)
    axes.set_yticks(range(len(rows)), [language_name(row["language"]) for row in rows], fontsize=13)
    axes.set_xlim(25, 92)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(
        "accuracy on the topic of a sentence, %  ·  grey: as it is, blue: with one vector added"
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


if __name__ == "__main__":
    draw(json.loads(NUMBERS.read_text(encoding="utf-8"))).savefig(
        HERE / "picture.png", dpi=130, metadata={"Software": None}
    )
