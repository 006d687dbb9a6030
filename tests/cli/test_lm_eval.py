"""The harness's own command with langsteer's model in it, as a process, as the documents have it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

import torch
from lm_eval.api.instance import Instance

from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.model.opening import load_model
from tests.helpers import build_model, vector_at

TASK = """
task: entails_sw
dataset_path: json
dataset_kwargs: {{data_files: {{test: '{data}'}}}}
test_split: test
output_type: multiple_choice
doc_to_text: ""
doc_to_target: label
doc_to_choice: "{{{{[premise+', right? Yes, '+hypothesis, premise+', right? No, '+hypothesis]}}}}"
metric_list: [{{metric: acc}}]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, a vector of it, a task in the form of XNLI, and its data."""
    folder = tmp_path_factory.mktemp("lm_eval")
    model = build_model("llama", seed=3)
    model.network.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    vector_at(model, 1).save(folder / "sw.safetensors")
    data = folder / "items.jsonl"
    items = [
        {"premise": f"Mvua ya {i}", "hypothesis": f"Jua la {i}", "label": i % 2} for i in range(4)
    ]
    data.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    (folder / "tasks").mkdir()
    (folder / "tasks" / "entails.yaml").write_text(TASK.format(data=data), encoding="utf-8")
    return folder


def arguments(made: Path, model_args: str, out: str) -> list[str]:
    return [
        "lm-eval", "--model", "langsteer", "--tasks", "entails_sw", "--log_samples",
        "--model_args", f"pretrained={made / 'model'},vectors={made / 'sw.safetensors'}{model_args}",
        "--include_path", str(made / "tasks"), "--output_path", str(made / out),
    ]  # fmt: skip


def samples(made: Path, out: str) -> list[Any]:
    (file,) = (made / out).rglob("samples_*.jsonl")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [sample["resps"] for sample in sorted(lines, key=lambda sample: sample["doc_id"])]


def test_it_runs_as_a_process_where_there_is_no_gpu(made: Path) -> None:
    command = [sys.executable, "-m", "langsteer", *arguments(made, "", "steered")]
    environment = {**os.environ, "HF_HOME": str(made / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "entails_sw" in ran.stdout
    model = load_model(made / "model")
    vectors = {"sw": vector_at(model, 1)}
    items = [json.loads(line) for line in (made / "items.jsonl").read_text("utf-8").splitlines()]
    asked = [
        Instance(
            "loglikelihood", item, ("", f" {item['premise']}, right? {word}, {item['hypothesis']}"),
            i, ("entails_sw", number, 1),
        )
        for number, item in enumerate(items)
        for i, word in enumerate(("Yes", "No"))
    ]  # fmt: skip
    steered, plain = (LangsteerLM(model, vectors=v).loglikelihood(asked) for v in (vectors, None))
    told = [float(choice[0][0]) for item in samples(made, "steered") for choice in item]
    assert told == pytest.approx([value for value, _ in steered], abs=1e-3)
    assert told != pytest.approx([value for value, _ in plain], abs=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU that is there is used")
@pytest.mark.parametrize("model_args", ["", "device=cpu,batch_size=3", "device_map=cpu"])
def test_a_gpu_that_nobody_asked_for_is_not_needed(made: Path, model_args: str) -> None:
    others = {"device": "cuda:0", "batch_size": 1, "max_batch_size": None}
    lm = LangsteerLM.create_from_arg_string(f"pretrained={made / 'model'},{model_args}", others)
    assert lm.device.type == "cpu"
    assert lm.rows == (3 if "batch_size" in model_args else 1)
