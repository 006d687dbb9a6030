"""The version of langsteer, and of what makes its numbers."""

import importlib.metadata

__version__ = "0.1.0"

_PACKAGES = ("torch", "transformers", "lm_eval", "peft", "trl")


def versions() -> dict[str, str]:
    """langsteer's version, and those of the packages that its numbers depend on, where installed."""
    installed = {"langsteer": __version__}
    for package in _PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed
