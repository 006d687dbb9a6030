"""Measurements against peers: what is compared is the same, is counted rightly, and is written once."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.common import read_lines
from benchmarks.peers import __main__ as command
from benchmarks.peers import fitting, generating, routing, sweep, unit
from benchmarks.peers.part import OURS, Part, Peer, library
from benchmarks.peers.parts import PARTS
from benchmarks.peers.table import GROUPS, PAGE, put_tables, row, table
from langsteer.errors import MissingExtraError
from tests.helpers import build_model, tiny

SMALL = {"languages": 2, "pairs": 5}


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


@pytest.fixture(autouse=True)
def numpy_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """repeng needs a name that numpy has no more."""
    if not hasattr(np, "float_"):
        monkeypatch.setattr(np, "float_", np.float64, raising=False)


def vector(told: float) -> fitting.Vectors:
    return {"sw": {0: torch.tensor([told, 0.0]), 1: torch.tensor([0.0, told])}}


def test_vectors_are_compared_by_their_worst() -> None:
    theirs = {"sw": {0: torch.tensor([1.0, 1.0]), 1: torch.tensor([0.0, 3.0])}}
    assert fitting.compare(theirs, vector(1.0)) == {
        "layers": 2,
        "cosine": 0.707107,
        "difference": 1.0,
        "last_cosine": 1.0,
        "last_difference": 2.0,
    }


def test_by_hand_the_last_layer_is_read_after_the_norm() -> None:
    case = fitting.make(tiny("llama"), SMALL)
    told = fitting.compare(fitting.by_transformers(case), fitting.ours(case, "mean"))
    assert told["layers"] == 4
    assert told["cosine"] > 0.99999
    assert told["difference"] < 1e-3
    assert told["last_difference"] > 0.05


def test_without_the_head_are_the_same_vectors() -> None:
    case = fitting.make(tiny("llama"), SMALL)
    whole, decoder = (
        fitting.by_transformers(case),
        fitting.by_transformers(case, case.model.decoder),
    )
    assert fitting.compare(decoder, whole)["last_difference"] < 1e-5


@pytest.mark.parametrize(
    ("module", "by", "last_is_before_the_norm"),
    [
        ("steering_vectors", fitting.by_steering_vectors, True),
        ("dialz", fitting.by_dialz, False),
        ("repeng", fitting.by_repeng, False),
    ],
)
def test_peers_fit_the_same(module: str, by: Any, last_is_before_the_norm: bool) -> None:
    needs(module)
    case = fitting.make(tiny("llama"), SMALL)
    own = fitting.ours_of_length_one(case) if module == "repeng" else fitting.ours(case)
    told = fitting.compare(by(case), own)
    assert told["difference"] < 1e-3
    assert (told["last_difference"] < 1e-3) == last_is_before_the_norm


def test_lines_of_a_length_are_chosen() -> None:
    corpus = fitting.make(tiny("llama"), {**SMALL, "of_length": 0.5}).corpus
    lengths = [len(line) for line in corpus.texts["en"]]
    assert lengths == sorted(lengths)
    assert lengths[-1] - lengths[0] <= 2


def test_operations_count_padding_and_the_head() -> None:
    model = tiny("llama")
    case = fitting.make(model, {"languages": 1, "pairs": 4})
    plain = fitting.operations(case, fitting.DECODER)
    sizes = [[len(line) + 1 for line in lines] for lines in case.corpus.texts.values()]
    blocks = sum(p.numel() for block in model.blocks for p in block.parameters() if p.dim() == 2)
    assert plain == 2 * blocks * sum(4 * max(size) for size in sizes)
    with_head = fitting.operations(case, fitting.PLAIN)
    assert with_head / plain == pytest.approx(1 + 128 * 32 / blocks)
    assert fitting.operations(case, OURS) <= plain


def test_english_is_counted_once_here_and_for_each_language_there() -> None:
    one, two = (
        fitting.make(tiny("llama"), {"languages": n, "pairs": 4, "of_length": 0.5}) for n in (1, 2)
    )
    english = 2 * fitting.operations(one, OURS) - fitting.operations(two, OURS)
    assert english > 0.3 * fitting.operations(one, OURS)
    theirs = [fitting.operations(case, fitting.DECODER) for case in (one, two)]
    assert theirs[1] > 1.6 * theirs[0]


def test_a_grid_gives_what_its_points_give() -> None:
    case = sweep.make(tiny("llama"), {"items": 3, "layers": 2, "strengths": [0.5, 1.0]})
    assert [v.layer for v in case.vectors] == [1, 1, 3, 3]
    told = sweep.compare(sweep.one_by_one(case), sweep.ours(case))
    assert told == {
        "largest_difference": told["largest_difference"],
        "same_decisions": 12,
        "items": 12,
    }
    assert told["largest_difference"] < 1e-3


def test_the_harness_scores_the_grid_the_same() -> None:
    case = sweep.make(tiny("llama"), {"items": 2, "layers": 2, "strengths": [1.0]})
    told = sweep.compare(sweep.by_steered(case), sweep.ours_without_first(case))
    assert told["largest_difference"] < 1e-3


def test_a_peer_scores_the_grid_the_same() -> None:
    needs("steering_vectors")
    case = sweep.make(tiny("llama"), {"items": 2, "layers": 2, "strengths": [1.0]})
    case = replace(case, answers=("a", "b"))
    told = sweep.compare(sweep.by_steering_vectors(case), sweep.ours(case))
    assert told["largest_difference"] < 1e-3
    with pytest.raises(ValueError, match="several tokens"):
        sweep.by_steering_vectors(replace(case, answers=("ab", "c")))


def test_plain_generation_is_ours_without_vectors() -> None:
    case = generating.make(tiny("llama"), {"rows": 3, "new_tokens": 4})
    assert [v.layer for v in case.vectors.values()] == [2] * 4
    still = {tag: replace(v, strength=0.0) for tag, v in case.vectors.items()}
    own = generating.ours_mixed(replace(case, vectors=still))
    assert generating.compare(generating.by_transformers(case), own) == {"same_rows": 3, "rows": 3}


@pytest.mark.parametrize("by", [generating.by_repeng, generating.by_steering_vectors])
def test_peers_leave_the_network_as_it_was(by: Any) -> None:
    needs("repeng")
    needs("steering_vectors")
    case = generating.make(build_model("llama"), {"rows": 2, "new_tokens": 4})
    before = generating.by_transformers(case)
    assert len(by(case)) == 2
    assert generating.by_transformers(case) == before


def test_what_each_tells_is_counted() -> None:
    told = routing.compare([True, False], [True, True])
    assert told == {"right": 1, "ours_right": 2, "items": 2}
    assert routing.compare(None, [True]) == {"ours_right": 1, "items": 1}


def small_part(**changes: Any) -> Part:
    peers = {
        "doubling": Peer("", lambda case: [case["model"].run_decoder(case["inputs"])] * 2),
        "absent": Peer("", cannot="it is a tale"),
    }

    def make(model: Any, settings: Any) -> Any:
        return {"model": model, "inputs": model.batch([[1, 5, 6]])}

    def same(theirs: Any, own: Any) -> dict[str, Any]:
        return {"right": len(theirs), "ours_right": len(own), "items": 2}

    ours = lambda case: [case["model"].run_decoder(case["inputs"])]  # noqa: E731
    return Part("A part", {"size": 1}, make, ours, peers, same, **changes)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is Linux's")
def test_a_unit_measures_memory_operations_and_time() -> None:
    with torch.inference_mode():
        told = unit.measure(tiny("llama"), small_part(), "doubling", 2)
    assert told["operations"][0] == told["operations"][1] > 0
    assert told["same"] == {"right": 2, "ours_right": 1, "items": 2}
    assert told["rounds"] == 2
    assert told["peak_mb"] >= told["loaded_mb"] - 1 > 0
    assert set(unit.measure(tiny("llama"), small_part(), OURS, 2)) == {
        "loaded_mb",
        "peak_mb",
        "memory",
    }


def test_a_peer_that_cannot_says_why() -> None:
    assert unit.measure(tiny("llama"), small_part(), "absent", 2) == {"cannot": "it is a tale"}
    part = PARTS["fitting"]
    cells = row(part, "EasySteer", {"cannot": "it is a tale"}, None)
    assert cells[-1] == "cannot: it is a tale"
    assert row(part, "EasySteer", None, None)[-1] == "not measured yet"


def test_a_row_has_ratios_and_what_came_of_it() -> None:
    line = {
        "times": [4.806, 4.7, 4.9],
        "operations": [60, 10],
        "memory": 2.4,
        "seconds": [33.52, 7.0],
        "same": {"layers": 4, "cosine": 0.99, "difference": 0.01},
    }
    cells = row(PARTS["fitting"], "dialz", line, {"memory": 1.006})
    assert cells[2:] == [
        "4.81 [4.70, 4.90]",
        "6.0",
        "2.40, 1.01",
        "33.5, 7",
        "4 layers: cosine 0.9900, apart 0.01",
    ]


def test_a_library_that_is_absent_is_named() -> None:
    with pytest.raises(MissingExtraError, match="no-such-library"):
        library("no_such_library.part")


def test_what_is_there_is_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def told(part: str, peer: str, rounds: int) -> dict[str, Any]:
        asked.append(peer)
        return {"cannot": "tired"}

    file = tmp_path / "results" / "peers.jsonl"
    monkeypatch.setattr(command, "FILE", file)
    monkeypatch.setattr(command, "in_own_process", told)
    monkeypatch.setitem(command.PARTS, "small", small_part())
    command.note_machine()
    command.measure_part("small", 2)
    command.note_machine()
    command.measure_part("small", 2)
    assert asked == [OURS, "doubling", "absent"]
    assert [line["part"] for line in read_lines(file)] == ["machine", "small", "small", "small"]


def test_what_fails_leaves_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.sys, "executable", "false")
    assert command.in_own_process("fitting", OURS, 1) == {"cannot": ""}


def test_the_page_shows_what_was_measured(tmp_path: Path) -> None:
    lines = read_lines(command.FILE)
    page = tmp_path / "page.md"
    text = PAGE.read_text(encoding="utf-8")
    page.write_text(text, encoding="utf-8")
    put_tables(lines, page)
    assert page.read_text(encoding="utf-8") == text
    for group in GROUPS:
        assert table(lines, group) in text


def test_results_are_small_and_of_this_machine() -> None:
    lines = read_lines(command.FILE)
    assert command.FILE.stat().st_size < 60_000
    assert [line["threads"] for line in lines if line["part"] == "machine"] == [1]
