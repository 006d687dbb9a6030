"""The clients of `benchmarks.load`, as locust runs them: what they ask, and what they take for an error."""

import json
import os
import random
from pathlib import Path
from typing import Any

from locust import HttpUser, between, task

EXPECTED = json.loads(Path(os.environ["LANGSTEER_LOAD_EXPECTED"]).read_text(encoding="utf-8"))
PATH = "/v1/completions"


class Client(HttpUser):
    """Asks again and again; each answer must be that which the text gets alone."""

    wait_time = between(0.0, 0.5)

    @task(6)
    def whole(self) -> None:
        case = random.choice(EXPECTED)
        with self._ask(case["body"], "whole") as reply:
            if self._answered(reply):
                told = reply.json()
                self._check(reply, case, told["choices"][0]["text"], told["steering"])

    @task(3)
    def streamed(self) -> None:
        case = random.choice(EXPECTED)
        with self._ask({**case["body"], "stream": True}, "streamed", stream=True) as reply:
            if self._answered(reply):
                lines = [line[6:] for line in reply.iter_lines() if line.startswith(b"data: {")]
                parts = [json.loads(line) for line in lines]
                text = "".join(part["choices"][0]["text"] for part in parts)
                self._check(reply, case, text, parts[-1]["steering"])

    @task(1)
    def gone(self) -> None:
        """Goes away after the first words."""
        case = random.choice(EXPECTED)
        with self._ask({**case["body"], "stream": True}, "gone", stream=True) as reply:
            if self._answered(reply):
                next(reply.iter_lines())
                reply.success()
        self.client.close()

    def _ask(self, body: dict[str, Any], name: str, **options: Any) -> Any:
        return self.client.post(PATH, json=body, name=name, catch_response=True, **options)

    def _answered(self, reply: Any) -> bool:
        """Whether it was answered; a refusal that says why and when to come again is no error."""
        if reply.status_code == 200:
            return True
        if reply.status_code == 429 and reply.headers.get("Retry-After"):
            reply.request_meta["name"] = f"refused: {reply.json()['error']['code']}"
            reply.success()
        else:
            reply.failure(f"{reply.status_code}: {reply.text[:200]}")
        return False

    def _check(self, reply: Any, case: dict[str, Any], text: str, steering: Any) -> None:
        if steering["vector"] != case["vector"]:
            reply.failure(f"steered with {steering['vector']} and not {case['vector']}")
        elif text != case["text"]:
            reply.failure("another text than alone")
        else:
            reply.success()
