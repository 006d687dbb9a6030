"""The endpoint that chooses among fixed answers: `langsteer.calibrated`, behind the server.

What a model likes to say after any text is taken off each choice's log-probability: by priors that the server was
started with, or by the mean over the request's own prompts.
"""

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from langsteer.errors import LangsteerError, ModelError
from langsteer.evaluation.calibrated import ALL, Priors, check_answers, probabilities
from langsteer.evaluation.statistics import FEWEST_CALIBRATED, Array
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt, Text, encode_suffix
from langsteer.serving.asked import Asked, Used
from langsteer.serving.engine import Engine
from langsteer.serving.errors import RequestError, as_refusal
from langsteer.serving.metrics import Metrics
from langsteer.serving.presence import while_there
from langsteer.serving.prompts import conversation_of, encoded, positions_of, prompts_of
from langsteer.serving.schema import ChoicesRequest
from langsteer.serving.scoring import ChoiceRow
from langsteer.steering.steered import Steered

log = logging.getLogger("langsteer.serving")
LONGEST_CHOICE = 256  # tokens


def read_priors(paths: Sequence[Path]) -> dict[Path, Priors]:
    """What files of priors hold. Raises LangsteerError where two are of the same answers."""
    read = {path: Priors.read(path) for path in paths}
    files: dict[frozenset[str], Path] = {}
    for path, priors in read.items():
        other = files.setdefault(frozenset(priors.answers), path)
        if other != path:
            raise LangsteerError(f"{path} has priors of the same answers as {other}: keep one")
    return read


def check_priors(read: dict[Path, Priors], model: Model) -> tuple[Priors, ...]:
    """Those that were read. Raises ModelError, naming the file, where they are not of this model."""
    for path, priors in read.items():
        try:
            priors.check_fits(model)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
    return tuple(read.values())


@dataclass(frozen=True, eq=False)
class Chooser:
    """What answers requests for choices: its rows are scored by the engine, among all others."""

    ready: Steered
    engine: Engine
    metrics: Metrics
    priors: Sequence[Priors] = ()
    log_texts: bool = False

    async def answer(self, body: ChoicesRequest, asked: Asked, request: Request) -> Response:
        rows = await asyncio.to_thread(choice_rows, body, asked, self.ready)
        priors = self._priors(body, asked, len(rows))
        self._log("asked", [str(row.source) for row in rows])
        await while_there(request, asyncio.ensure_future(self._scored(rows)))
        reply = _reply(body, rows, priors, self.ready.model)
        self._log("answered", [chosen["choice"] for chosen in reply["data"]])
        return JSONResponse(reply)

    async def _scored(self, rows: Sequence[ChoiceRow]) -> None:
        """Until the engine has scored all rows; they are given up where one fails or nobody waits."""
        loop, ended = asyncio.get_running_loop(), asyncio.Queue[ChoiceRow]()

        def notify(row: ChoiceRow) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended.put_nowait, row)

        for row in rows:
            row.notify = notify
        self.engine.submit(rows)
        try:
            for _ in rows:
                row = await ended.get()
                if row.error is not None:
                    raise as_refusal(row.error)
                self.metrics.count_choice(row)
        finally:
            for row in rows:
                row.cancelled = True

    def _priors(self, body: ChoicesRequest, asked: Asked, prompts: int) -> Priors | None:
        """The server's, where they are what calibrates; None where the prompts do, or nothing is to.

        Raises RequestError where what is asked for cannot be done.
        """
        kept = next((p for p in self.priors if set(p.answers) == set(body.choices)), None)
        why = "the server has no priors of these choices (langsteer serve --priors)"
        if kept is not None and (asked.strength, asked.positions, asked.layer) != (None,) * 3:
            why = "the priors are of vectors as they are, without strength, positions and layer"
            kept = None
        if body.calibration is None:
            return None
        if body.calibration != "prompts" and kept is not None:
            return kept
        if body.calibration != "priors" and prompts >= FEWEST_CALIBRATED:
            return None
        few = f"the request has {prompts} of the {FEWEST_CALIBRATED} prompts that it takes at least"
        reasons = {"priors": why, "prompts": few, "auto": f"{why}, and {few}"}
        raise RequestError(
            f"the choices cannot be calibrated: {reasons[body.calibration]}; pass calibration null "
            "for probabilities that are not",
            code="invalid_calibration",
            param="calibration",
        )

    def _log(self, what: str, texts: Sequence[str]) -> None:
        if self.log_texts:
            log.info("%s: %s", what, json.dumps(texts, ensure_ascii=False))


def choice_rows(body: ChoicesRequest, asked: Asked, ready: Steered) -> list[ChoiceRow]:
    """The rows of a request, one a prompt. Raises RequestError where a prompt or a choice cannot be
    read, or does not fit into the model.
    """
    choices = _choices(body.choices, ready)
    longest, most = max(map(len, choices)), positions_of(ready)
    rows = []
    for prompt, source in _texts(body, ready):
        tokens = encoded(ready, prompt)
        if not any(tokens.source):
            raise RequestError("a prompt is empty", param="prompt")
        if most is not None and len(tokens) + longest > most:
            raise RequestError(
                f"the model has {most} positions: a prompt has {len(tokens)} tokens, and the longest "
                f"choice {longest}",
                code="context_length_exceeded",
                param="messages" if body.messages else "prompt",
            )
        rows.append(ChoiceRow(tokens, source, asked, choices))
    return rows


def _texts(body: ChoicesRequest, ready: Steered) -> list[tuple[Text, Text]]:
    """What is read, and the text in it whose language is heard."""
    if body.prompt is not None and body.messages is None:
        prompts = [Prompt(text, body.before, body.after) for text in prompts_of(body.prompt)]
        return [(prompt, prompt) for prompt in prompts]
    if body.messages is None or body.prompt is not None:
        raise RequestError("a prompt, or messages, and not both", param="prompt")
    if body.before or body.after:
        raise RequestError("before and after are around a prompt", param="before")
    return [conversation_of(body.messages, ready, "ask with a prompt")]


def _choices(choices: Sequence[str], ready: Steered) -> tuple[tuple[int, ...], ...]:
    """Their token ids. Raises RequestError."""
    try:
        for choice in check_answers(choices):
            choice.encode()
    except UnicodeEncodeError as error:
        raise _wrong("a choice is not Unicode: it holds half a character") from error
    except ModelError as error:
        raise _wrong(str(error).replace("answers", "choices")) from error
    made = tuple(tuple(encode_suffix(ready.model, choice)) for choice in choices)
    for choice, tokens in zip(choices, made, strict=True):
        if not 1 <= len(tokens) <= LONGEST_CHOICE:
            raise _wrong(
                f"the choice {choice!a:.200} has {len(tokens)} tokens: it may have 1 to {LONGEST_CHOICE}"
            )
    return made


def _wrong(message: str) -> RequestError:
    return RequestError(message, param="choices")


def _reply(
    body: ChoicesRequest, rows: Sequence[ChoiceRow], priors: Priors | None, model: Model
) -> dict[str, Any]:
    raw: Array = np.array([row.logprobs for row in rows])
    used = [row.used or Used(row.asked, None) for row in rows]
    languages = [told.change.language if told.change is not None else None for told in used]
    by = None if body.calibration is None else "prompts" if priors is None else "priors"
    if by == "prompts":
        priors = Priors.learned(model.fingerprint, body.choices, raw, languages)
    shares = probabilities(
        raw if priors is None else priors.taken_off(raw, languages, body.choices)
    )
    data = [
        {
            "index": index,
            "choice": body.choices[int(shares[index].argmax())],
            "choice_index": int(shares[index].argmax()),
            "probabilities": shares[index].tolist(),
            "logprobs": raw[index].tolist(),
            "prior": priors.group(language) if priors is not None else None,
            "steering": told.record(),
        }
        for index, (language, told) in enumerate(zip(languages, used, strict=True))
    ]
    return {
        "id": f"choices-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": body.model,
        "data": data,
        "calibration": {"by": by, "texts": priors.texts[ALL]} if priors is not None else None,
        "usage": _usage(rows),
    }


def _usage(rows: Sequence[ChoiceRow]) -> dict[str, int]:
    prompt = sum(len(row.prompt) for row in rows)
    choices = sum(row.choice_tokens for row in rows)
    return {
        "prompt_tokens": prompt,
        "choice_tokens": choices,
        "total_tokens": prompt + choices,
    }
