"""scripts/mutants.py fits the module that it changes; whether each is noticed it says itself."""

import importlib.util
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "mutants.py"


def test_every_mutant_fits() -> None:
    spec = importlib.util.spec_from_file_location("mutants", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module
    try:
        spec.loader.exec_module(module)
        text = (SCRIPT.parents[1] / "src" / module.MODULE).read_text(encoding="utf-8")
        for mutant in module.MUTANTS:
            compile(module.mutated(mutant, text), mutant.name, "exec")
        assert len({mutant.name for mutant in module.MUTANTS}) == len(module.MUTANTS) > 20
    finally:
        del sys.modules["mutants"]
