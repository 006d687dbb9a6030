"""Where files of changes lie: paths here, and repositories of the Hugging Face hub, by their id.

    user/repo    user/repo@revision    hf:user/repo    hf:user/repo@revision/sw.safetensors

A name is a hub id where it looks like one and nothing lies here under that path, nor its first part; `hf:` says
that it is one. Of a repository its card and its `*.safetensors` are fetched, into the hub's own cache: what
could run code is not.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from langsteer.errors import HubError, VectorError
from langsteer.progress import quiet
from langsteer.storage.files import listed

ROUTER_NAME = "router.safetensors"  # what may lie in a folder of vectors and is none
FETCHED = ("*.safetensors", "README.md")
NOT_FETCHED = ("*/*", "model*", "adapter_model*", "pytorch_model*", "consolidated*")
LONGEST_REASON = 200  # characters
LOCAL_SUFFIXES = (".safetensors", ".gguf", ".pt", ".pth")
PREFIX = "hf:"

_HUB_ID = re.compile(
    r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w.-]*))?"
    r"(?:/(?P<file>\w[\w.+-]*\.safetensors))?"
)


@dataclass(frozen=True)
class HubId:
    """A repository on the hub, its revision, and one file in it; the last two may be None."""

    repository: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repository}{revision}{f'/{self.file}' if self.file else ''}"


def hub_id(source: str | Path) -> HubId | None:
    """What a name says of the hub; None where it is a path here. Raises HubError after `hf:`."""
    name = source.as_posix() if isinstance(source, Path) else source
    named = name.startswith(PREFIX)
    matched = _HUB_ID.fullmatch(name.removeprefix(PREFIX))
    if named and matched is None:
        raise HubError(f"{name} is no id of the hub: hf:user/repo, hf:user/repo@revision")
    if matched is None:
        return None
    if not named:
        here = Path(name).exists() or Path(name.partition("/")[0]).exists()
        if here or matched["file"] or name.endswith(LOCAL_SUFFIXES):
            return None
    return HubId(matched["repository"], matched["revision"], matched["file"])


def local_path(source: str | Path) -> Path:
    """The path itself; of a hub id, that of what was fetched: a folder, or the file that it names.

    Raises HubError where the repository cannot be had, or has no such file.
    """
    wanted = hub_id(source)
    if wanted is None:
        return Path(source)
    return _within(wanted)


def _within(wanted: HubId, **options: Any) -> Path:
    folder = _fetch(wanted, **options)
    if wanted.file is None:
        return folder
    if not (folder / wanted.file).is_file():
        has = ", ".join(path.name for path in listed(folder, "*.safetensors"))
        raise HubError(
            f"{wanted.repository} has no {wanted.file} on the hub: it has {has or 'none'}"
        )
    return folder / wanted.file


class FetchOptions(TypedDict, total=False):
    """How a repository is had from the hub, in huggingface_hub's words: its `revision` (a branch, tag
    or commit), the `token` (True: the one that was logged in with), where the cache is
    (`cache_dir`), whether nobody is asked (`local_files_only`), or all is fetched anew
    (`force_download`).
    """

    revision: str | None
    token: bool | str | None
    cache_dir: str | Path | None
    local_files_only: bool
    force_download: bool


def fetched(
    repo_id: str | Path, filename: str | None = None, **options: Unpack[FetchOptions]
) -> Path:
    """A folder here, or that of a repository of the hub; with `filename`, that file of it.

    Raises HubError where it cannot be had, or has no such file.
    """
    if Path(repo_id).exists():
        return Path(repo_id) / (filename or "")
    name = repo_id.as_posix() if isinstance(repo_id, Path) else repo_id
    wanted = hub_id(PREFIX + name.removeprefix(PREFIX)) or HubId(name)
    revision = options.pop("revision", None) or wanted.revision
    return _within(replace(wanted, revision=revision, file=filename or wanted.file), **options)


def change_files(source: str | Path) -> list[Path]:
    """The files in a folder, which may be none and are not its router; else the file itself."""
    path = local_path(source)
    if not path.is_dir():
        return [path]
    return [file for file in listed(path, "*.safetensors") if file.name != ROUTER_NAME]


def one_file(source: str | Path) -> Path:
    """The file itself, or the only one of a folder. Raises VectorError where there are others."""
    files = change_files(source)
    if not files:
        raise VectorError(f"there is no vector file {source}: it is a folder without any")
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise VectorError(f"there are several vector files in {source}: name one of {names}")
    return files[0]


def router_file(source: str | Path) -> Path:
    """The router of a folder, whether it is there or not; else the file itself."""
    path = local_path(source)
    return path / ROUTER_NAME if path.is_dir() else path


def _fetch(wanted: HubId, **options: Any) -> Path:
    """The folder of the hub's cache that has what is fetched of a repository."""
    import huggingface_hub

    patterns: dict[str, Any] = {
        "allow_patterns": list(FETCHED),
        "ignore_patterns": list(NOT_FETCHED),
    }
    with quiet("huggingface_hub"):
        try:
            folder = huggingface_hub.snapshot_download(
                wanted.repository, revision=wanted.revision, **patterns, **options
            )
        except Exception as error:  # the hub's client raises a dozen unrelated kinds
            asked = not options.get("local_files_only")
            raise HubError(_not_fetched(wanted, error, asked)) from error
    return Path(folder)


def _not_fetched(wanted: HubId, error: Exception, asked: bool = True) -> str:
    from huggingface_hub import constants, errors

    start = f"there is no path {wanted} here, and {wanted.repository} could not be had from the hub"
    if isinstance(error, errors.GatedRepoError):
        reason = f"ask for access on its page, {constants.ENDPOINT}/{wanted.repository}"
    elif isinstance(error, errors.RepositoryNotFoundError):
        reason = "it is not there, or is private: log in (hf auth login) where it is yours"
    elif isinstance(error, errors.RevisionNotFoundError):
        reason = f"it has no revision {wanted.revision}"
    elif isinstance(error, errors.LocalEntryNotFoundError) and not asked:
        reason = "local_files_only is set, and it is not in the cache"
    elif isinstance(error, errors.LocalEntryNotFoundError) and constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE is set, and it is not in the cache"
    elif isinstance(error, errors.LocalEntryNotFoundError):
        reason = f"{constants.ENDPOINT} cannot be reached, and it is not in the cache"
    else:
        reason = brief(error)
    return f"{start}: {reason}"


def brief(error: Exception) -> str:
    """What an error of the hub's client says, in one line."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."
