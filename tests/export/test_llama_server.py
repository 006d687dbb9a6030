"""Presets of llama.cpp's server: what stands in them, and what is refused."""

import configparser
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

import langsteer
from langsteer.errors import ExportError
from langsteer.export.formats import export
from langsteer.model.model import Model
from tests.helpers import make_vector, run


@pytest.fixture
def file(llama: Model, tmp_path: Path) -> Path:
    return model_file(tmp_path / "tiny.gguf", llama.layers, llama.hidden_size)


def model_file(path: Path, layers: int, hidden: int) -> Path:
    """A GGUF file that says of itself what that of a model says."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_embedding_length(hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def sections(folder: Path) -> dict[str, dict[str, str]]:
    reader = configparser.ConfigParser(interpolation=None)
    reader.read_string("[global]\n" + (folder / "preset.ini").read_text(encoding="utf-8"))
    assert dict(reader["global"]) == {"version": "1"}
    return {name: dict(reader[name]) for name in reader.sections() if name != "global"}


def test_a_section_a_language(llama: Model, file: Path, tmp_path: Path) -> None:
    vectors = [make_vector(llama, language=tag, strength=0.5) for tag in ("sw", "tr")]
    out = tmp_path / "out"
    assert export(vectors, "llama-server", out, model=file) == {"sw": out, "tr": out}
    assert sections(out) == {
        "tiny": {"model": str(file)},
        "tiny-sw": {"model": str(file), "control-vector-scaled": f"{out}/sw.gguf:1.0"},
        "tiny-tr": {"model": str(file), "control-vector-scaled": f"{out}/tr.gguf:1.0"},
    }
    for vector in vectors:
        scaled = langsteer.load(out / f"{vector.language}.gguf").tensors()["values"]
        assert torch.equal(scaled, 0.5 * vector.values)
    assert {path.name for path in out.iterdir()} == {"preset.ini", "sw.gguf", "tr.gguf"}
    assert "a router is not part of this" in (out / "preset.ini").read_text()


def test_positions_are_refused_or_declared(llama: Model, file: Path, tmp_path: Path) -> None:
    vectors = [make_vector(llama), make_vector(llama, language="tr", positions="prompt")]
    out = tmp_path / "out"
    with pytest.raises(ExportError, match="positions 'prompt'"):
        export(vectors, "llama-server", out, model=file)
    assert not out.exists()
    export(vectors, "llama-server", out, model=file, everywhere=True)
    text = (out / "preset.ini").read_text()
    assert "; tr: fitted to act on the positions prompt; in this file on every token" in text
    assert "; sw:" not in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"layer": 0}, "does not act on layer 0"),
        ({"values": torch.ones(31)}, "is for 4 layers of size 31"),
    ],
)
def test_what_the_server_would_leave_out_is_refused(
    llama: Model, file: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    vectors = [make_vector(llama), make_vector(llama, language="tr", **changes)]
    with pytest.raises(ExportError, match=told):
        export(vectors, "llama-server", tmp_path / "out", model=file)
    assert not (tmp_path / "out").exists()


def test_the_model_file_is_checked(llama: Model, file: Path, tmp_path: Path) -> None:
    vector, out = make_vector(llama), tmp_path / "out"
    with pytest.raises(ExportError, match=r"pass model=, its GGUF file \(--model\)"):
        export(vector, "llama-server", out)
    with pytest.raises(ExportError, match="gemma-3-270m is none"):
        export(vector, "llama-server", out, model="gemma-3-270m")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    with pytest.raises(ExportError, match="cut short or not a GGUF file of a model"):
        export(vector, "llama-server", out, model=tmp_path / "bad.gguf")
    with pytest.raises(ExportError, match="has 5 of size 32"):
        export(vector, "llama-server", out, model=model_file(tmp_path / "5.gguf", 5, 32))
    with pytest.raises(ExportError, match="which a preset of llama-server takes apart"):
        export(vector, "llama-server", tmp_path / "a,b", model=file)
    with pytest.raises(ExportError, match="takes apart"):
        export(vector, "llama-server", out, model=file, name="tiny:sw")
    odd = replace(vector, model={"name": "m", "fingerprint": {"architecture": "phimoe"}})
    with pytest.raises(ExportError, match="does not apply control vectors to phimoe"):
        export(odd, "llama-server", out, model=file)
    assert not out.exists()


def test_from_the_command_line(
    llama: Model, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector, out = make_vector(llama).save(tmp_path / "sw.safetensors"), tmp_path / "out"
    code, text, err = run(
        capsys, "export", str(vector), "--to", "llama-server", "-m", str(file), "-o", str(out)
    )
    assert code == 0, err
    assert f"sw: {out} (preset of llama.cpp's server)" in text
    assert list(sections(out)) == ["tiny", "tiny-sw"]
