"""Translate first, by a web service: anything that is a `Translator`; Google Cloud's as the example."""

import html
import importlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

from langsteer.errors import MethodError
from langsteer.evaluation.methods.common import EvaluationMethod, Plan, Setting
from langsteer.evaluation.methods.translate import Translator, translated_by

GOOGLE = "https://translation.googleapis.com/language/translate/v2"
KEY = "GOOGLE_TRANSLATE_API_KEY"
TEXTS_A_CALL, CHARACTERS_A_CALL = 100, 5000
RETRIED = {408, 429, 500, 502, 503, 504}


def translate_service(
    setting: Setting, service: str | Translator = "google", **options: Any
) -> Plan:
    """`service`: `google`, an object that is a `Translator`, or `module:name` of what makes one.

    `options` go to what makes it. Raises MethodError where the service cannot be used.
    """
    return translated_by(setting, open_service(service, **options))


def open_service(service: str | Translator, **options: Any) -> Translator:
    if not isinstance(service, str):
        return service
    if service == "google":
        return GoogleTranslator(**options)
    module, _, name = service.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)(**options)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise MethodError(
            f"translate_service: no service {service!r} ({error}): use 'google', or 'module:name' "
            "of a class with a name and translate(texts, source, target)"
        ) from error
    if not isinstance(made, Translator):
        raise MethodError(
            f"translate_service: {service!r} has no name and translate(texts, source, target)"
        )
    return made


class GoogleTranslator:
    """Google Cloud Translation, version 2. The key is read from an environment variable.

    It goes into a header of the request and nowhere else: into no address, message or file.
    `pause` is the seconds before the first retry; each later one waits twice as long.
    """

    def __init__(
        self,
        endpoint: str = GOOGLE,
        key_variable: str = KEY,
        retries: int = 5,
        pause: float = 1.0,
        timeout: float = 60.0,
    ) -> None:
        self.name = "google_v2"
        self._endpoint, self._variable = endpoint, key_variable
        self._retries, self._pause, self._timeout = retries, pause, timeout

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        translations: list[str] = []
        for group in _calls(texts):
            body = {
                "q": group,
                "source": _code(source),
                "target": _code(target),
                "format": "text",
            }
            translations += _translations(self._call(body), len(group))
        return translations

    def _call(self, body: dict[str, Any]) -> Any:
        key = os.environ.get(self._variable, "").strip()
        if not key:
            raise MethodError(
                f"translate_service: put your Google Cloud API key in the environment variable "
                f"{self._variable}"
            )
        request = urllib.request.Request(
            self._endpoint,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json; charset=utf-8", "X-Goog-Api-Key": key},
        )
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code not in RETRIED or last:
                    raise MethodError(
                        f"Google Translate refused ({error.code}): {_reason(error, key)}"
                    ) from None
            except (OSError, ValueError) as error:
                if last:
                    reason = str(getattr(error, "reason", error)).replace(key, "…")
                    raise MethodError(f"Google Translate cannot be reached: {reason}") from None
            time.sleep(self._pause * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def _calls(texts: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    for text in texts:
        size = sum(map(len, group)) + len(text)
        if group and (len(group) == TEXTS_A_CALL or size > CHARACTERS_A_CALL):
            yield group
            group = []
        group.append(text)
    if group:
        yield group


def _translations(answer: Any, count: int) -> list[str]:
    try:
        rows = [str(row["translatedText"]) for row in answer["data"]["translations"]]
    except (KeyError, TypeError):
        raise MethodError("Google Translate answered without translations") from None
    if len(rows) != count:
        raise MethodError(f"Google Translate gave {len(rows)} translations of {count} texts")
    return [html.unescape(row) for row in rows]


def _code(tag: str) -> str:
    """Google's code of a language tag: it tells Chinese scripts by region."""
    return {"zh-Hans": "zh-CN", "zh-Hant": "zh-TW"}.get(tag, tag)


def _reason(error: urllib.error.HTTPError, key: str) -> str:
    try:
        said = json.load(error)["error"]["message"]
    except (OSError, ValueError, KeyError, TypeError):
        said = error.reason
    return " ".join(str(said).replace(key, "…").split())[:200]


TRANSLATE_SERVICE = EvaluationMethod(
    "translate_service", "Translate: web service", translate_service, kind="text"
)
