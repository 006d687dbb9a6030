"""Kinds of files that langsteer reads: what one holds that is whole, and what reads it."""

import bz2
import functools
import gzip
import io
import lzma
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import zstandard

from langsteer.analysis.drift.results import Drift
from langsteer.analysis.layers.results import LayerResults
from langsteer.diagnosis.own_items import read_own_items
from langsteer.evaluation.benchmarks.definition import read_benchmark
from langsteer.evaluation.comparison.cells import read_cell
from langsteer.evaluation.comparison.configuration import read_comparison
from langsteer.export.gguf import write_vectors
from langsteer.model.opening import load_model
from langsteer.steering.folder import load
from langsteer.steering.router import read_router
from langsteer.steering.vector import SteeringVector
from langsteer.text.readers import read_corpus
from langsteer.tuning.data import read_instructions
from tests.made.own import OWN
from tests.made.workload import COMPARISON

OLD = Path(__file__).parents[1] / "data" / "0.1"
SEEDS = Path(__file__).parents[1] / "reliability" / "seeds"
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
ITEMS = "\n".join(
    f'{{"prompt": "swali {i}", "choices": ["a", "b"], "answer": {i % 2}}}' for i in range(6)
)
COLOURS = OWN.encode()
CONFIG = COMPARISON.format(out="out").replace("colours", "sib200").encode()


@dataclass(frozen=True)
class Kind:
    """A kind of file: what one holds, what it is called, and what reads it."""

    name: str
    seed: Callable[[], bytes]
    file: str
    read: Callable[[Path], Any]
    beside: Callable[[], Path] | None = None
    """makes a folder whose other files lie beside it"""

    def lay_out(self, folder: Path) -> Path:
        """The file, whole, and what lies beside it, in a folder."""
        if self.beside is not None:
            shutil.copytree(self.beside(), folder, dirs_exist_ok=True)
        path = folder / self.file
        path.write_bytes(self.seed())
        return path

    @property
    def slug(self) -> str:
        """The name of the folder of seeds that once went wrong."""
        return self.name.replace("'", "").replace(" ", "-")


def old(name: str) -> Callable[[], bytes]:
    return (OLD / name).read_bytes


def corpus(path: Path) -> Any:
    return read_corpus(str(path), ["sw"])


def model(path: Path) -> Any:
    return load_model(path.parent)


def control_vector() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.gguf"
        write_vectors([SteeringVector.load(OLD / "learned.safetensors")], path)
        return path.read_bytes()


def torch_vector() -> bytes:
    file = io.BytesIO()
    torch.save({"layers.1": {"steering_vector": torch.ones(1, 8), "action": "add"}}, file)
    return file.getvalue()


@functools.cache
def adapter() -> Path:
    """A folder with an adapter of the model of files of before."""
    import peft
    import transformers

    folder = Path(tempfile.mkdtemp())
    network = transformers.AutoModelForCausalLM.from_pretrained(OLD / "model")
    tuned = peft.get_peft_model(network, peft.LoraConfig(target_modules=["q_proj"], r=2))
    tuned.peft_config["default"].base_model_name_or_path = str(OLD / "model")
    tuned.save_pretrained(folder)
    return folder


def of_adapter(name: str) -> Callable[[], bytes]:
    return lambda: (adapter() / name).read_bytes()


def with_settings() -> Path:
    return OLD / "model"


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
    Kind("weights", old("model/model.safetensors"), "model.safetensors", model, with_settings),
    Kind("model's configuration", old("model/config.json"), "config.json", model, with_settings),
    Kind("tokeniser", old("model/tokenizer.json"), "tokenizer.json", model, with_settings),
    Kind("generation settings", old("model/generation_config.json"), "generation_config.json", model, with_settings),
    Kind("adapter", of_adapter("adapter_model.safetensors"), "adapter_model.safetensors", model, adapter),
    Kind("adapter's configuration", of_adapter("adapter_config.json"), "adapter_config.json", model, adapter),
    Kind("control vector", control_vector, "v.gguf", load),
    Kind("PyTorch's vector", torch_vector, "v.pt", load),
    Kind("items", ITEMS.encode, "items.jsonl", lambda p: read_own_items(p, "sw")),
    Kind("gzip", lambda: gzip.compress(TSV.encode()), "c.tsv.gz", corpus),
    Kind("xz", lambda: lzma.compress(TSV.encode()), "c.tsv.xz", corpus),
    Kind("bzip2", lambda: bz2.compress(TSV.encode()), "c.tsv.bz2", corpus),
    Kind("zstd", lambda: zstandard.compress(TSV.encode()), "c.tsv.zst", corpus),
)  # fmt: skip
