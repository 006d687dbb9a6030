"""Instructions proposed by dspy's COPRO: another model proposes, and ours is asked with each proposal.

dspy sees a program whose answer is the choice that our model finds likeliest after the benchmark's own prompt
with the proposed instruction before it. All items of an instruction are scored in one batch.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from langsteer.errors import MethodError
from langsteer.evaluation.benchmarks import Doc
from langsteer.evaluation.methods.asking import choice_logits, render
from langsteer.evaluation.methods.common import Setting
from langsteer.evaluation.methods.prompts import instruction_in, with_instruction


def propose(
    setting: Setting,
    docs: Sequence[Doc],
    form: str,
    proposer: str | None = None,
    breadth: int = 6,
    depth: int = 2,
) -> list[str]:
    """Instructions, the best first, by accuracy on `docs`.

    `proposer` names the model that proposes, as dspy.LM takes it (`openai/gpt-4o-mini`); without
    it, the one that dspy was configured with. Raises MethodError where there is none.
    """
    dspy = importlib.import_module("dspy")
    model = dspy.LM(proposer) if proposer else dspy.settings.lm
    if model is None:
        raise MethodError(
            "optimiser='dspy' needs a model that proposes: name one with proposer=, such as "
            "'openai/gpt-4o-mini', or call dspy.configure(lm=...)"
        )
    program = _program(dspy, _Answers(setting, docs, form), instruction_in(setting, "en"))
    examples = [dspy.Example(item=doc["id"]).with_inputs("item") for doc in docs]
    copro = importlib.import_module("dspy.teleprompt").COPRO(
        metric=_right, breadth=breadth, depth=depth
    )
    quiet = {"num_threads": 1, "display_progress": False, "display_table": False}
    with dspy.context(lm=model):
        best = copro.compile(program, trainset=examples, eval_kwargs=quiet)
    ranked = [program["instruction"] for program in getattr(best, "candidate_programs", [])]
    own = best.predictors()[0].signature.instructions
    return list(dict.fromkeys(text.strip() for text in [own, *ranked] if text.strip()))


class _Answers:
    """Which items are answered rightly under an instruction."""

    def __init__(self, setting: Setting, docs: Sequence[Doc], form: str) -> None:
        self.setting, self.docs, self.form = setting, docs, form
        self.known: dict[str, dict[str, bool]] = {}

    def right(self, instruction: str, item_id: str) -> bool:
        if instruction not in self.known:
            setting, config = self.setting, with_instruction(self.setting, instruction, self.form)
            items = render(setting, setting.language, self.docs, self.form, config)
            chosen = choice_logits(setting.model, items).argmax(1).tolist()
            self.known[instruction] = {
                item.doc["id"]: item.target == place
                for item, place in zip(items, chosen, strict=True)
            }
        return self.known[instruction][item_id]


def _program(dspy: Any, answers: _Answers, instruction: str) -> Any:
    class Asked(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict(dspy.Signature("item -> right", instruction))

        def forward(self, item: str) -> Any:
            said = self.answer.signature.instructions
            return dspy.Prediction(right=answers.right(said, item))

    return Asked()


def _right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(prediction.right)
