"""langsteer lm-eval"""

import sys

import typer

from langsteer.extras import need

SETTINGS = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}


def command(context: typer.Context) -> None:
    """The lm-evaluation-harness's own command, with the model `langsteer` in it.

    Example: `langsteer lm-eval --model langsteer --model_args pretrained=gemma-3-270m,vectors=vectors/ --tasks xcopa_sw`

    Everything after `lm-eval` goes to the harness; `langsteer lm-eval --help` is its help.
    """
    harness = need("lm_eval.__main__", "eval", "lm-eval")
    import langsteer.evaluation.harness.model  # noqa: F401  # registers the model

    sys.argv = ["lm-eval", *context.args]
    harness.cli_evaluate()
