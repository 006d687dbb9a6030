"""langsteer tune"""

import json
from pathlib import Path

import pytest

pytest.importorskip("peft")
pytest.importorskip("trl")


from langsteer.model.opening import load_model
from tests.helpers import run
from tests.made.instructions import lines, swahili, toy


def rows(path: Path) -> Path:
    plain = [
        {"id": r.id, "language": r.language, "instruction": r.instruction}
        | {"chosen": r.chosen, "rejected": r.rejected}
        for r in toy()
    ]
    return lines(path, *plain)


def test_by_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = rows(tmp_path / "a.jsonl"), tmp_path / "sft"
    more = ["-d", str(data), "--rate", "0.01", "--epochs", "2", "--held-out", "0.2"]
    code, text, err = run(capsys, "tune", "sft", "-m", str(folder), "-o", str(out), *more)
    assert code == 0, err
    assert "Swahili" in text
    assert "→" in text
    code, text, err = run(capsys, "tune", "sft", "-m", str(folder), "-o", str(out), *more, "--json")
    assert code == 0, err
    found = json.loads(text)
    assert (found["kept"], found["records"]["all"], found["steps"]) == (True, 16, 4)
    code, text, err = run(capsys, "tune", "dpo", "-m", str(out), "-o", str(tmp_path / "dpo"), *more)
    assert code == 0, err
    assert "likelier" in text
    code, text, err = run(
        capsys,
        "tune",
        "sft",
        "-m",
        str(folder),
        "-o",
        str(tmp_path / "sw"),
        *more,
        "-l",
        "sw",
        "--json",
    )
    assert code == 0, err
    assert json.loads(text)["records"] == {"all": 8, "sw": 8}
    prompt = ["generate", "sw 1?", "-m", str(tmp_path / "dpo"), "--chat", "--max-new-tokens", "2"]
    vector = swahili(load_model(folder)).save(tmp_path / "v.safetensors")
    code, _, err = run(capsys, *prompt, "-v", str(vector))
    assert "other weights" in err
    code, text, err = run(capsys, *prompt, "-v", str(vector), "--carry", "--json")
    assert code == 0, err
    assert json.loads(text)["prompt"] == "### Instruction\nsw 1?\n\n### Response\n"
    code, text, err = run(
        capsys,
        "tune",
        "sft",
        "-m",
        str(folder),
        "-o",
        str(tmp_path / "on"),
        *more,
        "-v",
        str(vector),
    )
    assert code == 0, err
    assert "steered in sw" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-d", "none.jsonl"], "cannot read none.jsonl"),
        (["-d", "{data}", "-l", "et"], "a.jsonl has no records in 'et'"),
        (["-d", "{data}", "--rate", "0"], "rate must be a number above 0"),
        (["-d", "{data}", "--template", "odd"], "plain, chat or a Jinja file"),
        (["-d", "{data}", "-v", "none"], "there is no vector file none"),
        (["-d", "{data}", "-o", "{data}/x"], "cannot write"),
        (["-l", "fi"], "the built-in instructions are not in 'fi'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = rows(tmp_path / "a.jsonl")
    given = [argument.format(data=data) for argument in arguments]
    out = [] if "-o" in given else ["-o", str(tmp_path / "out")]
    code, _, err = run(capsys, "tune", "sft", "-m", str(folder), *out, *given)
    assert code == 1
    assert err.count("\n") == 1, err
    assert message in err
