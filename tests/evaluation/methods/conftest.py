"""A tiny model, and invented items in the published formats."""

from pathlib import Path

import pytest

from langsteer.model.model import Model
from tests.helpers import build_model
from tests.made.published import json_lines, tsv, write
from tests.made.topics import TOPICS


@pytest.fixture
def model() -> Model:
    return build_model("llama", max_position_embeddings=1024)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """SIB-200 and XCOPA in Swahili and English: the same items, in the same order."""
    root = tmp_path / "data"
    for code, word in (("swh_Latn", "habari"), ("eng_Latn", "news")):
        for part, start, count in (("train", 0, 28), ("dev", 100, 9), ("test", 200, 12)):
            rows: list[tuple[object, ...]] = [("index_id", "category", "text")]
            rows += [(i, TOPICS[i % 7], f"{word} number {i}") for i in range(start, start + count)]
            write(root / "sib200" / code / f"{part}.tsv", tsv(rows))
    for name, first, part in (("val", 401, "dev"), ("test", 501, "test")):
        rows_en, rows_sw, rows_gmt = [], [], []
        for i in range(6):
            ask, label = ("cause", "effect")[i % 2], i % 2
            rows_en.append(
                f'<item id="{first + i}" asks-for="{ask}" most-plausible-alternative="{label + 1}">'
                f"<p>It rained on {part} {i}.</p><a1>Roof {i} leaked.</a1><a2>He slept {i}.</a2></item>"
            )
            row = {"question": ask, "label": label, "idx": i, "changed": False}
            sw = {"premise": f"Mvua {name} {i}.", "choice1": f"Paa {i}.", "choice2": f"Lala {i}."}
            gmt = {
                "premise": f"Rain {name} {i}.",
                "choice1": f"Roof {i}.",
                "choice2": f"Sleep {i}.",
            }
            rows_sw.append({**sw, **row})
            rows_gmt.append({**gmt, **row})
        write(root / "copa_en" / f"copa-{part}.xml", f"<copa>{''.join(rows_en)}</copa>")
        write(root / f"xcopa/data/sw/{name}.sw.jsonl", json_lines(rows_sw))
        write(root / f"xcopa/data-gmt/sw/{name}.sw.jsonl", json_lines(rows_gmt))
    return root
