"""What tells languages where no router does, and what is said of it at the start."""

from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient

from langsteer.serving.app import build_app
from langsteer.serving.errors import RequestError
from langsteer.serving.heard import choices, said_at_start, sample
from langsteer.steering.steered import Steered
from tests.helpers import make_vector, tiny

pytest.importorskip("lingua", reason="the extra langid is not installed")

LETTERS = "abcdeabcdeabcde"
SW = "Habari za asubuhi, rafiki yangu mpendwa, leo ni siku nzuri sana"
EN = "Good morning, my dear friend, it is a very beautiful day today"


def changes() -> dict[str, Any]:
    model = tiny("llama")
    return {tag: make_vector(model, 1, language=tag) for tag in ("sw", "et")}


def ask(client: Any, **body: Any) -> Any:
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    return client.post(path, json={"model": "tiny", "temperature": 0, "max_tokens": 6, **body})


def test_without_a_router_and_lingua_a_language_must_be_named(
    ready: Steered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langsteer.text.identify._known", dict)
    alone = Steered(ready.model, ready.changes)
    with TestClient(build_app(alone, "tiny")) as client:
        assert ask(client, prompt=LETTERS).status_code == 400
        assert ask(client, prompt=LETTERS, steering="sw").status_code == 200
        assert client.get("/v1/models").json()["steering"]["hears"] is None
    one = Steered(ready.model, {"sw": ready.changes["sw"]})
    with TestClient(build_app(one, "tiny")) as client:
        assert ask(client, prompt=EN).json()["steering"]["vector"] == "sw"


@pytest.mark.parametrize("tags", [("sw",), ("sw", "tr")])
def test_without_a_router_lingua_hears(ready: Steered, tags: tuple[str, ...]) -> None:
    alone = Steered(ready.model, {tag: ready.changes[tag] for tag in tags})
    heard = {
        "Habari za asubuhi, rafiki yangu mpendwa": ("sw", "sw"),
        "Good morning, my very dear friend": ("en", None),
        "Bonjour, mon cher ami, il fait beau": ("fr", None),
        "Habari": ("und", None),  # too short to tell
    }
    with TestClient(build_app(alone, "tiny")) as client:
        for prompt, (language, vector) in heard.items():
            for body in ({"prompt": prompt}, {"messages": [{"role": "user", "content": prompt}]}):
                told = ask(client, **body).json()["steering"]
                assert (told["language"], told["vector"]) == (language, vector)
        assert ask(client, prompt="Habari", steering="sw").json()["steering"]["vector"] == "sw"
        steering = client.get("/v1/models").json()["steering"]
        assert (steering["hears"], steering["router"]) == ("lingua", list(tags))


def test_what_lingua_does_not_know_is_named_only() -> None:
    model = tiny("llama")
    made: Mapping[str, Any] = {tag: make_vector(model, language=tag) for tag in ("sw", "bm")}
    chosen = choices(made)
    assert (said_at_start(made, chosen.router) or "").endswith(
        "named only, as nothing tells them: bm"
    )
    assert chosen.identify([SW])[0].language == "sw"
    with pytest.raises(RequestError):
        chosen.identify([None])
    unknown = choices({"bm": made["bm"]})
    assert unknown.router is None
    assert said_at_start(unknown.changes, None) == (
        "no router (fit --router): every text is steered with bm"
    )


def test_what_is_heard_of_a_long_text() -> None:
    assert sample(SW) == SW
    long = " ".join(f"word{number}" for number in range(500))
    heard = sample(long).split()
    assert sum(map(len, heard)) <= 300
    assert set(heard) <= set(long.split()), "whole words"
    assert (heard[0], heard[-1]) == ("word0", "word499")
    places = [int(word.removeprefix("word")) for word in heard]
    assert places == sorted(places)
    assert all(any(low <= place < low + 125 for place in places) for low in range(0, 500, 125))
    assert sample("語" * 900) == " ".join(["語" * 50] * 6)
    instructed = EN + ". " + " ".join([SW] * 12)
    assert choices(changes()).identify([instructed])[0].language == "sw"


def test_what_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    made = changes()
    heard = said_at_start(made, choices(made).router)
    assert heard is not None
    assert heard.startswith("no router: lingua hears the language, of texts of 20 letters or more")
    unused = said_at_start(made, choices(made).router, "v/router.safetensors") or ""
    lacking = "v/router.safetensors is not used, as this engine gives no hidden states to read"
    assert unused.startswith(f"{lacking}: lingua hears the language")

    class Router:
        languages = ("sw", "en")

    assert said_at_start(made, Router()) == "named only, as nothing tells them: et"
    assert said_at_start({"sw": made["sw"]}, Router()) is None
    monkeypatch.setattr("langsteer.text.identify._known", dict)
    assert choices(made).router is None
    assert said_at_start(made, None) == (
        "no router (fit --router), nor lingua (pip install 'langsteer[langid]'): requests must name a "
        "language"
    )
    assert said_at_start(made, None, "v/router.safetensors") == (
        f"{lacking}, nor lingua (pip install 'langsteer[langid]'): requests must name a language"
    )


def test_lingua_hears_the_text_and_not_the_template_around_it(ready: Steered) -> None:
    told = "Here is a text, and after it comes a question that you are to answer: "
    body = {"model": "tiny", "prompt": SW[:39], "choices": ["a", "b"], "calibration": None}
    alone = Steered(ready.model, {"sw": ready.changes["sw"]})
    with TestClient(build_app(alone, "tiny")) as client:
        reply = client.post("/v1/choices", json={**body, "before": told}).json()
    assert reply["data"][0]["steering"]["language"] == "sw"
