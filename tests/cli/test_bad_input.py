"""Whatever is wrong with what a user gives: one clear line, a non-zero exit, and nothing lost."""

import errno
import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from langsteer.errors import SaveError, StateError
from langsteer.fitting import descent
from langsteer.fitting.learning import learn
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.steering.vector import SteeringVector
from langsteer.text import corpus as corpus_module
from tests.helpers import build_model, build_network, character_tokenizer, make_vector, pairs, run

LINES = [(f"neno la {i} hapa", f"the word {i} here") for i in range(30)]
SIZES = {"vocab_size": 128, "num_hidden_layers": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a vector for it, by the names that the table below uses."""
    folder = tmp_path_factory.mktemp("good")
    model = build_model("llama")
    save_model(model.network, folder / "model")
    save_model(build_network("gpt2"), folder / "other")
    opened = load_model(folder / "model")
    make_vector(opened).save(folder / "v.safetensors")
    save_model(bert(), folder / "bert")
    save_model(t5(), folder / "t5")
    broken = build_network("llama")
    broken.model.layers[0].mlp.down_proj.weight.data.fill_(float("nan"))
    save_model(broken, folder / "nan-model")
    return folder


def save_model(network: Any, folder: Path) -> None:
    network.save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)


def bert() -> Any:
    config = transformers.BertConfig(**SIZES, hidden_size=32, num_attention_heads=2)
    return transformers.BertForMaskedLM(config)


def t5() -> Any:
    config = transformers.T5Config(
        vocab_size=128, d_model=32, d_ff=32, d_kv=8, num_layers=2, num_heads=2
    )
    return transformers.T5ForConditionalGeneration(config)


@pytest.fixture
def bad(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bad files, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    here, there = ("\n".join(side).encode() for side in zip(*LINES, strict=True))
    files = {
        "a.sw": here,
        "a.en": there,
        "short.en": there.rpartition(b"\n")[0],
        "empty.en": b"",
        "blank.tsv": b"\n\n",
        "latin.en": there.replace(b"word 7", b"w\xf6rd 7"),
        "latin.tsv": b"sw\ten\nmoja\t\xff\n",
        "latin.jsonl": b'{"sw": "moja", "en": "\xff"}\n',
        "latin.tmx": b'<tmx><body><tu><tuv lang="sw"><seg>\xff</seg></tuv></tu></body></tmx>',
        "empty.tmx": b"",
        "few.tsv": b"sw\ten\n" + b"\n".join(b"neno %d\tword %d" % (i, i) for i in range(9)),
        "long.tsv": b"sw\ten\n" + b"x" * 200_000 + b"\n",
        "return.tsv": b"sw\ten\nmo\rja\tone\tuno\n",
        "ntrex/newstest2019-ref.swa.txt": here,
        "ntrex/newstest2019-src.eng.txt": there + b"\none more",
        "notes.txt": b"mine",
        "fields.jsonl": b'{"text": "moja", "label": "namba"}',
        "site/index.html": b"mine",
        "site/demo.png": b"mine",
        "tells/router.safetensors": b"mine",
        "cut.safetensors": (good / "v.safetensors").read_bytes()[:-9],
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    change_vector(good, "nan.safetensors", values=torch.full((32,), float("nan")))
    change_vector(good, "typed.safetensors", layer="one")
    change_vector(good, "lacking.safetensors", without=("layer", "method"))
    change_vector(good, "strong.safetensors", strength=float("inf"))
    change_vector(good, "newer.safetensors", format_version=SteeringVector.kind.version + 1)
    return tmp_path


def change_vector(
    good: Path,
    name: str,
    values: torch.Tensor | None = None,
    without: tuple[str, ...] = (),
    **changes: Any,
) -> None:
    record = {
        "format": SteeringVector.kind.format,
        "format_version": SteeringVector.kind.version,
        "layer": 1,
        "language": "sw",
    }
    record |= {"pivot": "en", "model": {}, "method": "test", **changes}
    kept = load_file(good / "v.safetensors")["values"]
    metadata = {key: json.dumps(value) for key, value in record.items() if key not in without}
    save_file({"values": kept if values is None else values}, name, metadata=metadata)


FIT = "fit -l sw -m {good}/model -o out "
OWN = FIT + "-c a.sw --pivot-file "
GENERATE = "generate Habari --max-new-tokens 2 "


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (FIT + "--pivot-file a.en", "a.en would not be read"),
        (FIT + "--split dev", "the split 'dev' would not be read"),
        (FIT + "--budget 3", "--budget: --for is needed with it"),
        (OWN + "short.en", "a.sw has 30 lines and short.en has 29"),
        (FIT + "-c ntrex", "the numbers of lines differ: sw has 30, en has 31"),
        (OWN + "empty.en", "empty.en is empty"),
        (FIT + "-c blank.tsv", "blank.tsv is empty"),
        (FIT + "-c empty.tmx", "empty.tmx is not a whole TMX file"),
        (OWN + "latin.en", "latin.en is not UTF-8: line 8"),
        (FIT + "-c latin.tsv", "latin.tsv is not UTF-8: line 2"),
        (FIT + "-c latin.jsonl", "latin.jsonl is not UTF-8: line 1"),
        (FIT + "-c latin.tmx", "latin.tmx is not a whole TMX file"),
        (OWN + "nothing.en", "cannot read nothing.en"),
        (OWN + "ntrex", "cannot read ntrex"),
        (FIT + "-c a.sw", "a.sw is one file of text"),
        (FIT + "-c long.tsv", "row 1 has 1 columns where there are 2"),
        (FIT + "-c return.tsv", "row 1 has 3 columns where there are 2"),
        (FIT + "-c few.tsv", "'choose', which needs 4: give 20 lines or more"),
        (FIT + "-c fields.jsonl", "its fields are text, label. Name them by tags, such as sw, en"),
        ("fit -l sw -m gemma-3-270 -o out --layer 1", "did you mean gemma-3-270m, or OWNER/gemma"),
        ("fit -l hi -m nowhere -o {good}/v.safetensors", "(language: sw, and hi now)"),
        ("fit -l sw -m nowhere -o {good}/v.safetensors", "(method: test, and learned now)"),
        ("fit -l sw,et -m nowhere -o tells --router", "router.safetensors is there already and is"),
        ("export {good}/v.safetensors --to gguf -o notes.txt", "notes.txt is there already and is"),
        ("export {good}/v.safetensors --to lm-eval -o a.sw", "a.sw is there already and is no lm-"),
        ("average {good} -l am -o notes.txt", "notes.txt is there already and holds no vector"),
        ("average {good} -l am -o {good}/v.safetensors", "holds a vector of sw that was made by t"),
        ("diagnose -m nowhere --on sib200 -l sw -o notes.txt", "notes.txt is there already and is"),
        ("analyze -l sw -m {good}/model -o site", "site/index.html is there already, and langst"),
        ("drift nowhere -l sw -o site", "site/index.html is there already, and langsteer drift"),
        ("vectors {good}/v.safetensors -o site", "site/index.html is there already, and langst"),
        ("demo -l sw -m {good}/model -o site", "site/demo.png is there already, and langsteer"),
        ("push {good}/v.safetensors a/b --dry-run -o site", "site/demo.png is there already, and lang"),
        ("fit -l qx -m {good}/model -o out", "no language has the tag 'qx'"),
        ("fit -l , -m {good}/model -o out", "name a language"),
        ("fit -l en -m {good}/model -o out", "English (en) is the pivot, which other languages are"),
        ("fit -l en,sw -m {good}/model -o out", "(en) is the pivot"),
        (FIT + "--layer 4", "has no layer 4: its layers are 0 to 3"),
        (FIT + "--layer -1", "has no layer -1"),
        (FIT + "--method learned --layer 3", "layer 3 is the last"),
        (FIT + "--strength nan", "strengths must be finite numbers"),
        ("fit -l sw -m {good}/model -o notes.txt/out", "cannot write notes.txt/out"),
        ("fit -l sw -m {good}/model -o a.en", "a.en is there already"),
        ("fit -l sw -m nowhere -o notes.txt", "no vector's file ends in .txt. Name a .safetensors file"),
        ("fit -l sw -m nowhere -o h/sw.search", "cannot write h/sw.search: a search keeps"),
        (FIT + "--budget 15", "--budget: --for is needed with it"),
        ("fit -l sw,et -m {good}/model -o notes.txt", "cannot write notes.txt/sw.safetensors"),
        ("fit -l sw -m {good}/model -o /proc/v", "cannot write /proc/v"),
        ("fit -l sw -m {good}/bert -o out", "is a masked language model (bert), not a causal one"),
        ("fit -l sw -m {good}/t5 -o out", "cannot open"),
        ("fit -l sw -m {good} -o out", "cannot open"),
        ("fit -l sw -m {good}/nan-model -o out", "nan-model are not finite"),
        ("fit -l sw -m nowhere -o /proc/v", "cannot write /proc/v"),
        ("fit -l sw -m nowhere -o /dev/null", "cannot write /dev/null: it is a device"),
        ("fit -l sw,et -m nowhere -o notes.txt", "cannot write notes.txt/sw.safetensors"),
        ("tune sft -m nowhere -o notes.txt", "cannot write notes.txt: it is a file"),
        ("analyze -m nowhere -o notes.txt/a", "cannot write notes.txt/a"),
        ("drift nowhere -o notes.txt", "cannot write notes.txt: it is a file"),
        ("vectors {good}/v.safetensors -m nowhere -o notes.txt", "cannot write notes.txt: it is a"),
        ("diagnose -m nowhere --on sib200 -l sw -o ntrex", "cannot write ntrex: it is a folder"),
        ("demo -m nowhere -o notes.txt", "cannot write notes.txt: it is a file"),
        ("average nowhere -l am -o ntrex", "cannot write ntrex: it is a folder"),
        ("export nowhere --to gguf -o notes.txt/a", "cannot write notes.txt/a"),
        ("report ntrex -o notes.txt", "cannot write notes.txt: it is a file"),
        ("inspect cut.safetensors", "cut.safetensors is truncated"),
        ("inspect notes.txt", "notes.txt is text, not a safetensors file: name that of a vector"),
        ("inspect foreign.safetensors", "is not a langsteer vector file"),
        ("inspect nan.safetensors", "is damaged: the steering vector holds NaN or infinity"),
        ("inspect lacking.safetensors", "is damaged: it does not say its layer, method"),
        ("inspect typed.safetensors", "is damaged: its layer is 'one'"),
        ("inspect strong.safetensors", "is damaged: a strength must be a finite number"),
        ("inspect newer.safetensors", "pip install --upgrade langsteer"),
        ("inspect ntrex", "there is no vector file ntrex"),
        ("inspect {good}/v.safetensors -m {good}/other", "does not fit"),
        (GENERATE + "-v {good}/v.safetensors -m {good}/other", "architecture is llama there"),
        (GENERATE + "-v {good}/v.safetensors -m {good}/model --strength nan", "a finite number"),
    ],
)  # fmt: skip
def test_one_line_and_nothing_lost(
    command: str, message: str, good: Path, bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in bad.rglob("*") if p.is_file()}
    code, _, err = run(capsys, *command.format(good=good).split())
    assert code == 1
    assert message in err
    said = [line for line in err.splitlines() if line.startswith("langsteer: ")]
    assert said == err.splitlines()[-1:]
    assert "Traceback" not in err
    assert {p: p.read_bytes() for p in bad.rglob("*") if p.is_file()} == before


def test_states_that_are_not_finite_above_the_layer(llama: Model) -> None:
    """The layer fitted at is sound, but the output that chooses the strength is not."""
    model = build_model("llama")
    model.norm.weight.data.fill_(float("inf"))  # type: ignore[union-attr,operator]
    with pytest.raises(StateError, match="final hidden states of text"):
        learn(model, pairs(24), method="mean_difference", layers=[1])
    with pytest.raises(StateError, match="not finite"):
        learn(model, pairs(24), method="learned", layers=[1])


def test_a_stopped_fit_says_so(
    good: Path, bad: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(descent._Run, "_step", stop)
    command = OWN.format(good=good) + "a.en --method learned --layer 1"
    code, _, err = run(capsys, *command.split())
    assert code == 130
    assert err.splitlines()[-1] == "langsteer: stopped; the same command goes on from what is done"
    assert not (bad / "out").exists()


def test_a_terminated_fit_leaves_nothing_behind(
    good: Path,
    bad: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    seen = []

    def terminate(*arguments: Any) -> None:
        seen.extend(temporary.iterdir())
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(descent._Run, "_step", terminate)
    command = OWN.format(good=good) + "a.en --method learned --layer 1"
    code, _, err = run(capsys, *command.split())
    assert code == 143
    assert err.splitlines()[-1].startswith("langsteer: stopped; ")
    assert seen
    assert not any(temporary.iterdir())


def test_a_disk_that_is_full_at_the_end_loses_no_learning(
    good: Path, bad: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **more: Any) -> None:
        raise SafetensorError("Error while serializing: No space left on device (os error 28)")

    command = (OWN.format(good=good) + "a.en --method learned --layer 1").split()
    with monkeypatch.context() as patch:
        patch.setattr("langsteer.storage.tensors.save_file", full)
        code, _, err = run(capsys, *command)
    assert code == 1
    assert "cannot write out: " in err
    assert "No space left on device" in err
    assert [p.name for p in bad.glob("*out*")] == ["out.layer1.fit"]
    monkeypatch.setattr(descent._Run, "_step", None)  # a further step would raise
    assert run(capsys, *command)[0] == 0
    assert SteeringVector.load(bad / "out").loss
    assert [p.name for p in bad.glob("*out*")] == ["out"]


def test_a_disk_too_small_for_the_states(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(descent, "save_file", full)
    with pytest.raises(SaveError, match=r"No space left on device.*TMPDIR"):
        learn(llama, corpus_module.builtin("sw"), method="learned", layers=[1])
