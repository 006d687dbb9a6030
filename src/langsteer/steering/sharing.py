"""Changes and routers on the Hugging Face hub, by the names and arguments of huggingface_hub's `ModelHubMixin`."""

import importlib
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from langsteer.steering.files import FetchOptions, fetched


class PushOptions(TypedDict, total=False):
    """How `langsteer.push_to_hub` puts something on the hub: its arguments."""

    commit_message: str
    private: bool
    token: bool | str | None
    branch: str | None
    card: Any


class Pushable:
    """What can be put on the hub."""

    def push_to_hub(self, repo_id: str, **options: Unpack[PushOptions]) -> str:
        """Upload it with a card, and return its address; see `langsteer.push_to_hub`."""
        front = importlib.import_module("langsteer")  # the room `hub` is above this one
        return str(front.push_to_hub(self, repo_id, **options))


class Shareable(Pushable):
    """What is one file, which `load` reads."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls, repo_id: str | Path, filename: str | None = None, **options: Unpack[FetchOptions]
    ) -> Self:
        """What a repository of the hub (`user/repo`), or a folder here like one, holds of this kind.

        `filename` names one of several; options are `revision`, `token`, `cache_dir`,
        `local_files_only` and `force_download`, as in huggingface_hub. Raises HubError, and
        VectorError where it is damaged, or something else.
        """
        return cls.load(fetched(repo_id, filename, **options))
