"""Where the gap of a task lies, and what steering could win back of it, before anything is fitted."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langsteer.diagnosis.corners import Corners, four_corners
from langsteer.diagnosis.items import TaskItems
from langsteer.diagnosis.reach import Reaches, reaches
from langsteer.diagnosis.scoring import Scoring
from langsteer.diagnosis.verdict import EFFECT, Verdict, judge, too_few
from langsteer.errors import CorpusError
from langsteer.evaluation.statistics import Interval, paired_bootstrap
from langsteer.model.model import Model
from langsteer.storage.files import write_json
from langsteer.storage.records import PlainRecord
from langsteer.storage.told import DIAGNOSIS, own_kind
from langsteer.text.corpus import ParallelCorpus, builtin
from langsteer.version import versions

ITEMS = 200


@dataclass(frozen=True)
class Diagnosis(PlainRecord):
    """What a diagnosis found. Values are in `unit`; `direct` is what the items are worth as asked."""

    model: str
    source: str
    language: str
    items: int
    unit: str
    calibrated: bool
    chance: float
    direct: Interval
    corners: Corners
    reaches: Reaches
    verdict: Verdict
    seconds: float
    versions: dict[str, str]

    def write(self, path: str | Path) -> Path:
        """Write it as JSON. Raises SaveError."""
        return write_json(path, self.as_json())


def is_diagnosis(path: Path) -> bool:
    """Whether a file is what `Diagnosis.write` wrote, of any version."""
    return own_kind(path) == DIAGNOSIS


def diagnose(
    model: Model,
    task: TaskItems,
    *,
    limit: int | None = ITEMS,
    effect: float = EFFECT,
    scoring: Scoring = "auto",
    corpus: ParallelCorpus | None = None,
) -> Diagnosis:
    """Ask the items in all their corners, and try what could help.

    Items to choose on come first, so that those that a recipe is to be reported on are left alone
    where there are enough. `limit` is how many are asked, `effect` the points that are looked for.
    `corpus` stands in for the English of the items where there is none; without it, the built-in
    one where that has the language. Raises ModelError for answers without tokens.
    """
    started = time.perf_counter()
    items = task.all[:limit]
    direct, corners = four_corners(model, items, scoring)
    if direct.english is None and corpus is None:
        corpus = _builtin_corpus(task.language)
    if too_few(len(items)):
        reached = Reaches((), (), "")  # nothing could be said of it
    else:
        reached = reaches(
            model, items, direct.asked, direct.scores, direct.scale, task.language, corpus
        )
    value = paired_bootstrap(lambda sample: np.asarray(sample.mean(-1)), direct.values)
    verdict = judge(
        task.language,
        corners,
        reached,
        len(items),
        unit=direct.scale.unit,
        value=value.value,
        chance=direct.scale.chance,
        english=direct.english,
        english_chance=direct.english_chance,
        effect=effect,
    )
    return Diagnosis(
        model=model.name,
        source=task.source,
        language=task.language,
        items=len(items),
        unit=direct.scale.unit,
        calibrated=direct.scale.calibrated,
        chance=direct.scale.chance,
        direct=value,
        corners=corners,
        reaches=reached,
        verdict=verdict,
        seconds=time.perf_counter() - started,
        versions=versions(),
    )


def _builtin_corpus(language: str) -> ParallelCorpus | None:
    try:
        return builtin(language)
    except CorpusError:
        return None
