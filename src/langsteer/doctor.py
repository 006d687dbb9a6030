"""What is installed, what is missing, and what to do about it: `langsteer doctor`.

Each check stands by itself: what is broken is reported, and the next is made.
"""

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from langsteer.extras import EXTRAS, missing
from langsteer.version import __version__

State = Literal["ok", "missing", "wrong"]

DEPENDENCIES = {  # the module of each package that every command needs
    "torch": "torch",
    "transformers": "transformers",
    "safetensors": "safetensors",
    "gguf": "gguf",
    "accelerate": "accelerate",
    "langcodes": "langcodes",
    "regex": "regex",
    "filelock": "filelock",
    "numpy": "numpy",
    "typer": "typer",
    "rich": "rich",
}
OLDEST_PYTHON = (3, 11)
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
HUB = "https://huggingface.co"
SECONDS = 5.0  # that the hub may take to answer
_YES = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads its variables
_GIB = 2**30


@dataclass(frozen=True)
class Check:
    """What was found of one thing: `missing` is optional, `wrong` does not work as it is.

    `remedy` is what to do, empty where all is well. `needed`: every command needs it.
    """

    area: str
    name: str
    state: State
    detail: str
    remedy: str = ""
    needed: bool = False


def examine() -> list[Check]:
    """All checks, in the order of their areas. Raises nothing, whatever is broken."""
    areas: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("versions", _versions),
        ("extras", _extras),
        ("devices", _devices),
        ("cache", _cache),
        ("hub", _hub),
        ("models", _models),
    )
    return [check for area, checks in areas for check in _guarded(area, checks)]


def broken(checks: list[Check]) -> bool:
    """Whether something is wrong that langsteer needs."""
    return any(check.needed and check.state == "wrong" for check in checks)


def _guarded(area: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from checks()
    except Exception as error:
        yield Check(area, area, "wrong", f"cannot be looked at ({_reason(error)})")


def _reason(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _versions() -> Iterator[Check]:
    area, python = "versions", platform.python_version()
    if sys.version_info >= OLDEST_PYTHON:
        yield Check(area, "Python", "ok", f"{python} ({sys.executable})", needed=True)
    else:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield Check(
            area, "Python", "wrong", python, f"install Python {oldest} or newer", needed=True
        )
    yield Check(area, "langsteer", "ok", f"{__version__} ({Path(__file__).parent})", needed=True)
    wanted = _wanted_versions()
    for package, module in DEPENDENCIES.items():
        yield _dependency(package, module, wanted.get(package))


def _dependency(package: str, module: str, wanted: Any) -> Check:
    install = f"pip install --upgrade '{package}{wanted or ''}'"
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return Check("versions", package, "wrong", "not installed", install, needed=True)
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a broken installation does
        detail = f"{version} cannot be imported ({_reason(error)})"
        repair = f"pip install --force-reinstall '{package}{wanted or ''}'"
        return Check("versions", package, "wrong", detail, repair, needed=True)
    if wanted is not None and not wanted.contains(version, prereleases=True):
        detail = f"{version}, but langsteer needs {wanted}"
        return Check("versions", package, "wrong", detail, install, needed=True)
    return Check("versions", package, "ok", version, needed=True)


def _wanted_versions() -> dict[str, Any]:
    """The versions that langsteer asks for, by package; empty where they cannot be read."""
    try:
        from packaging.requirements import Requirement

        lines = importlib.metadata.requires("langsteer") or []
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return {}
    requirements = [Requirement(line) for line in lines]
    return {r.name: r.specifier for r in requirements if r.marker is None and r.specifier}


def _extras() -> Iterator[Check]:
    for extra in EXTRAS:
        lacking = missing(extra)
        if lacking:
            install = f"pip install 'langsteer[{extra}]'"
            yield Check("extras", extra, "missing", f"without {', '.join(lacking)}", install)
        else:
            yield Check("extras", extra, "ok", "installed")


def _devices() -> Iterator[Check]:
    import torch

    yield Check("devices", "CPU", "ok", f"{torch.get_num_threads()} threads{_memory()}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            known = torch.cuda.get_device_properties(index)
            detail = f"{known.name}, {_size(known.total_memory)} of memory"
            yield Check("devices", f"cuda:{index}", "ok", detail)
    else:
        yield Check("devices", "CUDA", "missing", _why_no_cuda(torch))
    mps = torch.backends.mps.is_available()
    yield Check("devices", "MPS", "ok" if mps else "missing", "usable" if mps else "not there")
    xpu = hasattr(torch, "xpu") and torch.xpu.is_available()
    yield Check("devices", "XPU", "ok" if xpu else "missing", "usable" if xpu else "not there")


def _why_no_cuda(torch: Any) -> str:
    built = torch.version.cuda or getattr(torch.version, "hip", None)
    return "no device, or no driver for it" if built else "this torch is built without it"


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return ""
    return f", {_size(total)} of memory"


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB / 10 else f"{count / 2**20:.1f} MiB"


def _cache() -> Iterator[Check]:
    from langsteer.model.converted import cache_folder

    folder = cache_folder()
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = _size(shutil.disk_usage(there).free)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        detail = f"{folder}, {_size(_bytes_in(folder))}, {free} free"
        yield Check("cache", "folder", "ok", detail)
    else:
        change = "set LANGSTEER_CACHE to a folder that you can write to"
        yield Check("cache", "folder", "wrong", f"{folder} cannot be written", change)
    for path in sorted((folder / "models").glob("*/")):
        if path.suffix != ".part":
            yield Check("cache", path.name, "ok", f"converted, {_size(_bytes_in(path))}")
        else:
            detail = f"left by a conversion that was stopped, {_size(_bytes_in(path))}"
            yield Check("cache", path.name, "wrong", detail, f"remove {path}")


def _bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _hub() -> Iterator[Check]:
    offline = [name for name in OFFLINE if os.environ.get(name, "").upper() in _YES]
    if offline:
        detail = f"not asked: {', '.join(offline)} set; only what is here already opens"
        yield Check("hub", "hub", "missing", detail, f"unset {' '.join(offline)} to reach it")
        return
    address = os.environ.get("HF_ENDPOINT") or HUB
    try:
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError) as error:
        remedy = "look at the network or a proxy, or set HF_HUB_OFFLINE=1 to do without"
        detail = f"{address} does not answer ({_reason(error)})"
        yield Check("hub", "hub", "missing", detail, remedy)
        return
    yield Check("hub", "hub", "ok", f"{address} answers")


def _models() -> Iterator[Check]:
    from langsteer.errors import ModelError
    from langsteer.model.converted import PACKAGED

    for name, packaged in PACKAGED.items():
        try:
            detail = f"{packaged.package} {packaged.version()}"
        except ModelError:
            absent = f"{packaged.package} is not installed"
            yield Check("models", name, "missing", absent, packaged.install)
        else:
            yield Check("models", name, "ok", detail)
