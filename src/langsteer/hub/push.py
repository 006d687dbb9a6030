"""Put vectors and a router into a repository of the Hugging Face hub, with their card."""

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langsteer.errors import HubError, VectorError
from langsteer.hub.card import CardOptions, model_card
from langsteer.progress import quiet
from langsteer.steering.change import Change
from langsteer.steering.files import ROUTER_NAME, brief, local_path
from langsteer.steering.folder import load_changes
from langsteer.steering.router import Router
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.steered import Steered
from langsteer.storage.files import listed, write_text

COMMIT_MESSAGE = "Steering vectors"
CARD_NAME = "README.md"
SHAPE = ("architecture", "layers", "hidden_size", "vocab_size")

Shared = str | Path | Change | Router | Steered


def push_to_hub(
    source: Shared | Iterable[Shared],
    repo_id: str,
    *,
    commit_message: str = COMMIT_MESSAGE,
    private: bool = False,
    token: bool | str | None = None,
    branch: str | None = None,
    card: CardOptions | None = None,
) -> str:
    """Upload changes, a router, or files and folders of them, with a card; the address of what is
    there now: of the repository, or the branch.

    `repo_id` is `user/name`, and is made where it is not there, as is the `branch`; what else it
    holds stays. Without a `token` it is that of huggingface_hub: `hf auth login`, or HF_TOKEN. Paths
    in the names of models and texts are shortened to their last part. Raises VectorError, HubError
    and SaveError.
    """
    _check_repository(repo_id)
    with tempfile.TemporaryDirectory(prefix="langsteer-") as folder:
        write_for_hub(source, folder, repo_id, card=card or CardOptions())
        with quiet("huggingface_hub"):
            upload = _Upload(repo_id, commit_message, private, token, branch)
            return upload.run(folder)


def write_for_hub(
    source: Shared | Iterable[Shared],
    folder: str | Path,
    repository: str,
    *,
    card: CardOptions = CardOptions(),
) -> list[Path]:
    """Write what `push_to_hub` uploads into a folder, and nothing else; the files, the card last."""
    _check_repository(repository)
    changes, router = _gathered(source)
    changes = {name: _without_paths(change) for name, change in changes.items()}
    router = None if router is None else _without_paths(router)
    folder = Path(folder)
    text = model_card(repository, changes, router, card)
    files = [change.save(folder / name) for name, change in changes.items()]
    if router is not None:
        files.append(router.save(folder / ROUTER_NAME))
    return [*files, write_text(folder / CARD_NAME, text)]


def _check_repository(repository: str) -> None:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository):
        raise HubError(f"{repository!r} is no repository of the hub: name it user/repo")


def _gathered(source: Shared | Iterable[Shared]) -> tuple[dict[str, Change], Router | None]:
    """Changes by the name of their file, and the router."""
    single = isinstance(source, str | Path | Change | Router | Steered)
    changes: list[Change] = []
    routers: list[Router] = []
    for part in [source] if single else list(source):  # type: ignore[arg-type,list-item]
        own, router = _of(part)  # type: ignore[arg-type]
        changes += own
        routers += [router] if router is not None else []
    if len(routers) > 1:
        raise VectorError("there are several routers: share one")
    named: dict[str, Change] = {}
    for change in changes:
        if f"{change.language}.safetensors" in named:
            raise VectorError(
                f"there are several vectors for {change.language}: share one a language"
            )
        named[f"{change.language}.safetensors"] = change
    router = routers[0] if routers else None
    if not named and router is None:
        raise VectorError("there is nothing to share: name a file or a folder of vectors")
    _check_one_model([*named.values(), *routers])
    return named, router


def _of(part: Shared) -> tuple[list[Change], Router | None]:
    if isinstance(part, Router):
        return [], part
    if isinstance(part, Change):
        return [part], None
    if isinstance(part, Steered):
        return list(part.changes.values()), part.router
    path = local_path(part)
    if path.name == ROUTER_NAME:
        return [], Router.load(path)
    if not path.is_dir():
        return load_changes([path]), None
    router = Router.load(path) if (path / ROUTER_NAME).is_file() else None
    others = any(file.name != ROUTER_NAME for file in listed(path, "*.safetensors"))
    return (load_changes([path]) if others or router is None else []), router


def _check_one_model(parts: Sequence[Change | Router]) -> None:
    owners = [part.model.get("fingerprint", {}) for part in parts]
    shapes = {str([owner.get(key) for key in SHAPE]) for owner in owners}
    weights = {(owner.get("dtype"), owner.get("weights")) for owner in owners}
    if len(shapes) > 1 or len(weights) > len({dtype for dtype, _ in weights}):
        names = " and ".join(sorted({str(part.model.get("name")) for part in parts}))
        raise VectorError(f"these are of several models, {names}: share those of one at a time")


def _without_paths(part: Any) -> Any:
    """The same, where names of models and texts that are paths here are only their last part."""
    if isinstance(part, ChangeSequence):
        return replace(part, changes=tuple(_without_paths(change) for change in part.changes))
    return replace(part, model=_short(part.model), corpus=_short(part.corpus))


def _short(record: Mapping[str, Any]) -> dict[str, Any]:
    short = dict(record)
    name = short.get("name")
    if isinstance(name, str) and _is_path(name):
        short["name"] = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if isinstance(short.get("carried_from"), Mapping):
        short["carried_from"] = _short(short["carried_from"])
    return short


def _is_path(name: str) -> bool:
    if name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 2:
        return True
    return "/" in name and Path(name).exists()


@dataclass(frozen=True)
class _Upload:
    """Where a folder goes, and how; arguments as of `push_to_hub`."""

    repository: str
    message: str
    private: bool
    token: bool | str | None
    branch: str | None

    def run(self, folder: str) -> str:
        """Upload it; its address."""
        import huggingface_hub

        name, branch = self.repository, self.branch
        api = huggingface_hub.HfApi(token=self.token)
        url = str(self._told(lambda: api.create_repo(name, private=self.private, exist_ok=True)))
        if self.private and not self._told(lambda: api.repo_info(name)).private:
            raise HubError(
                f"{name} is there already and is public: nothing was uploaded. Make it private on "
                "its page, or name another"
            )
        if branch is not None:
            self._told(lambda: api.create_branch(name, branch=branch, exist_ok=True))
            url = f"{url}/tree/{branch}"
        self._told(
            lambda: api.upload_folder(
                repo_id=name,
                folder_path=folder,
                commit_message=self.message,
                revision=branch,
            )
        )
        return url

    def _told(self, ask: Callable[[], Any]) -> Any:
        """What the hub answers. Raises HubError, in one line, for whatever goes wrong."""
        from huggingface_hub import constants, errors

        try:
            return ask()
        except Exception as error:  # the hub's client raises a dozen unrelated kinds
            reason = brief(error)
            status = getattr(getattr(error, "response", None), "status_code", None)
            if isinstance(error, errors.OfflineModeIsEnabled):
                reason = "HF_HUB_OFFLINE is set"
            elif status in (401, 403):
                reason = "log in with a token that may write there (hf auth login, or HF_TOKEN)"
            elif status is None:
                reason = f"{constants.ENDPOINT} cannot be reached ({reason})"
            raise HubError(f"cannot upload to {self.repository}: {reason}") from error
