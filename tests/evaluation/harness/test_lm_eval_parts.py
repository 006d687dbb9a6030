"""What langsteer takes of lm-eval beyond its documented interface is where it was."""

import importlib
import importlib.metadata

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

SINCE = "0.4.12"
PARTS = {
    "lm_eval.models.huggingface": ("HFLM",),
    "lm_eval.models.utils": (
        "handle_stop_sequences",
        "normalize_gen_kwargs",
        "postprocess_generated_text",
    ),
    "lm_eval.tasks._yaml_loader": ("load_yaml", "_import_fun_from_str"),
    "lm_eval.utils": (
        "apply_template",
        "get_rolling_token_windows",
        "make_disjoint_window",
        "simple_parse_args_string",
    ),
    "lm_eval.api.task": ("tqdm",),
    "lm_eval.__main__": ("cli_evaluate",),
}
METHODS = (
    "_model_generate",
    "create_from_arg_obj",
    "create_from_arg_string",
    "loglikelihood_rolling",
    "tok_decode",
    "tok_encode",
)


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in PARTS.items() for name in names]
)
def test_it_is_where_it_was(module: str, name: str) -> None:
    version = importlib.metadata.version("lm_eval")
    assert callable(getattr(importlib.import_module(module), name, None)), (
        f"{module}.{name} came in lm-eval {SINCE} and is not in {version}"
    )


def test_the_model_of_the_harness_has_what_ours_overrides_and_calls() -> None:
    from langsteer.evaluation.harness.lm_eval_parts import HFLM

    assert [name for name in METHODS if not callable(getattr(HFLM, name, None))] == []


def test_the_module_says_the_same_version_and_draws_no_bar() -> None:
    from lm_eval.api import task

    from langsteer.evaluation.harness import lm_eval_parts

    assert lm_eval_parts.SINCE == SINCE
    bar = task.tqdm
    with lm_eval_parts.without_bars():
        assert list(task.tqdm([1, 2], desc="x")) == [1, 2]
        assert task.tqdm is not bar
    assert task.tqdm is bar
    assert lm_eval_parts.load_yaml(
        lm_eval_parts.task_folder() / "xcopa" / "default_et.yaml", resolve_func=False
    )["task"]


def test_templates_are_compiled_once_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.utils import apply_template, env

    from langsteer.evaluation.harness.lm_eval_parts import compiled_once

    compiled: list[str] = []
    plain = type(env).compile
    monkeypatch.setattr(
        type(env), "compile", lambda self, source, *a, **k: compiled.append(source) or plain(self, source, *a, **k)
    )  # fmt: skip
    with compiled_once(), compiled_once():
        texts = [apply_template("{{word}}!", {"word": word}) for word in ("moja", "mbili")]
    assert texts == ["moja!", "mbili!"]
    assert len(compiled) == 1
    assert "from_string" not in vars(env)
    apply_template("{{word}}!", {"word": "tatu"})
    assert len(compiled) == 2
