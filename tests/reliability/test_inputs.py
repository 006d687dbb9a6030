"""Damaged files of every kind that is read: langsteer's own errors, and no others, leave the reader."""

import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from langsteer.analysis.drift.results import Drift
from langsteer.analysis.layers.results import LayerResults
from langsteer.errors import LangsteerError
from langsteer.evaluation.benchmarks.definition import read_benchmark
from langsteer.evaluation.comparison.cells import read_cell
from langsteer.evaluation.comparison.configuration import read_comparison
from langsteer.model.opening import load_model
from langsteer.steering.folder import load
from langsteer.steering.router import read_router
from langsteer.text.readers import read_corpus
from langsteer.tuning.data import read_instructions
from tests.made.damage import DAMAGES
from tests.made.own import OWN
from tests.made.tally import Tally
from tests.made.workload import COMPARISON

pytestmark = pytest.mark.reliability

OLD = Path(__file__).parents[1] / "data" / "0.1"
PAIRS = [(f"neno la {i} ya hapa", f"the word {i} is here") for i in range(12)]
TSV = "sw\ten\n" + "".join(f"{sw}\t{en}\n" for sw, en in PAIRS)
JSONL = "".join(f'{{"sw": "{sw}", "en": "{en}"}}\n' for sw, en in PAIRS)
UNITS = "".join(
    f'<tu><tuv xml:lang="sw"><seg>{sw}</seg></tuv><tuv xml:lang="en"><seg>{en}</seg></tuv></tu>'
    for sw, en in PAIRS
)
TMX = f'<?xml version="1.0"?><tmx version="1.4"><header/><body>{UNITS}</body></tmx>'
RECORD = '{"language": "sw", "instruction": "a", "chosen": "b", "rejected": "c"}'
RECORDS = "\n".join([RECORD] * 4)
COLOURS = OWN.encode()
CONFIG = COMPARISON.format(out="out").replace("colours", "sib200").encode()


@dataclass(frozen=True)
class Kind:
    """A kind of file: what one holds, what it is called, and what reads it."""

    name: str
    seed: Callable[[], bytes]
    file: str
    read: Callable[[Path], Any]
    beside: Path | None = None
    """a folder whose other files lie beside it"""


def old(name: str) -> Callable[[], bytes]:
    return (OLD / name).read_bytes


def corpus(path: Path) -> Any:
    return read_corpus(str(path), ["sw"])


def model(path: Path) -> Any:
    return load_model(path.parent)


KINDS = (
    Kind("vector", old("average.safetensors"), "v.safetensors", load),
    Kind("projection", old("projection.safetensors"), "v.safetensors", load),
    Kind("low-rank map", old("low_rank.safetensors"), "v.safetensors", load),
    Kind("router", old("vectors/router.safetensors"), "router.safetensors", lambda p: read_router(p.parent)),
    Kind("cell", old("comparison/cells/tiny/sib200/sw/direct.json"), "direct.json", read_cell),
    Kind("configuration", lambda: CONFIG, "c.yaml", read_comparison),
    Kind("benchmark", lambda: COLOURS, "colours.yaml", read_benchmark),
    Kind("analysis", old("analysis/results.json"), "results.json", lambda p: LayerResults.read(p.parent)),
    Kind("drift", old("drift/drift.json"), "drift.json", lambda p: Drift.read(p.parent)),
    Kind("instructions", RECORDS.encode, "r.jsonl", lambda p: read_instructions(p, ["sw"])),
    Kind("table of pairs", TSV.encode, "c.tsv", corpus),
    Kind("JSON lines of pairs", JSONL.encode, "c.jsonl", corpus),
    Kind("TMX", TMX.encode, "c.tmx", corpus),
    Kind("weights", old("model/model.safetensors"), "model.safetensors", model, OLD / "model"),
    Kind("model's configuration", old("model/config.json"), "config.json", model, OLD / "model"),
    Kind("tokeniser", old("model/tokenizer.json"), "tokenizer.json", model, OLD / "model"),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_damaged(kind: Kind, tmp_path: Path, trials: int, tally: Tally) -> None:
    if kind.beside is not None:
        shutil.copytree(kind.beside, tmp_path, dirs_exist_ok=True)
    path = tmp_path / kind.file
    whole = kind.seed()
    path.write_bytes(whole)
    kind.read(path)
    outcomes: Counter[str] = Counter()
    for trial in range(15 * trials):
        chance = random.Random(f"{kind.name} {trial}")
        damage = chance.choice(DAMAGES)
        path.write_bytes(damage(whole, chance))
        outcomes[outcome(kind, path, f"trial {trial}, {damage.__name__}")] += 1
    assert outcomes["refused"]
    tally(kind="damaged", what=kind.name, tried=15 * trials, refused=outcomes["refused"])


def outcome(kind: Kind, path: Path, told: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.read(path)
    except LangsteerError as error:
        message = str(error)
        assert message.strip(), told
        assert len(message) < 2000, (told, message[:300])
        return "refused"
    except Exception as error:
        kept = path.with_name(f"seed-{path.name}")
        shutil.copy(path, kept)
        pytest.fail(f"{kind.name}: {told}: {type(error).__name__}: {str(error)[:300]} ({kept})")
    return "read"
