from pathlib import Path

import pytest
import torch
import transformers

from langsteer.analysis.drift.compare import Drifted, drift
from langsteer.analysis.drift.measures import Ground
from langsteer.analysis.drift.results import Drift
from langsteer.analysis.write import write_drift
from langsteer.extras import installed
from langsteer.model.model import Model
from tests.helpers import build_model, build_network, character_tokenizer
from tests.made.drift import HIDDEN, QUICK, corpus_of, made_ground, synthetic_drift

collect_ignore_glob = [] if installed("scipy") else ["test_*.py"]


@pytest.fixture(scope="package")
def ground() -> Ground:
    return made_ground()


@pytest.fixture(scope="package")
def base() -> Model:
    return build_model("llama")


@pytest.fixture(scope="package")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On disk: a base, a copy of it, a tuned version, and a PEFT adapter without a tokeniser."""
    peft = pytest.importorskip("peft")
    path = tmp_path_factory.mktemp("models")
    network = build_network("llama")
    for name in ("base", "copy"):
        network.save_pretrained(path / name)
    with torch.no_grad():
        network.model.layers[2].mlp.down_proj.weight.add_(
            0.05 * torch.randn(32, 48, generator=torch.Generator().manual_seed(8))
        )
    network.save_pretrained(path / "tuned")
    for name in ("base", "copy", "tuned"):
        character_tokenizer().save_pretrained(path / name)
    config = peft.LoraConfig(
        target_modules=["down_proj"], layers_to_transform=[1], init_lora_weights=False
    )
    fresh = transformers.AutoModelForCausalLM.from_pretrained(path / "base")
    torch.manual_seed(9)
    peft.get_peft_model(fresh, config).save_pretrained(path / "adapter")
    return path


@pytest.fixture(scope="package")
def from_disk(folders: Path) -> Drifted:
    tuned = [folders / "copy", folders / "tuned", ("lora", folders / "adapter")]
    return drift(folders / "base", tuned, corpus_of(), options=QUICK)


@pytest.fixture(scope="package")
def small() -> Drift:
    return synthetic_drift(languages=6, layers=4, lines=24, draws=60)


@pytest.fixture(scope="package")
def written(small: Drift, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift")
    write_drift(Drifted(small, {"gemma-sft": {"sw": torch.ones(4, HIDDEN)}}), folder)
    return folder
