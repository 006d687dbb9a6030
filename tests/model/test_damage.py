"""A file that is damaged is named, and what to do about it."""

import shutil
from pathlib import Path

import pytest

from langsteer.errors import ModelError
from langsteer.model.damage import folder_of
from langsteer.model.opening import load_model

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12\n"
WEIGHTS, TOKENS = "model.safetensors", "tokenizer.json"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (WEIGHTS, POINTER, "is a Git LFS pointer.*git lfs pull"),
        (WEIGHTS, b"", "is empty"),
        (WEIGHTS, b"hello" * 20, "is cut short or not a safetensors file"),
        (WEIGHTS, -9, "is cut short"),
        (WEIGHTS, 99, "is cut short"),
        (TOKENS, POINTER, "is a Git LFS pointer"),
        (TOKENS, b"", "is empty"),
        (TOKENS, b"{", "is damaged"),
        (TOKENS, b"{}", "is damaged .Model missing"),
        ("tokenizer_config.json", POINTER, "is a Git LFS pointer"),
        ("config.json", POINTER, "is a Git LFS pointer"),
        ("config.json", b"[", "is damaged"),
        ("config.json", b"null", r"is damaged .it holds None and no settings by name"),
        ("config.json", b"[]", r"is damaged .it holds \[\] and no settings by name"),
        ("tokenizer_config.json", b"[]", "is damaged .it holds"),
        ("generation_config.json", b'{"max_length": ', "is damaged"),
        ("generation_config.json", b"", "is empty"),
        ("generation_config.json", b"[]", "is damaged .it holds"),
    ],
)
def test_a_damaged_file(
    folder: Path, tmp_path: Path, name: str, content: bytes | int, message: str
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    file = copy / name
    file.write_bytes(file.read_bytes()[:content] if isinstance(content, int) else content)
    with pytest.raises(ModelError, match=f"{name} {message}") as caught:
        load_model(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("tokenizer.json", "has no tokeniser: copy tokenizer.json"),
        ("config.json", "there is no config.json in that folder: name the file, .*my.gguf"),
        ("model.safetensors", "is not a complete checkpoint"),
    ],
)
def test_a_file_that_is_not_there(folder: Path, tmp_path: Path, gone: str, message: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / gone).unlink()
    (copy / "my.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=message) as caught:
        load_model(copy)
    assert not str(caught.value).endswith(":")


@pytest.mark.parametrize("index", ["{}", "[]", "null", '{"weight_map": {}}', '{"weight_map": [1]}'])
def test_an_index_that_names_no_files(folder: Path, tmp_path: Path, index: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / WEIGHTS).rename(copy / "model-00001-of-00001.safetensors")
    (copy / "model.safetensors.index.json").write_text(index)
    with pytest.raises(
        ModelError, match=r"model\.safetensors\.index\.json is damaged .it h(as no weight_map|olds)"
    ):
        load_model(copy)


def test_a_pointer_in_place_of_a_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(POINTER)
    with pytest.raises(ModelError, match=r"a\.gguf is a Git LFS pointer"):
        load_model(tmp_path / "a.gguf")


def test_a_file_of_a_checkpoint(folder: Path) -> None:
    with pytest.raises(ModelError, match="is a file: name the folder"):
        load_model(folder / WEIGHTS)


def test_what_is_nowhere(tmp_path: Path) -> None:
    assert folder_of(str(tmp_path)) == tmp_path
    assert folder_of("nobody/nothing") is None
