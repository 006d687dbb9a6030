"""vLLM itself writes the answers of a comparison, and they are those of transformers."""

from pathlib import Path

import pytest

from langsteer.extras import installed

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(not installed("vllm"), reason="vLLM is not installed"),
    pytest.mark.skipif(not installed("lm_eval"), reason="lm-eval is not installed"),
]

STEERED = {"mean_difference": {"layer": 1, "strength": 4.0, "positions": "all"}}
ON_TEXT = {"principal_component": {"layer": 2, "strength": 8.0, "positions": "source"}}


def test_a_comparison_by_vllm_is_that_by_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsteered, and by vectors that were fitted after the engine was started."""
    from langsteer.evaluation.comparison.cells import cell_path, read_cell
    from langsteer.evaluation.comparison.run import compare
    from tests.helpers import build_model
    from tests.made.comparisons import wanted
    from tests.made.vllm_engine import QUIET
    from tests.made.written import written_benchmark

    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING")
    model = build_model("llama", seed=4, hidden_size=64, head_dim=32, max_position_embeddings=512)
    model.network.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    methods = ["direct", STEERED, ON_TEXT]
    keys = written_benchmark(tmp_path, items=12) | {
        "models": str(tmp_path / "model"),
        "methods": [*methods, "only_script"],
        "corpus": {"lines": 64},
    }
    arguments = {"compilation_config": {"backend": "eager"}, "max_num_seqs": 8, "block_size": 32}
    by_vllm = wanted(tmp_path, **keys, engine="vllm", engine_arguments=arguments, check_engine=5)
    plain = wanted(tmp_path, **keys, output="plain")
    for asked in (plain, by_vllm):
        assert compare(asked).failed == []
    said = {}
    for method in ("direct", *STEERED, *ON_TEXT):
        theirs, own = (
            read_cell(cell_path(asked.output, keys["models"], "sayings", "sw", method))
            for asked in (by_vllm, plain)
        )
        said[method] = [item.answer for item in own.items]
        told = theirs.settings["engine"]
        assert told["name"] == "vllm"
        assert told["checked"]["items"] == 5
        assert told["checked"]["differ"] == told["checked"]["ties"], "only ties may part"
        others = sum(a.answer != b.answer for a, b in zip(theirs.items, own.items, strict=True))
        assert others <= told["checked"]["differ"]
        assert theirs.missed == own.missed
    assert any(said["direct"])
    assert said["direct"] != said["mean_difference"], "a vector must change what is written"
    assert said["direct"] != said["principal_component"]
    cell = read_cell(cell_path(by_vllm.output, keys["models"], "sayings", "sw", "only_script"))
    assert cell.settings["engine"]["name"] == "transformers"
