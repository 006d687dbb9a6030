"""What a server refuses, over real connections: what is too large, too often, too much; and who has gone."""

import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from langsteer.serving.app import ServeOptions
from langsteer.serving.errors import RequestError
from langsteer.serving.rate import MOST_CLIENTS, RateLimit
from langsteer.steering.generation import generate
from langsteer.steering.steered import Steered
from tests.made.server import listening

SW, TR = "abcdeabcdeabcde", "fghijfghijfghij"
BODY = {"model": "tiny", "prompt": SW, "temperature": 0, "max_tokens": 6}
MEGABYTE = 2**20


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)


def ask(url: str, **body: Any) -> tuple[int, dict[str, Any], Any]:
    with_key = {"Content-Type": "application/json", "Authorization": "Bearer one"}
    connection = connect(url)
    connection.request("POST", "/v1/completions", json.dumps({**BODY, **body}), with_key)
    reply = connection.getresponse()
    told = json.loads(reply.read())
    connection.close()
    return reply.status, told, reply.headers


def gauge(url: str, name: str) -> float:
    connection = connect(url)
    connection.request("GET", "/metrics", headers={"Authorization": "Bearer one"})
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def until(url: str, name: str, value: float) -> None:
    for _ in range(200):
        if gauge(url, name) == value:
            return
        time.sleep(0.02)
    pytest.fail(f"{name} never was {value}")


def pieces(megabytes: int) -> Iterator[bytes]:
    for _ in range(megabytes):
        yield b"x" * MEGABYTE


@pytest.mark.parametrize("told", [True, False])
def test_a_hundred_megabytes(ready: Steered, told: bool) -> None:
    """They are refused whether their length is told or not, and are never held."""
    with listening(ready) as url:
        before = psutil.Process().memory_info().rss
        connection = connect(url)
        length = {"Content-Length": str(100 * MEGABYTE)}
        chunked = {"Transfer-Encoding": "chunked"}
        connection.request(
            "POST",
            "/v1/completions",
            pieces(100),
            length if told else chunked,
            encode_chunked=not told,
        )
        reply = connection.getresponse()
        assert reply.status == 413
        assert json.loads(reply.read())["error"]["code"] == "too_large"
        assert psutil.Process().memory_info().rss - before < 30 * MEGABYTE
        assert ask(url)[0] == 200


def test_head_says_what_get_does_and_sends_no_body(ready: Steered) -> None:
    with listening(ready) as url:
        connection = connect(url)
        for path in ("/health", "/", "/health"):  # over one connection: a body would be in the way
            connection.request("HEAD", path)
            reply = connection.getresponse()
            assert (reply.status, reply.read()) == (200, b"")
            assert int(reply.headers["Content-Length"]) > 0
        connection.close()


def test_a_client_that_asks_before_it_sends(ready: Steered) -> None:
    with listening(ready) as url:
        connection = connect(url)
        connection.putrequest("POST", "/v1/completions")
        connection.putheader("Content-Length", str(100 * MEGABYTE))
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_a_full_queue_and_who_waits_in_it(ready: Steered) -> None:
    options = ServeOptions(batch=1, queue=2)
    with listening(ready, options, seconds=0.02) as url, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, url, max_tokens=30)]
        until(url, "langsteer_running_rows", 1)
        asked += [pool.submit(ask, url, prompt=TR) for _ in "ab"]
        until(url, "langsteer_waiting_rows", 2)
        status, told, headers = ask(url)
        assert (status, told["error"]["code"]) == (429, "queue_full")
        assert int(headers["Retry-After"]) >= 1
        assert [each.result()[0] for each in asked] == [200, 200, 200]
        assert ask(url, prompt=[SW] * 3)[0] == 400  # would never fit


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_frees_a_place_and_disturbs_nobody(ready: Steered, stream: bool) -> None:
    expected = generate(ready.model, [TR], ready.changes["tr"], max_new_tokens=40)[0]
    with listening(ready, seconds=0.03) as url, ThreadPoolExecutor(1) as pool:
        other = pool.submit(ask, url, prompt=TR, max_tokens=40)
        until(url, "langsteer_running_rows", 1)
        connection = connect(url)
        long = json.dumps({**BODY, "max_tokens": 100, "stream": stream})
        connection.request("POST", "/v1/completions", long, {"Content-Type": "application/json"})
        until(url, "langsteer_running_rows", 2)
        connection.close()
        until(url, "langsteer_running_rows", 1)
        assert not other.done()
        assert other.result()[1]["choices"][0]["text"] == expected
        assert ask(url)[0] == 200


def test_who_goes_while_waiting_leaves_the_queue(ready: Steered) -> None:
    options = ServeOptions(batch=1, queue=1)
    with listening(ready, options, seconds=0.03) as url, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, url, max_tokens=60)
        until(url, "langsteer_running_rows", 1)
        connection = connect(url)
        waiting = json.dumps({**BODY, "stream": True})
        connection.request("POST", "/v1/completions", waiting, {"Content-Type": "application/json"})
        until(url, "langsteer_waiting_rows", 1)
        connection.close()
        until(url, "langsteer_waiting_rows", 0)
        assert not first.done()


def test_how_often(ready: Steered) -> None:
    with listening(ready, ServeOptions(keys=("one",), rate=3)) as url:
        replies = [ask(url) for _ in range(4)]
        assert [status for status, _, _ in replies] == [200, 200, 200, 429]
        assert replies[3][1]["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(replies[3][2]["Retry-After"]) <= 20


def test_a_bucket_fills_again_and_each_client_has_its_own() -> None:
    now = [0.0]
    limit = RateLimit(2, clock=lambda: now[0])
    for _ in "ab":
        limit.take(b"one")
    with pytest.raises(RequestError, match="2 requests a minute: try again in 30 s"):
        limit.take(b"one")
    limit.take(b"two")
    now[0] = 31.0
    limit.take(b"one")
    with pytest.raises(RequestError):
        limit.take(b"one")
    for number in range(MOST_CLIENTS + 10):
        limit.take(str(number).encode())
    assert len(limit._buckets) == MOST_CLIENTS
