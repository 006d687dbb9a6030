"""What langsteer takes of lm-eval beyond its documented interface, in one place.

Documented are `lm_eval.evaluator.evaluate`, `lm_eval.tasks.TaskManager`, `lm_eval.api.instance.Instance`,
`lm_eval.api.registry.register_model` and `lm_eval.api.task.ConfigurableTask`. All else may move between
versions; here it is as it stands in `SINCE`.
"""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lm_eval.api.task
import lm_eval.tasks
import lm_eval.utils
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.tasks._yaml_loader import _import_fun_from_str, load_yaml
from lm_eval.utils import (
    get_rolling_token_windows,
    make_disjoint_window,
    simple_parse_args_string,
)

__all__ = [
    "HFLM",
    "SINCE",
    "compiled_once",
    "function_of",
    "get_rolling_token_windows",
    "handle_stop_sequences",
    "load_yaml",
    "make_disjoint_window",
    "normalize_gen_kwargs",
    "postprocess_generated_text",
    "simple_parse_args_string",
    "task_folder",
    "without_bars",
]

SINCE = "0.4.12"
"""the version of lm-eval that has all of these under these names"""


def task_folder() -> Path:
    """The folder of the harness's own task files."""
    return Path(str(lm_eval.tasks.__file__)).parent


def function_of(name: str) -> Any:
    """The function that a task file names, `FILE.FUNCTION` by its path, as `!function` does."""
    return _import_fun_from_str(name)


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Inside, the harness draws no progress bar while it builds requests."""
    module: Any = lm_eval.api.task
    bar = module.tqdm
    try:
        module.tqdm = lambda items, *args, **kwargs: items
        yield
    finally:
        module.tqdm = bar


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """Inside, the harness compiles a template once, and not once an item."""
    environment: Any = lm_eval.utils.env
    if "from_string" in vars(environment):
        yield
        return
    try:
        environment.from_string = functools.lru_cache(maxsize=256)(environment.from_string)
        yield
    finally:
        del environment.from_string
