import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from langsteer.errors import CellError
from langsteer.evaluation.comparison.cells import (
    Cell,
    Cost,
    Failure,
    Item,
    write_cell,
    write_failure,
)
from langsteer.evaluation.report.page import (
    benchmark_title,
    make_report,
    markdown_escape,
    tex_escape,
    write_report,
)
from tests.helpers import run
from tests.made.cells import random_cells
from tests.made.pages import Loaded

ERROR = "out of memory: 50% of <weights> & optimiser_state | über {all} ताल"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two benchmarks, two languages, a failed, a missing and a damaged cell, and a configuration."""
    folder = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(0)
    for made in random_cells(["direct", "few_shot", "learned", "english"], ["sw", "zh-Hans"]):
        cost = Cost(1000, 2.0, 10**9, 60.0 if made.method == "learned" else 0.0)
        settings = (
            {"layer": 3, "asked": {"seed": 0}, "ids": ["a"] * 999}
            if made.method == "learned"
            else {}
        )
        versions = {"langsteer": "0.1.0"}
        write_cell(folder, replace(made, cost=cost, settings=settings, versions=versions))
    for method, gain in (("direct", 0.0), ("learned", 0.2), ("english", 0.4)):
        for language in ("sw", "zh-Hans"):
            items = tuple(Item(str(i), value=float(rng.random() + gain)) for i in range(40))
            values = tuple(replace(item, value=min(1.0, item.value or 0)) for item in items)
            write_cell(folder, generated(method, language, values))
    write_failure(folder, Failure("tiny", "sib200", "sw", "lora_sft", ERROR))
    (folder / "cells" / "tiny" / "damaged.json").write_text("{")
    (folder / "comparison.yaml").write_text("models: [tiny]  # <b>\n")
    return folder


def generated(method: str, language: str, items: tuple[Item, ...]) -> Cell:
    return Cell(
        "tiny", "made_up", language, method, method, "english", "test", "generate", "chrf", items
    )


@pytest.fixture(scope="module")
def report(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(make_report(results, draws=200), folder)
    return folder


def test_the_page_is_one_whole_file(report: Path) -> None:
    text = (report / "report.html").read_text()
    page = Loaded.of(text)
    assert page.open == []
    assert page.loaded == []
    assert "@import" not in text
    assert max(page.ids.values()) == 1
    assert page.tags["svg"] == 6 - 1  # without costs, made_up has no third figure
    assert "currentColor" in text
    assert "#010203" not in text


def test_the_page_says_what_was_found(report: Path) -> None:
    text = (report / "report.html").read_text()
    for expected in (
        *("SIB-200: tiny", "made_up: tiny", "Chinese (Simplified)", "Swahili", "comparison.yaml"),
        *(
            "50% of &lt;weights&gt; &amp; optimiser_state",
            "# &lt;b&gt;",
            "asked.seed 0, ids (999), layer 3",
        ),
        *(
            "1 failed",
            "1 unreadable",
            "Every method against every other",
            "aria-sort",
            "Batch calibration",
            "missing",
            "not run",
        ),
    ):
        assert expected in text
    assert "<weights>" not in text


def test_the_json_is_plain(report: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads((report / "report.json").read_text(), parse_constant=refuse)
    first, second = found["benchmarks"]
    assert [first["table"]["score"], first["raw"]] == ["value", None]
    assert [second["table"]["score"], second["raw"]["score"]] == ["calibrated", "raw"]
    learned = next(row for row in second["table"]["rows"] if row["method"] == "learned")
    assert set(learned["mean"]["comparison"]["difference"]) == {"value", "low", "high"}
    states = Counter(row["state"] for row in found["troubles"])
    assert states == {"failed": 1, "missing": 1, "unreadable": 1}
    assert found["versions"] == [{"package": "langsteer", "version": "0.1.0"}]


def test_markdown_tables_have_as_many_places_in_every_row(report: Path) -> None:
    text = (report / "report.md").read_text()
    tables = re.findall(r"(?:^\|.*\|\s*\n)+", text, flags=re.MULTILINE)
    assert len(tables) >= 7
    for table in tables:
        lines = [re.sub(r"\\\|", "", line).strip() for line in table.strip().split("\n")]
        assert len({line.count("|") for line in lines}) == 1
        assert re.fullmatch(r"(\| -+:? )+\|", lines[1])
    for name in re.findall(r"\]\((figures/[^)]*)\)", text):
        assert (report / name).stat().st_size > 1000


def test_latex_is_whole_and_escaped(report: Path) -> None:
    text = (report / "report.tex").read_text()
    plain = re.sub(r"\\[\\{}%]", "", text)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    begun, ended = (Counter(re.findall(rf"\\{w}{{(\w+)}}", text)) for w in ("begin", "end"))
    assert begun == ended
    assert begun["table"] == 5
    assert text.count("\\toprule") == text.count("\\bottomrule") == 6
    for row in re.findall(r"\\begin{tabular}{(\w+)}(.*?)\\end{tabular}", text, flags=re.DOTALL):
        lines = [line for line in row[1].split("\n") if line.endswith("\\\\")]
        assert {line.replace("\\&", "").count("&") for line in lines} == {len(row[0]) - 1}
    assert r"50\% of \textless{}weights\textgreater{} \& optimiser\_state" in text
    for name in re.findall(r"{(figures/[^}]*)}", text):
        assert (report / name).read_bytes().startswith(b"%PDF")


def has_latex() -> bool:
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return False
    found = subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False)
    return found.returncode == 0


@pytest.mark.skipif(not has_latex(), reason="no LaTeX with booktabs here")
def test_latex_compiles(report: Path, tmp_path: Path) -> None:
    shutil.copytree(report, tmp_path, dirs_exist_ok=True)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "report.pdf").exists()


def test_escapes() -> None:
    assert tex_escape(r"a_b & 5% {x} \n ~ ^ #1 $2") == (
        r"a\_b \& 5\% \{x\} \textbackslash{}n \textasciitilde{} \textasciicircum{} \#1 \$2"
    )
    assert tex_escape("−1 ▲ é ũ ა") == r"$-$1 $\uparrow$ é ũ \texttt{U+10D0}"
    assert markdown_escape("a|b\n*c* <d> [e]") == r"a\|b \*c\* \<d\> \[e\]"


def test_titles() -> None:
    assert benchmark_title("sib200") == "SIB-200"
    assert benchmark_title("made_up") == "made_up"


def test_the_command(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "report", str(results), "-o", str(tmp_path))
    assert code == 0
    assert "SIB-200: tiny" in out
    assert "Failed: tiny / sib200 / sw / lora_sft" in out
    assert (tmp_path / "report.html").exists()
    code, out, _ = run(capsys, "report", str(results), "-o", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "report.json").read_text())


def test_folders_without_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "report", str(tmp_path))
    assert code == 1
    assert "not a results folder" in err
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "x.json").write_text("{")
    with pytest.raises(CellError, match=r"no cell that can be reported on.*x\.json is not JSON"):
        make_report(tmp_path)
