"""Batch calibration of a task's answers in the harness, where all items have the same (Zhou et al., arXiv 2309.17249)."""

import logging
from collections.abc import Sequence

import numpy as np
from lm_eval.api.instance import Instance

from langsteer.evaluation.harness.requests import item_key
from langsteer.evaluation.statistics import FEWEST_CALIBRATED, calibrate

logger = logging.getLogger(__name__)


Answer = tuple[float, bool]


def calibrated_answers(requests: Sequence[Instance], answers: Sequence[Answer]) -> list[Answer]:
    """The answers with each choice's mean log-likelihood over its task taken off.

    Whether greedy decoding would say it stays. A task whose items have choices of their own, or that
    has few items, is left as it is, with a warning.
    """
    tasks: dict[str, dict[object, list[int]]] = {}
    for i, request in enumerate(requests):
        tasks.setdefault(request.task_name or "", {}).setdefault(item_key(request), []).append(i)
    result = list(answers)
    for name, items in tasks.items():
        rows = list(items.values())
        if (why := _not_calibrated(requests, rows)) is not None:
            logger.warning("%s is not calibrated: %s", name, why)
            continue
        scores = np.array([[answers[i][0] for i in row] for row in rows])
        for row, values in zip(rows, calibrate(scores).tolist(), strict=True):
            for i, value in zip(row, values, strict=True):
                result[i] = (value, answers[i][1])
    return result


def _not_calibrated(requests: Sequence[Instance], rows: Sequence[Sequence[int]]) -> str | None:
    choices = {tuple(requests[i].args[1] for i in row) for row in rows}
    if len(choices) > 1:
        return "its items have choices of their own, which no mean can be taken of"
    if len(next(iter(choices))) < 2:
        return "there is one answer to each item"
    if len(rows) < FEWEST_CALIBRATED:
        return f"{len(rows)} items are too few, {FEWEST_CALIBRATED} are the least"
    return None
