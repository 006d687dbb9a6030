"""langsteer lm-eval"""

import sys

import typer

from langsteer.cli import options as common


def command(context: typer.Context) -> None:
    """The lm-evaluation-harness's own command, with the model `langsteer` in it.

    Example: langsteer lm-eval --model langsteer --model_args pretrained=gemma-3-270m,vectors=vectors/ --tasks xcopa_sw

    Everything after `lm-eval` goes to the harness; `langsteer lm-eval --help` is its help.
    """
    common.needs_extra("lm-eval", "lm-eval", "eval", "langsteer.evaluation.harness.model")
    from lm_eval.__main__ import cli_evaluate

    sys.argv = ["lm-eval", *context.args]
    cli_evaluate()
