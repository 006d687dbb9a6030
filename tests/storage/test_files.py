import errno
import json
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from langsteer.errors import SaveError
from langsteer.storage.files import (
    check_own_folder,
    check_replaceable,
    check_writable,
    save_errors,
    write_folder,
    write_json,
    write_text,
    write_together,
    write_whole,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "before")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(SaveError, match=r"a\.txt: No space left on device\. Nothing was changed"):
        write_whole(path, fail)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    """And what another process still writes is not."""
    for name in (".a.json.1.part", ".b.json.1.part"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".a.json.2.part").mkdir()
    (tmp_path / ".together.1.part").mkdir()

    def write_again(part: Path) -> None:
        write_json(tmp_path / "a.json", 1)
        part.write_text("2")

    write_whole(tmp_path / "a.json", write_again)
    assert (tmp_path / "a.json").read_text() == "2"
    write_together(tmp_path, {"c": "3"})
    assert names(tmp_path) == [".b.json.1.part", "a.json", "c"]


def test_a_disk_without_locks_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".a.json.1.part").write_text("another's, perhaps")

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    write_json(tmp_path / "a.json", 1)
    write_together(tmp_path, {"c": "3"})
    assert names(tmp_path) == [".a.json.1.part", "a.json", "c"]


def test_what_is_no_trouble_of_writing_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "a", lambda part: 1 / 0)
    assert names(tmp_path) == []


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        path = write_text(tmp_path / "a", "")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("error", "space"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (SafetensorError("Error while serializing: No space left on device (os error 28)"), True),
        (SafetensorError("Error while serializing: Permission denied (os error 13)"), False),
        (OSError(errno.EACCES, "Permission denied"), False),
        (OSError(errno.EROFS, "Read-only file system"), False),
    ],
)
def test_space_is_asked_for_where_it_is_what_lacks(error: Exception, space: bool) -> None:
    with (
        pytest.raises(SaveError, match=r"Nothing was changed.*name a folder") as caught,
        save_errors("a"),
    ):
        raise error
    assert ("free some space" in str(caught.value)) is space


def test_json_keeps_letters(tmp_path: Path) -> None:
    path = write_json(tmp_path / "folder" / "a.json", {"ä": [1, None]})
    assert "ä" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": [1, None]}


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="it is a folder"):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("")
    told = r"file/a: .*/file is a file, and a folder is needed there\. Nothing was changed; name"
    for write in (
        check_writable,
        lambda path: write_text(path, ""),
        lambda path: write_together(path, {}),
    ):
        with pytest.raises(SaveError, match=told):
            write(tmp_path / "file" / "a")
    with pytest.raises(SaveError, match="file is a file, and a folder is needed"):
        write_together(tmp_path / "file", {"a": ""})
    check_writable(tmp_path / "new" / "a")
    assert names(tmp_path) == ["file"]


def test_a_place_is_tried_before_work_is_put_into_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    for folder in (True, None):
        check_writable(tmp_path, folder=folder)
        check_writable(tmp_path / "new" / "a", folder=folder)
    check_writable(tmp_path / "file", folder=None)
    with pytest.raises(SaveError, match="it is a file"):
        check_writable(tmp_path / "file", folder=True)
    for path in ("file/a/b", "/proc/a", "/dev/null", tmp_path / "pipe", tmp_path / ("x" * 300)):
        with pytest.raises(SaveError, match="cannot write"):
            check_writable(tmp_path / path, folder=None)
    assert names(tmp_path) == ["file", "pipe"]


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SaveError, match="it is a device or a pipe"):
        write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()


def test_several_files_all_or_none(tmp_path: Path) -> None:
    written = write_together(tmp_path, {"a.txt": "ä", "sub/b.bin": b"\x00"})
    assert written == [tmp_path / "a.txt", tmp_path / "sub" / "b.bin"]
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "ä"
    (tmp_path / "blocked").write_text("")
    with pytest.raises(SaveError):
        write_together(tmp_path, {"a.txt": "new", "blocked/b": "x"})
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "ä"
    assert names(tmp_path) == ["a.txt", "b.bin", "blocked", "sub"]


def test_what_another_wrote_is_not_replaced(tmp_path: Path) -> None:
    file = write_text(tmp_path / "a.txt", "mine")
    check_replaceable(file, lambda path: None)
    check_replaceable(file, lambda path: "is mine", overwrite=True)
    check_replaceable(tmp_path / "new", lambda path: "is mine")
    told = (
        r"a\.txt is there already and is mine: name another file, or overwrite it \(.*--overwrite"
    )
    with pytest.raises(SaveError, match=told):
        check_replaceable(file, lambda path: "is mine")
    with pytest.raises(SaveError, match="name another folder"):
        check_replaceable(tmp_path, lambda path: "is mine")


def test_a_folder_with_files_of_another(tmp_path: Path) -> None:
    write_text(tmp_path / "b.txt", "mine")
    check_own_folder(tmp_path, ["a.txt"], lambda folder: False, "it")
    check_own_folder(tmp_path, ["a.txt", "b.txt"], lambda folder: True, "it")
    with pytest.raises(SaveError, match=r"b\.txt is there already, and it has not written it"):
        check_own_folder(tmp_path, ["a.txt", "b.txt"], lambda folder: False, "it")


def test_two_folders_of_one_name_at_once(tmp_path: Path) -> None:
    def fill(part: Path) -> None:
        write_text(part / "a", "mine")
        write_text(tmp_path / "new" / "a", "of another")

    with pytest.raises(SaveError, match=r"new: it is there already\. Name another folder"):
        write_folder(tmp_path / "new", fill)
    assert (tmp_path / "new" / "a").read_text() == "of another"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
