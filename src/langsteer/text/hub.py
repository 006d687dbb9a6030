"""Rows of data sets on the Hugging Face Hub, or in its cache here."""

from collections.abc import Iterable
from typing import Any

from langsteer.extras import need
from langsteer.progress import quiet


def load_rows(
    repository: str, configuration: str | None, split: str, *, extra: str, feature: str
) -> Iterable[dict[str, Any]]:
    """The rows of one split; `repository` may be a folder like one.

    Raises MissingExtraError, and what the hub's client raises: a dozen unrelated kinds.
    """
    datasets = need("datasets", extra, feature)
    with quiet("datasets", "huggingface_hub"):
        try:
            rows: Iterable[dict[str, Any]] = datasets.load_dataset(
                repository, configuration, split=split
            )
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            # The hub keeps its own conversion of data sets that come with a script.
            files = {split: f"{configuration or 'default'}/{split}/*.parquet"}
            rows = datasets.load_dataset(
                repository, data_files=files, split=split, revision="refs/convert/parquet"
            )
    return rows
