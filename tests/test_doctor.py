"""langsteer doctor: what is there, what is missing, what is broken."""

import importlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import pytest

from langsteer import doctor, extras
from langsteer.doctor import Check, broken, examine
from langsteer.model import converted
from tests.helpers import run


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LANGSTEER_CACHE", str(tmp_path / "cache"))


def named(checks: list[Check], area: str, name: str) -> Check:
    (check,) = [check for check in checks if (check.area, check.name) == (area, name)]
    return check


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "doctor")
    assert (code, err) == (0, "")
    for word in ("versions", "extras", "devices", "cache", "hub", "models", "torch", "CPU"):
        assert word in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")
    assert code == 0
    checks = json.loads(out)
    assert set(checks[0]) == {"area", "name", "state", "detail", "remedy", "needed"}
    assert {check["area"] for check in checks} == {
        "versions", "extras", "devices", "cache", "hub", "models",
    }  # fmt: skip
    assert {check["state"] for check in checks} <= {"ok", "missing", "wrong"}


def test_a_missing_extra_says_what_adds_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "installed", lambda module: module != "lm_eval")
    check = named(examine(), "extras", "eval")
    assert (check.state, check.remedy) == ("missing", "pip install 'langsteer[eval]'")
    assert "lm-eval" in check.detail
    assert run(capsys, "doctor")[0] == 0


def test_what_cannot_be_imported_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name == "torch":
            raise OSError("libcudart.so.12: cannot open shared object file")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    checks = examine()
    check = named(checks, "versions", "torch")
    assert check.state == "wrong"
    assert "libcudart.so.12" in check.detail
    assert check.remedy.startswith("pip install --force-reinstall 'torch")
    assert broken(checks)
    code, out, err = run(capsys, "doctor")
    assert (code, err) == (1, "")
    assert "libcudart.so.12" in out


def test_torch_that_breaks_everywhere_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(importlib.sys.modules, "torch", None)  # type: ignore[attr-defined]
    monkeypatch.delitem(importlib.sys.modules, "langsteer.model.converted")  # type: ignore[attr-defined]
    checks = examine()
    assert named(checks, "devices", "devices").state == "wrong"
    assert named(checks, "cache", "cache").state == "wrong"
    assert named(checks, "models", "models").state == "wrong"
    assert broken(checks)


def test_a_package_that_is_too_old_or_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(package: str) -> str:
        if package == "gguf":
            raise importlib.metadata.PackageNotFoundError(package)
        return "2.0.0" if package == "transformers" else real(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda package: ["transformers>=5.0", "x; extra == 'y'"]
    )
    checks = examine()
    old, absent = (named(checks, "versions", name) for name in ("transformers", "gguf"))
    assert (old.state, old.detail) == ("wrong", "2.0.0, but langsteer needs >=5.0")
    assert old.remedy == "pip install --upgrade 'transformers>=5.0'"
    assert (absent.state, absent.detail) == ("wrong", "not installed")


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine-1.0", "mine-1.0.part"):
        (tmp_path / "cache" / "models" / name).mkdir(parents=True)
        (tmp_path / "cache" / "models" / name / "weights").write_bytes(b"x" * 2**20)
    checks = examine()
    assert named(checks, "cache", "mine-1.0").detail == "converted, 1.0 MiB"
    left = named(checks, "cache", "mine-1.0.part")
    assert (left.state, broken(checks)) == ("wrong", False)
    assert str(tmp_path) in left.remedy
    assert ", 2.0 MiB, " in named(checks, "cache", "folder").detail


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    check = named(examine(), "cache", "folder")
    assert check.state == "wrong"
    assert "LANGSTEER_CACHE" in check.remedy
    monkeypatch.setenv("LANGSTEER_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert named(examine(), "cache", "folder").state == "wrong"


def test_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    told = named(examine(), "hub", "hub")
    assert (told.state, told.remedy) == ("missing", "unset HF_HUB_OFFLINE to reach it")
    for name in doctor.OFFLINE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    told = named(examine(), "hub", "hub")
    assert told.state == "missing"
    assert "http://127.0.0.1:9 does not answer" in told.detail
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert named(examine(), "hub", "hub").state == "missing"


def test_a_packaged_model_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = converted.PackagedModel("no-such-model", "no_such_model", "pip install no-such-model")
    monkeypatch.setattr(converted, "PACKAGED", {"mine": absent})
    check = named(examine(), "models", "mine")
    assert (check.state, check.remedy) == ("missing", "pip install no-such-model")
