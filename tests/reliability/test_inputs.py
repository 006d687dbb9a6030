"""Damaged files of every kind that is read: langsteer's own errors, and no others, leave the reader."""

import random
import shutil
import warnings
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("peft")

from langsteer.errors import LangsteerError
from tests.made.damage import DAMAGES
from tests.made.kinds import KINDS, SEEDS, Kind
from tests.made.tally import Tally

pytestmark = pytest.mark.reliability

FOUND = [(kind, path) for kind in KINDS for path in sorted((SEEDS / kind.slug).glob("*"))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_damaged(kind: Kind, tmp_path: Path, trials: int, tally: Tally) -> None:
    path = kind.lay_out(tmp_path)
    whole = path.read_bytes()
    kind.read(path)
    outcomes: Counter[str] = Counter()
    for trial in range(15 * trials):
        chance = random.Random(f"{kind.name} {trial}")
        damage = chance.choice(DAMAGES)
        path.write_bytes(damage(whole, chance))
        outcomes[outcome(kind, path, f"trial {trial}, {damage.__name__}")] += 1
    assert outcomes["refused"]
    tally(kind="damaged", what=kind.name, tried=15 * trials, refused=outcomes["refused"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "seed"), FOUND, ids=lambda value: getattr(value, "name", value))
def test_what_once_went_wrong(kind: Kind, seed: Path, tmp_path: Path) -> None:
    """Files that `scripts/fuzz.py` found."""
    path = kind.lay_out(tmp_path)
    path.write_bytes(seed.read_bytes())
    outcome(kind, path, seed.name)


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
