"""The registry of formats: what is there, what a package adds, and the files of several languages."""

import importlib.metadata
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import pytest

import langsteer
from langsteer.cli.options import EXPORTS
from langsteer.errors import ExportError, PluginError, SaveError, VectorError
from langsteer.export.format import ExportFormat
from langsteer.export.formats import FORMATS, GROUP, export, get_format
from langsteer.model.model import Model
from langsteer.steering.change import Change
from tests.helpers import make_vector, run


def write_norms(changes: Sequence[Change], path: Path, *, digits: int = 3) -> None:
    """A format as another package may have it: the strength at each layer, as text."""
    lines = [f"{change.layers[0]} {change.strength:.{digits}f}" for change in changes]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines))


NORMS = ExportFormat("norms", "strengths as text", ".txt", write_norms)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that adds a format by an entry point."""
    module = types.ModuleType("made_up_package")
    module.FORMAT = NORMS  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_up_package", module)
    point = importlib.metadata.EntryPoint("norms", "made_up_package:FORMAT", GROUP)
    wrong = importlib.metadata.EntryPoint("wrong", "made_up_package:__name__", GROUP)
    own = importlib.metadata.entry_points
    points = importlib.metadata.EntryPoints([point, wrong])
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: points if group == GROUP else own(group=group),
    )


def test_formats_by_name() -> None:
    own = ["gguf", "llama-server", "lm-eval", "logit-bias", "merged"]
    assert list(FORMATS)[:5] == own == list(EXPORTS)
    assert all(get_format(name).name == name for name in own)
    with pytest.raises(ExportError, match=r"no format 'pdf'; there are gguf, llama-server, lm"):
        get_format("pdf")


def test_another_packages_format_is_used_from_the_command_line(
    added: None, llama: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make_vector(llama, strength=0.5).save(tmp_path / "sw.safetensors")
    code, text, err = run(
        capsys, "export", str(file), "--to", "norms", "-o", str(tmp_path / "sw.txt")
    )
    assert code == 0, err
    assert "strengths as text" in text
    assert (tmp_path / "sw.txt").read_text() == "1 0.500"
    export(file, "norms", tmp_path / "more.txt", digits=1)
    assert (tmp_path / "more.txt").read_text() == "1 0.5"
    with pytest.raises(ExportError, match="norms has no option 'everywhere': it has digits"):
        export(file, "norms", tmp_path / "x.txt", everywhere=True)
    code, _, err = run(capsys, "export", str(file), "--to", "pdf", "-o", str(tmp_path / "x"))
    assert code == 2
    assert (
        "'pdf' is not one of gguf, llama-server, lm-eval, logit-bias, merged, norms, wrong"
        in " ".join(err.replace("│", " ").split())
    )
    with pytest.raises(PluginError, match="gives a str, not a ExportFormat"):
        get_format("wrong")


def test_each_language_has_a_file_of_a_folder(
    llama: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for tag in ("sw", "tr"):
        make_vector(llama, language=tag).save(tmp_path / "in" / f"{tag}.safetensors")
    out = tmp_path / "out"
    code, text, err = run(
        capsys, "export", str(tmp_path / "in"), "--to", "gguf", "-o", str(out), "--json"
    )
    assert code == 0, err
    files = {tag: str(out / f"{tag}.gguf") for tag in ("sw", "tr")}
    assert json.loads(text)["files"] == files
    assert {path.name for path in out.iterdir()} == {"sw.gguf", "tr.gguf"}
    assert [langsteer.load(file).language for file in files.values()] == ["sw", "tr"]
    export(tmp_path / "in" / "tr.safetensors", "lm-eval", out)
    assert (out / "tr.pt").is_file()


@pytest.mark.parametrize(("to", "other"), [("gguf", "lm-eval"), ("lm-eval", "gguf")])
def test_only_files_of_the_format_are_replaced(
    to: str, other: str, llama: Model, tmp_path: Path
) -> None:
    vector, file = make_vector(llama, strength=3.0).at("all"), tmp_path / "v.any"
    export(vector, to, file)
    first = file.read_bytes()
    export(vector, to, file, strength=0.5)
    second = file.read_bytes()
    assert second != first
    with pytest.raises(SaveError, match=r"v\.any is there already and is no .*--overwrite"):
        export(vector, other, file)
    assert file.read_bytes() == second
    export(vector, other, file, overwrite=True)
    assert file.read_bytes() != second


def test_nothing_is_written_where_one_of_several_is_taken(llama: Model, tmp_path: Path) -> None:
    vectors = [make_vector(llama, language=tag).at("all") for tag in ("sw", "tr")]
    (tmp_path / "tr.gguf").write_text("mine")
    with pytest.raises(SaveError, match=r"tr\.gguf is there already"):
        export(vectors, "gguf", tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SaveError, match=r"file: it is a file\. Name a folder"):
        export(vectors, "gguf", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "tr.gguf"]


def test_files_of_another_package_are_replaced_only_when_told(
    added: None, llama: Model, tmp_path: Path
) -> None:
    file = tmp_path / "sw.txt"
    export(make_vector(llama), "norms", file)
    with pytest.raises(SaveError, match="is no strengths as text"):
        export(make_vector(llama), "norms", file)
    export(make_vector(llama, strength=0.5), "norms", file, overwrite=True)
    assert file.read_text() == "1 0.500"


def test_strength_replaces_that_of_the_vectors(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama, strength=3.0)
    (path,) = export(vector, "gguf", tmp_path / "a.gguf", strength=0.5).values()
    assert langsteer.load(path).tensors()["values"].equal(0.5 * vector.values)


def test_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nothing to export"):
        export([], "gguf", tmp_path / "x")
    with pytest.raises(VectorError, match="no vector file"):
        export(tmp_path, "gguf", tmp_path / "x")


def test_a_vector_that_keeps_lengths_is_refused(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama, keeps_length=True)
    with pytest.raises(ExportError, match="keeps the length of each state"):
        export(vector, "gguf", tmp_path / "v.gguf")
    assert not (tmp_path / "v.gguf").exists()
