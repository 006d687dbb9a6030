"""An output is nothing that the command reads."""

import os
from pathlib import Path

import pytest

from langsteer.model.model import Model
from tests.helpers import build_network, character_tokenizer, make_vector, run
from tests.made.questions import item_rows, written

ITEMS = "diagnose -l sw -m nowhere --on"


@pytest.fixture
def inputs(llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of what commands read, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "items.jsonl", item_rows(4))
    Path("link.jsonl").symlink_to("items.jsonl")
    for name in ("en.jsonl", "prompts.txt", "pairs.tsv", "flores/swh_Latn.dev", "data/a.tsv"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("mine", encoding="utf-8")
    build_network("llama").save_pretrained("model")
    character_tokenizer().save_pretrained("model")
    make_vector(llama).save("model/sw.safetensors")
    make_vector(llama).save("sw.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (f"{ITEMS} items.jsonl -o items.jsonl", "--on"),
        (f"{ITEMS} items.jsonl -o link.jsonl", "--on"),
        (f"{ITEMS} link.jsonl -o ./items.jsonl", "--on"),
        (f"{ITEMS} items.jsonl --english en.jsonl -o en.jsonl", "--english"),
        (f"{ITEMS} sib200 --data data -o data/a.tsv", "--data"),
        (f"{ITEMS} sib200 -o model/config.json -m model", "--model"),
        ("fit -l sw --for items.jsonl -o items.jsonl", "--for"),
        ("fit -l sw --for answers --prompts prompts.txt -o prompts.txt", "--prompts"),
        ("fit -l sw -c pairs.tsv -o pairs.tsv", "--corpus"),
        ("fit -l sw -c a --pivot-file en.jsonl -o en.jsonl", "--pivot-file"),
        ("fit -l sw -c flores -o flores/swh_Latn.dev", "--corpus"),
        ("fit -l sw -m model -o model/model.safetensors", "--model"),
        ("fit -l sw --for sib200 -v sw.safetensors -o sw.safetensors", "--vectors"),
        ("average model -l am --own sw.safetensors -o sw.safetensors", "--own"),
        ("average sw.safetensors -l am -o sw.safetensors", "the command"),
        ("export sw.safetensors --to gguf -o sw.safetensors", "the command"),
        ("export sw.safetensors --to merged -m model -o model", "--model"),
        ("tune sft -m model -o model", "--model"),
    ],
)
def test_what_is_read_is_not_written_over(
    command: str, option: str, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = command.split(" -o ")[1].split()[0]
    before = {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()}
    code, _, err = run(capsys, *command.split(), "--overwrite")
    assert code == 1
    assert err == (
        f"langsteer: cannot write {Path(output)}: {option} reads it, and it would be lost. "
        "Name another output.\n"
    )
    assert {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()} == before


def test_a_file_in_a_folder_for_languages(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "fit -l sw --for sib200 -v model/sw.safetensors -o model --overwrite"
    code, _, err = run(capsys, *command.split())
    assert code == 1
    assert f"cannot write {Path('model/sw.safetensors')}: --vectors reads it" in err


@pytest.mark.parametrize("command", ["analyze -m model -o model", "drift a=model -o model"])
def test_a_models_folder_is_none_for_results(
    command: str, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *command.split())
    assert code == 1
    assert "cannot write model: " in err
    assert "reads it, and it would be lost" in err


@pytest.mark.parametrize(
    "command",
    [
        "fit -l hi -m model -o model/sw.safetensors",  # langsteer's own, which fit itself refuses
        "fit -l hi -o builtin",
        "fit -l hi -m smollm2-135m -o smollm2-135m",
        "vectors sw.safetensors -m nowhere -o .",
    ],
)
def test_what_else_is_there_is_not_refused_for_that(
    command: str, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("builtin", "smollm2-135m"):
        Path(name).write_text("mine", encoding="utf-8")
    code, _, err = run(capsys, *command.split())
    assert code == 1
    assert "reads it" not in err


@pytest.mark.skipif(not hasattr(os, "link"), reason="no hard links here")
def test_another_name_of_the_same_file(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.link("items.jsonl", "same.jsonl")
    code, _, err = run(capsys, *f"{ITEMS} items.jsonl -o same.jsonl --overwrite".split())
    assert code == 1
    assert "--on reads it" in err
