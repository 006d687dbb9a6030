import json
from pathlib import Path

import pytest

from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from tests.helpers import make_vector, run


def thirty_pairs(folder: Path) -> str:
    """A file of them in Swahili and English."""
    rows = "\n".join(json.dumps({"sw": f"neno {i}", "en": f"word {i}"}) for i in range(30))
    (folder / "a.jsonl").write_text(rows)
    return str(folder / "a.jsonl")


def test_fit_inspect_generate(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "sw.safetensors")
    model = ["-m", str(folder)]
    code, out, _ = run(
        capsys, "fit", "-l", "swh_Latn", "-o", file, *model, "--layer", "1", "--json"
    )
    assert code == 0
    assert json.loads(out)["language"] == "sw"
    code, out, _ = run(capsys, "inspect", file, *model)
    assert code == 0
    assert "Swahili (sw) → English (en)" in out
    assert "questions about a text" in out
    code, out, _ = run(
        capsys, "generate", "Habari", "-v", file, *model, "--max-new-tokens", "4", "--json"
    )
    assert code == 0
    assert set(json.loads(out)) == {"prompt", "vector", "unsteered", "steered"}
    code, out, _ = run(capsys, "generate", "Habari", "-v", file, *model, "--max-new-tokens", "4")
    assert "steered" in out
    assert [p.name for p in tmp_path.iterdir()] == ["sw.safetensors"]


def test_inspect_says_of_which_tokens_a_divergence_is(
    llama: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {"divergence": 0.00044, "divergence_unsteered": 0.00047}
    make_vector(llama, positions="source", scores=scores).save(tmp_path / "sw.safetensors")
    file, gguf = str(tmp_path / "sw.safetensors"), str(tmp_path / "sw.gguf")
    assert run(capsys, "export", file, "--to", "gguf", "--everywhere", "-o", gguf)[0] == 0
    told = {name: " ".join(run(capsys, "inspect", name)[1].split()) for name in (file, gguf)}
    assert all("0.00047 → 0.00044 nats, held out" in said for said in told.values())
    assert ["measured on the positions source" in said for said in told.values()] == [False, True]


def test_parts_that_are_alike_are_told_together(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "sw.safetensors")
    asked = ["fit", "-l", "sw", "-c", thirty_pairs(tmp_path), "--method", "recover"]
    code, _, err = run(capsys, *asked, "--strength", "0.5", "-m", str(folder), "-o", file)
    assert code == 0, err
    told = " ".join(run(capsys, "inspect", file)[1].replace("│", " ").split())
    assert "layer 0, 1, 2, 3 of 4 strength 0.5 (" in told
    assert told.count("positions all") == 1
    assert "method recover fitted on" in told


def test_learned_by_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(
        capsys, "fit", "-l", "sw", "-c", thirty_pairs(tmp_path), "--method", "learned",
        "--objective", "translation", "-m", str(folder), "-o", str(tmp_path / "v"),
    )  # fmt: skip
    assert code == 0, err
    vector = SteeringVector.load(tmp_path / "v")
    assert (vector.method, vector.options["objective"]) == ("learned", "translation")
    _, out, _ = run(capsys, "inspect", str(tmp_path / "v"))
    assert "translating a text into English" in out
    assert "pairs are few" not in err


def test_few_pairs_are_told_what_helps(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["-m", str(folder), "--layer", "1"]
    own, others, helped = (str(tmp_path / name) for name in ("own", "others", "helped"))
    _, _, err = run(capsys, "fit", "-l", "sw", "-c", thirty_pairs(tmp_path), "-o", own, *model)
    told = f"langsteer average FOLDER -l sw --own {own} -o sw-helped.safetensors"
    assert "30 pairs are few" in err
    assert told in err
    _, _, err = run(capsys, "fit", "-l", "et,tr", "-o", others, *model)
    assert "pairs are few" not in err
    words = told.replace("FOLDER", others).replace("sw-helped.safetensors", helped).split()
    assert run(capsys, *words[1:])[0] == 0
    assert SteeringVector.load(helped).language == "sw"


def test_several_languages_are_fitted_into_a_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "vectors"
    model = ["-m", str(folder), "--layer", "1", "--method", "mean_difference"]
    asked = ["fit", "-l", "swh,et", "-o", str(into), *model]
    code, out, err = run(capsys, *asked)
    assert code == 0, err
    assert "Swahili (sw)" in out
    assert sorted(p.name for p in into.iterdir()) == ["et.safetensors", "sw.safetensors"]
    before = {p: p.stat().st_mtime_ns for p in into.iterdir()}
    code, out, _ = run(capsys, *asked, "--json")
    assert [found["language"] for found in json.loads(out)] == ["sw", "et"]
    assert {p: p.stat().st_mtime_ns for p in into.iterdir()} == before
    assert run(capsys, *asked, "--overwrite")[0] == 0
    assert all(p.stat().st_mtime_ns > before[p] for p in into.iterdir())
    assert run(capsys, "fit", "-l", "tr", "-o", str(into), *model)[0] == 0
    assert SteeringVector.load(into / "tr.safetensors").language == "tr"


def test_a_folder_with_a_router_serves_several_languages(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    into, model = tmp_path / "vectors", ["-m", str(folder)]
    asked = ["fit", "-l", "sw,el", "-o", str(into), *model, "--layer", "1"]
    asked += ["--method", "mean_difference"]
    assert run(capsys, *asked)[0] == 0
    code, _, err = run(capsys, "generate", "Habari", "-v", str(into), *model)
    assert code == 1
    assert "vectors for el, sw and no router.safetensors" in err
    code, _, err = run(capsys, *asked, "--router")
    assert code == 0, err
    assert sorted(p.name for p in into.iterdir()) == [
        "el.safetensors", "router.safetensors", "sw.safetensors",
    ]  # fmt: skip
    asked = ["generate", "Habari", "-v", str(into), *model, "--max-new-tokens", "4"]
    code, out, err = run(capsys, *asked)
    assert code == 0, err
    assert "% sure): not steered" in out  # so small a model cannot tell
    found = json.loads(run(capsys, *asked, "--json")[1])
    assert found["language"]["confidence"] < 0.9
    assert found["steered"] == found["unsteered"]
    alone = run(
        capsys, "fit", "-l", "sw", "-o", str(tmp_path / "x.safetensors"), *model, "--router"
    )
    assert alone[0] == 1
    assert "a router lies in a folder" in alone[2]


def test_languages_that_were_not_checked_are_said(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("langsteer.text.identify._known", dict)
    code, _, err = run(
        capsys, "fit", "-l", "sw", "-c", thirty_pairs(tmp_path), "-m", str(folder),
        "-o", str(tmp_path / "v"), "--layer", "1",
    )  # fmt: skip
    assert code == 0
    assert "lines in sw, en were checked for their script, not for their language" in err
    assert "langsteer[langid]" in err


def test_demo(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        capsys, "demo", "-m", str(folder), "-l", "sw,et", "--limit", "21",
        "-o", str(tmp_path / "demo"), "--json",
    )  # fmt: skip
    assert code == 0, err
    result = json.loads(out)
    assert json.loads((tmp_path / "demo" / "demo.json").read_text()) == result
    assert [row["language"] for row in result["languages"]] == ["sw", "et"]
    assert (tmp_path / "demo" / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert SteeringVector.load(tmp_path / "demo" / "vectors" / "et.safetensors").language == "et"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "-l", "qx", "-o", "x"], "no language has the tag 'qx'"),
        (["fit", "-l", "sw", "-c", "{empty}", "-o", "x"], "is empty"),
        (["fit", "-l", "fi", "-o", "x"], "the built-in corpus has no 'fi'"),
        (["fit", "-l", "sw", "-o", "x", "-m", "{folder}", "--layer", "9"], "has no layer 9"),
        (["fit", "-l", "sw", "-o", "{empty}/x", "-m", "{folder}"], "cannot write"),
        (
            [
                "fit",
                "-l",
                "sw",
                "-o",
                "x",
                "-m",
                "{folder}",
                "--method",
                "mean_difference",
                "--objective",
                "translation",
            ],
            "has no option 'objective'",
        ),
        (["inspect", "{empty}"], "truncated or not a safetensors file"),
        (["generate", "a", "-v", "missing"], "there is no vector file"),
        (["demo", "-m", "{empty}"], "langsteer:"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.tsv").write_text("")
    words = {"empty": str(tmp_path / "empty.tsv"), "folder": str(folder)}
    code, _, err = run(capsys, *(part.format(**words) for part in arguments))
    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "x").exists()


def test_the_real_model_generates(
    gemma: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "sw.safetensors")
    fit = ["fit", "-l", "sw", "-o", file, "--method", "mean_difference", "--strength", "0.5"]
    assert run(capsys, *fit, "-n", "48")[0] == 0
    code, out, _ = run(
        capsys, "generate", "Mji mkuu wa Kenya ni", "-v", file, "--max-new-tokens", "5", "--json"
    )
    assert code == 0
    assert json.loads(out)["unsteered"].strip()
