"""Commands of the documents, run as they stand there, on a tiny model."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import run

ROOT = Path(__file__).parents[2]
SMALL = "-m model --layer 1 -n 40 --method mean_difference"
RUN = (  # a line of the documents, what makes it small, and what it leaves
    ("langsteer --version", "", ""),
    ("langsteer doctor", "", ""),
    ("langsteer fit -l sw -o sw.safetensors", SMALL, "sw.safetensors"),
    ("langsteer inspect sw.safetensors", "", ""),
    (
        'langsteer generate "Mji mkuu wa Kenya ni" -v sw.safetensors',
        "-m model --max-new-tokens 2",
        "",
    ),
    ("langsteer fit -l sw,hi,el -o vectors/ --router", SMALL, "vectors/router.safetensors"),
    ('langsteer generate "Habari za asubuhi" -v vectors/ -l sw', "-m model --max-new-tokens 2", ""),
    ("langsteer average vectors/ -l am -o am.safetensors", "", "am.safetensors"),
    ("langsteer export vectors/ --to gguf -o control/", "--everywhere", "control"),
    ("langsteer vectors vectors/", "", ""),
    ("langsteer push vectors/ user/repo --dry-run -o shared/", "", "shared/README.md"),
)


def test_commands_of_the_documents_run(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(folder, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    told = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    for line, more, left in RUN:
        assert line in told, f"no document has {line}"
        code, _, err = run(capsys, *shlex.split(line)[1:], *shlex.split(more))
        assert code == 0, f"{line}: {err[-2000:]}"
        assert "Traceback" not in err, line
        assert not left or (tmp_path / left).exists(), line


def test_it_runs_as_a_process(tmp_path: Path) -> None:
    """The first of them, without what pytest has imported."""
    line = RUN[0][0]
    ran = subprocess.run(
        [sys.executable, "-m", *shlex.split(line)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.startswith("langsteer ")
