"""What an installed langsteer must be able to do, with a model that is made on the spot."""

import importlib.metadata
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

started = time.perf_counter()
import langsteer  # noqa: E402

SECONDS = time.perf_counter() - started


def tiny_model(folder: Path) -> None:
    import tokenizers
    import torch
    import transformers

    characters = [chr(i) for i in range(32, 127)]
    names = ["<pad>", "<bos>", "<eos>", "<unk>", *characters]
    vocabulary = {name: place for place, name in enumerate(names)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(r"[\s\S]"), behavior="isolated"
    )
    backend.decoder = tokenizers.decoders.Fuse()
    special = {f"{name}_token": f"<{name}>" for name in ("pad", "bos", "eos", "unk")}
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=48, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(
        folder
    )


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.network(**model.batch([[1, 20, 21, 22, 23]])).logits


def run(command: str, *arguments: str) -> str:
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def main(command: str) -> None:
    assert "site-packages" in str(langsteer.__file__), langsteer.__file__
    assert (Path(str(langsteer.__file__)).parent / "py.typed").exists()
    assert langsteer.__version__ == importlib.metadata.version("langsteer")
    assert langsteer.__version__ in run(command, "--version")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_model(folder / "model")
        run(command, "fit", "-m", str(folder / "model"), "-l", "sw", "--method", "mean_difference",
            "-o", str(folder / "sw.safetensors"))  # fmt: skip
        model = langsteer.load_model(folder / "model")
        vector = langsteer.load(folder / "sw.safetensors")
        before = logits(model)
        with vector.applied(model, positions="all"):
            assert not before.equal(logits(model))
        assert before.equal(logits(model))
        again = langsteer.load(vector.save(folder / "again.safetensors"))
        with vector.applied(model), again.applied(model, strength=-vector.strength):
            assert before.allclose(logits(model), atol=1e-5)
        said = run(command, "generate", "-m", str(folder / "model"), "-v", str(folder / "sw.safetensors"),
                   "--max-new-tokens", "4", "Habari")  # fmt: skip
        assert said.strip() or said
    versions = {
        p: importlib.metadata.version(p) for p in ("torch", "transformers", "numpy", "typer")
    }
    print(f"Python {platform.python_version()}, {versions}: works; import took {SECONDS:.2f} s")


if __name__ == "__main__":
    main(sys.argv[1])
