"""The harness's own command with langsteer's model in it, as a process, as the documents have it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from tests.helpers import build_model, vector_at

TASK = """
task: entails_sw
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
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
    items = [{"premise": f"Mvua {i}", "hypothesis": f"Jua {i}", "label": i % 2} for i in range(4)]
    data.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    (folder / "tasks").mkdir()
    (folder / "tasks" / "entails.yaml").write_text(TASK.format(data=data), encoding="utf-8")
    return folder


def lm_eval(made: Path, arguments: str, out: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "langsteer", "lm-eval", "--model", "langsteer"]
    command += ["--model_args", f"pretrained={made / 'model'},{arguments}"]
    command += ["--tasks", "entails_sw", "--include_path", str(made / "tasks"), "--log_samples"]
    command += ["--output_path", str(made / out), *more]
    environment = {**os.environ, "HF_HOME": str(made / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def samples(made: Path, out: str) -> list[Any]:
    (file,) = (made / out).rglob("samples_*.jsonl")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [sample["resps"] for sample in sorted(lines, key=lambda sample: sample["doc_id"])]


def test_it_runs_where_there_is_no_gpu_and_steers(made: Path) -> None:
    vectors = f"vectors={made / 'sw.safetensors'}"
    plain, steered = lm_eval(made, "device=cpu", "plain"), lm_eval(made, vectors, "steered")
    assert plain.returncode == 0, plain.stderr
    assert steered.returncode == 0, steered.stderr
    assert "entails_sw" in steered.stdout
    assert len(samples(made, "steered")) == 4
    assert all(
        a != b for a, b in zip(samples(made, "plain"), samples(made, "steered"), strict=True)
    )


def test_what_touches_nothing_and_what_is_no_number_is_one_line(made: Path) -> None:
    vectors = f"vectors={made / 'sw.safetensors'},strength=1e9,dtype=float16"
    ran = lm_eval(made, vectors, "nan", "--device", "cpu")
    assert ran.returncode == 1
    assert "the log-likelihoods are not finite in float16" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
