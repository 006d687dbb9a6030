import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
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
from langsteer.evaluation.report.grids import amount, duration, listed, method_grid, probability
from langsteer.evaluation.report.page import (
    benchmark_title,
    make_report,
    markdown_escape,
    summarise,
    tex_escape,
    write_report,
)
from langsteer.evaluation.report.table import compare_table
from tests.helpers import run
from tests.made.cells import cell, random_cells

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


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.loaded: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        given = dict(attrs)
        if given.get("id"):
            self.ids[str(given["id"])] += 1
        if tag in ("img", "script", "link", "iframe", "image"):
            self.loaded += [str(v) for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in ("meta", "input", "link", "path", "use", "rect", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "input", "link", "path", "use", "rect", "br"):
            assert self.open.pop() == tag


def test_the_page_is_one_whole_file(report: Path) -> None:
    text = (report / "report.html").read_text()
    page = _Page()
    page.feed(text)
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


def test_numbers_for_readers() -> None:
    assert [amount(n) for n in (0, 999, 1000, 12_345, 99_960, 1_234_567)] == [
        *("0", "999", "1.0 k", "12.3 k", "100 k", "1.2 M")
    ]
    assert amount(1_500_000_000, "B") == "1.5 GB"
    assert amount(999_999) == "1.0 M"
    assert [duration(s) for s in (2, 90, 5400)] == ["2 s", "1.5 min", "1.5 h"]
    assert [probability(p) for p in (1e-9, 0.012, 0.049, 0.3, 1)] == [
        *("<0.001", "0.012", "0.049", "0.30", "1.00")
    ]
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        *("", "a", "a and b", "a, b and c")
    ]


def test_the_summary_is_true_of_the_numbers() -> None:
    cells = random_cells(["direct", "learned", "few_shot", "english"], ["sw", "et"])
    text = " ".join(summarise(compare_table(cells, "raw", draws=300), "SIB-200"))
    assert "2 languages, 160 answers a method" in text
    assert "Most is gained by Learned: +" in text
    assert "of the gap to English." in text
    assert "Not significantly different from direct: Few_Shot." in text


def test_the_summary_where_nothing_is_significant() -> None:
    cells = random_cells(["direct", "few_shot", "xlt"], ["sw", "et"], seed=1)
    cells += [replace(c, method="english") for c in cells if c.method == "direct"]
    cells = [c for c in cells if (c.method, c.language) != ("xlt", "et")]
    text = " ".join(summarise(compare_table(cells, "raw", draws=300), "SIB-200"))
    assert "None of the 2 methods differs significantly from direct" in text
    assert "the gap is not clearly above 0" in text
    assert "better" not in text
    worse = [cell("direct", "sw", [True] * 40), cell("learned", "sw", [False] * 40)]
    text = " ".join(summarise(compare_table(worse, "raw", draws=300), "SIB-200"))
    assert "Significantly worse than direct: Learned (−100.0 [−100.0, −100.0])." in text
    assert "there are no English originals" in text
    one = [cell("direct", "sw", [True] * 9 + [False]), cell("learned", "sw", [True] * 10)]
    text = " ".join(summarise(compare_table(one, "raw", draws=300), "SIB-200"))
    assert "The one method does not differ significantly" in text
    assert summarise(compare_table(one[1:], "raw", draws=300), "X") == (
        "X has no cells of 'direct', so no method is compared.",
    )
    only = compare_table(one[:1], "raw", draws=300)
    assert summarise(only, "X")[1] == "No other method has been run."


def test_a_mean_over_fewer_languages_says_so() -> None:
    cells = random_cells(["direct", "learned"], ["sw", "et"])
    cells = [c for c in cells if (c.method, c.language) != ("learned", "et")]
    grid = method_grid(compare_table(cells, "raw", draws=300))
    assert grid.lines[1].values[1].text.endswith("(1 of 2)")


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
