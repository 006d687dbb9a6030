"""SIB-200, made up, for whatever asks its items."""

from pathlib import Path

import pytest

from tests.made.topics import SIZES, TOPICS, WORDS


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """SIB-200 in three languages, as published, in letters that the tiny tokeniser has."""
    for code, mark in (("eng_Latn", "the"), ("swh_Latn", "ya"), ("est_Latn", "ja")):
        folder = tmp_path / "data" / "sib200" / code
        folder.mkdir(parents=True)
        number = 0
        for part, size in SIZES.items():
            lines = ["index_id\tcategory\ttext"]
            for i in range(size):
                number += 1
                text = f"{mark} {WORDS[number % 8]} {mark} {WORDS[number % 7]} {number}"
                lines.append(f"{number}\t{TOPICS[i % 7]}\t{text}")
            (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "data"
