"""The table of engines in the documents is that of the results."""

import json
from pathlib import Path

from benchmarks.engines.__main__ import BEGIN, END, rows_in, table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "engines.json"


def test_the_documents_show_what_was_measured() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = rows_in(results)
    assert {"sw", "tr"} <= {row.language for row in rows}
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0].strip() == table(rows)
