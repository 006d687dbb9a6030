"""Whether the tests notice what would change a state: each mutant of intervention.py must fail one.

    python scripts/mutants.py            all of them, some minutes
    python scripts/mutants.py beams ...  those whose names hold a word

A mutant is the module with one text replaced. Prints which live, and ends with status 1 where one does.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULE = Path("langsteer/states/intervention.py")
TESTS = ("tests/states/test_intervention.py", "tests/states/test_generating.py")
NOTICED = 1  # pytest's status where a test failed


@dataclass(frozen=True)
class Mutant:
    """One text of the module, which must be there once, and what stands in its place."""

    name: str
    old: str
    new: str


_HOOK = "model.blocks[item.layer].register_forward_hook(_change_hook(tracker, item))"
_REMOVED = "\n            stack.callback(hook.remove)"
_LAST = "(model.norm if item.layer == model.layers - 1 else model.blocks[item.layer])"

MUTANTS = (
    Mutant("a hook is left behind", _HOOK + _REMOVED, _HOOK),
    Mutant(
        "the hook that looks at passes is left behind",
        "with_kwargs=True, prepend=True)" + _REMOVED,
        "with_kwargs=True, prepend=True)",
    ),
    Mutant("one layer too low", _HOOK, _HOOK.replace("item.layer", "item.layer - 1")),
    Mutant("after the final norm", _HOOK, _HOOK.replace("model.blocks[item.layer]", _LAST)),
    Mutant("added twice", "return hidden + self", "return hidden + 2 * self"),
    Mutant("taken away", "return hidden + self", "return hidden - self"),
    Mutant("padding is steered", "never = never | ~call.attention.to(device)", "pass"),
    Mutant("the beginning is steered", "never = self._beginning(call, device)", "never = ~prompt"),
    Mutant(
        "the beginning of a padded row is steered",
        "beginning = whole.int().argmax(1)",
        "beginning = torch.zeros_like(whole[:, 0])",
    ),
    Mutant(
        "nothing under the cache",
        'return positions in ("generated", "all")',
        "return False",
    ),
    Mutant(
        "the last prompt token is new",
        "if call.start >= call.prompt_end:",
        "if call.start > call.prompt_end - 2:",
    ),
    Mutant("the prompt is generated", "(columns < call.prompt_end)", "(columns < 0)"),
    Mutant("passes start at nought", "start = cached - virtual", "start = 0"),
    Mutant("virtual tokens count", "start = cached - virtual", "start = cached"),
    Mutant(
        "the prompt ends with each pass",
        "call.prompt_end = prompt_width",
        "call.prompt_end = start + width",
    ),
    Mutant("the mask does not end the prompt", "elif self.mask is not None:", "elif False:"),
    Mutant("all rows alike", "if item.rows is not None:", "if False:"),
    Mutant("all tokens alike", "if where is not True:", "if False:"),
    Mutant(
        "beams by turns",
        "tensor.repeat_interleave(rows // tensor.shape[0], dim=0)",
        "tensor.repeat(rows // tensor.shape[0], *[1] * (tensor.dim() - 1))",
    ),
    Mutant("the mask one column late", "part = mask[:, max(call.start, 0) :", "part = mask[:, max(call.start - 1, 0) :"),
    Mutant("template is steered", "return asked & source", "return asked"),
    Mutant(
        "what is generated is prompt",
        'if positions == "prompt":\n        return asked',
        'if positions == "prompt":\n        return asked | ~prompt',
    ),
    Mutant(
        "all is prompt",
        'if positions == "generated" else asked | ~prompt',
        'if positions == "generated" else asked',
    ),
    Mutant(
        "special tokens are source",
        "return ~torch.isin(call.ids, torch.tensor(special, device=device))",
        "return torch.ones_like(call.ids, dtype=torch.bool)",
    ),
    Mutant(
        "another thread is steered",
        "if self.owner is not None and threading.get_ident() != self.owner:",
        "if False:",
    ),
    Mutant("an earlier pass counts", "self.local.call = None", "pass"),
    Mutant("a layer is run again", "model.blocks[: layer + 1]", "model.blocks[:layer]"),
    Mutant("positions are not their own", "replace(item, positions=positions)", "item"),
)  # fmt: skip


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    lives = [mutant for mutant in chosen if not _noticed(mutant)]
    print(f"{len(chosen)} mutants, {len(lives)} live")
    return 1 if lives or not chosen else 0


def _noticed(mutant: Mutant) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = shutil.copytree(ROOT / "src", Path(folder) / "src")
        module = source / MODULE
        module.write_text(mutated(mutant, module.read_text(encoding="utf-8")), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-xq",
            "-p",
            "no:cacheprovider",
            "-m",
            "not slow",
        ]
        ran = subprocess.run(
            [*command, *TESTS],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
            check=False,
        )
    told = {0: "LIVES", NOTICED: "noticed"}.get(
        ran.returncode, f"pytest ended with {ran.returncode}"
    )
    print(f"{told:8} {mutant.name}", flush=True)
    return ran.returncode == NOTICED


def mutated(mutant: Mutant, text: str) -> str:
    """The module with the mutant in it. Raises ValueError where its text is not there once."""
    if text.count(mutant.old) != 1:
        raise ValueError(f"the mutant {mutant.name!r} fits {text.count(mutant.old)} places, not 1")
    return text.replace(mutant.old, mutant.new)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
