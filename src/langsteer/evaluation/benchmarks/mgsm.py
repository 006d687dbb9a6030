"""The worked examples of MGSM (Shi et al., arXiv 2210.03057), which are in a Python file."""

import ast
from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import Doc
from langsteer.evaluation.benchmarks.files import read_text


def exemplars(folder: Path, code: str, part: str) -> list[Doc]:
    """The worked examples as their authors publish them: a Python file of literals, parsed only."""
    path = folder / "exemplars.py"
    if not path.is_file():
        raise BenchmarkError(
            f"MGSM's 8 worked examples are in exemplars.py, which is not in {path.parent}: put it "
            "there, or use the hub"
        )
    try:
        values = _literals(read_text(path, "exemplars.py"))
        answers, shown = values["EXEMPLAR_NUMBER_ANSWERS"], values["MGSM_EXEMPLARS"][code]
        return [
            {
                "question": str(shown[str(i)]["q"]),
                "answer": str(shown[str(i)]["a"]),
                "answer_number": int(answer),
            }
            for i, answer in enumerate(answers, 1)
        ]
    except (SyntaxError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(
            f"{path} is not MGSM's: expected EXEMPLAR_NUMBER_ANSWERS and MGSM_EXEMPLARS[{code!r}]"
            "[number] with q and a"
        ) from error


def _literals(text: str) -> dict[str, Any]:
    return {
        target.id: ast.literal_eval(statement.value)
        for statement in ast.parse(text).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
