import json
import re
from pathlib import Path

import pytest

from langsteer.analysis.drift.page import page_of
from langsteer.analysis.drift.results import Drift
from langsteer.errors import AnalysisError
from tests.helpers import run

FIGURES = (
    *("alignment", "alignment-languages", "movement", "movement-languages", "direction"),
    *("direction-languages", "crossed", "cosines", "matrix", "span", "similarity"),
    *("similarity-languages", "versions", "gains-SIB-200"),
)


def test_everything_is_written(written: Path) -> None:
    assert {p.name for p in written.iterdir()} == {
        *("drift.json", "displacements.safetensors", "figures", "index.html")
    }
    for name in FIGURES:
        assert (written / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (written / "figures" / f"{name}.svg").read_text()
    assert len(list((written / "figures").iterdir())) == 3 * len(FIGURES)


def test_the_page_needs_nothing_else_and_says_how_to_read_it(written: Path, small: Drift) -> None:
    page = (written / "index.html").read_text()
    assert page.count("<svg") == len(FIGURES)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert page.count("How to read it") == 8
    for version in small.versions:
        assert version.name in page
    assert "does not show" in page
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL).lower().split()


def test_the_page_can_be_drawn_again(written: Path, small: Drift) -> None:
    read = Drift.read(written)
    assert read.as_json() == small.as_json()
    assert page_of(read, []) == page_of(small, [])


def test_results_that_are_not(tmp_path: Path, written: Path) -> None:
    with pytest.raises(AnalysisError, match="cannot read"):
        Drift.read(tmp_path)
    path = tmp_path / "drift.json"
    path.write_text('{"format": "other"}')
    with pytest.raises(AnalysisError, match="not the results of langsteer drift"):
        Drift.read(path)
    values = json.loads((written / "drift.json").read_text())
    path.write_text(json.dumps(values | {"format_version": 9}))
    with pytest.raises(AnalysisError, match="format version 9"):
        Drift.read(path)
    del values["versions"][0]["languages"]["sw"]["movement"]["own"]
    path.write_text(json.dumps(values))
    with pytest.raises(AnalysisError, match=r"sw\.movement is damaged: it has no own"):
        Drift.read(path)


def test_the_command(
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gains = tmp_path / "gains.json"
    gains.write_text('{"lora": {"sw": 1.5, "et": 2, "tr": -1}}')
    asked = [
        *("drift", str(folders / "base"), f"lora={folders / 'adapter'}", "-l", "swh,et,tr"),
        *("-n", "30", "--draws", "30", "-o", str(tmp_path / "out"), "--gains", str(gains)),
    ]
    code, out, err = run(capsys, *asked)
    assert code == 0, err
    plain = " ".join(out.split())
    assert "lora, layer 2" in plain
    assert "Swahili" in plain
    assert "3 languages are too few to say anything" in plain
    assert "index.html" in plain
    monkeypatch.setattr("langsteer.analysis.write.write_report", lambda *_: [])
    code, out, _ = run(capsys, *asked, "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "out" / "drift.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{base}"], "name a tuned version"),
        (["{base}", "{none}"], "there is no model"),
        (["{base}", "{base}", "-l", "qx"], "no language has the tag 'qx'"),
        (["{base}", "{base}", "-l", "en"], "is the pivot"),
        (["{base}", "{base}", "-l", "sw", "--gains", "{none}"], "cannot read"),
        (["{base}", "{base}", "-l", "sw", "--layer", "7"], "has no layer 7"),
        (["{base}", "{base}", "-l", "sw", "-v", "{none}"], "there is no vector file"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = {"base": str(folders / "base"), "none": str(tmp_path / "none")}
    asked = [part.format(**words) for part in arguments]
    code, _, err = run(capsys, "drift", *asked, "-n", "30", "-o", str(tmp_path / "out"))
    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "drift.json").exists()
