"""Translating first by a web service."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")


from langsteer.errors import MethodError
from langsteer.evaluation.methods import get_method
from langsteer.evaluation.methods.service import CHARACTERS_A_CALL, GoogleTranslator, open_service
from langsteer.model.model import Model
from tests.made.settings import setting

SECRET = "AIza-very-secret"


@dataclass
class FakeGoogle:
    """Answers as Google Cloud Translation v2 does, after `failures` that it may be asked again."""

    url: str = ""
    failures: list[int] = field(default_factory=list)
    calls: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGoogle]:
    fake = FakeGoogle()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.calls.append((self.path, dict(self.headers), body))
            code = fake.failures.pop(0) if fake.failures else 200
            message = f"API key {SECRET} not valid"
            answer: dict[str, Any] = {"error": {"code": code, "message": message}}
            if code == 200:
                rows = [{"translatedText": f"{text} &amp; more"} for text in body["q"]]
                answer = {"data": {"translations": rows}}
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_port}/v2"
    monkeypatch.setenv("GOOGLE_TRANSLATE_API_KEY", SECRET)
    yield fake
    server.shutdown()
    server.server_close()


def test_google(google: FakeGoogle, model: Model, data: Path) -> None:
    google.failures = [503, 429]
    given = setting(model, data)
    plan = get_method("translate_service").prepare(given, endpoint=google.url, pause=0.0)
    assert plan.docs[0]["text"] == "habari number 200 & more"
    assert len(google.calls) == 3
    path, headers, body = google.calls[-1]
    assert SECRET not in path
    assert headers["X-Goog-Api-Key"] == SECRET
    assert (body["source"], body["target"], body["format"]) == ("sw", "en", "text")
    kept = [file.read_text(encoding="utf-8") for file in given.work.rglob("*") if file.is_file()]
    assert kept
    assert not any(SECRET in text for text in kept)


def test_a_key_that_is_refused_is_not_told(google: FakeGoogle) -> None:
    google.failures = [403]
    with pytest.raises(MethodError, match=r"refused \(403\): API key … not valid") as caught:
        GoogleTranslator(google.url, pause=0.0).translate(["a"], "sw", "en")
    assert SECRET not in str(caught.value)
    assert len(google.calls) == 1
    google.failures = [500] * 9
    with pytest.raises(MethodError, match=r"refused \(500\)"):
        GoogleTranslator(google.url, retries=2, pause=0.0).translate(["a"], "sw", "en")
    assert len(google.calls) == 4


def test_no_key_and_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_TRANSLATE_API_KEY", raising=False)
    with pytest.raises(MethodError, match="in the environment variable GOOGLE_TRANSLATE_API_KEY"):
        GoogleTranslator().translate(["a"], "sw", "en")
    monkeypatch.setenv("OTHER", SECRET)
    engine = GoogleTranslator("http://127.0.0.1:9/", "OTHER", retries=1, pause=0.0)
    with pytest.raises(MethodError, match="cannot be reached") as caught:
        engine.translate(["a"], "sw", "en")
    assert SECRET not in str(caught.value)


def test_long_texts_are_sent_in_several_calls(google: FakeGoogle) -> None:
    texts = ["x" * 3000, "y" * 3000, "z" * (CHARACTERS_A_CALL + 1), *["short"] * 130]
    found = GoogleTranslator(google.url).translate(texts, "zh-Hans", "en")
    assert len(found) == len(texts)
    assert [len(body["q"]) for _, _, body in google.calls] == [1, 1, 1, 100, 30]
    assert google.calls[0][2]["source"] == "zh-CN"


def test_services_of_a_users_own() -> None:
    made = open_service("tests.made.translators:Shouting", name="mine")
    assert made.name == "mine"
    assert open_service(made) is made
    with pytest.raises(MethodError, match="no service 'nowhere'"):
        open_service("nowhere")
    with pytest.raises(MethodError, match="has no name and translate"):
        open_service("collections:Counter")
