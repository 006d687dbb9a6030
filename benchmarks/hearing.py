"""What lingua hears in front of another engine: how often it is right, and how long it takes.

    python -m benchmarks.hearing              how often the language is right, by how sure it is
    python -m benchmarks.hearing --latency    what routing adds to a request of about 200 tokens

Right: of each language of the built-in corpus, eight sentences: whole, and their first four and eight words. Latency:
the layer in front of a server that answers at once, each in a process of its own, on the loopback interface. Each text is
asked for four times, by turns: of the server itself, through the layer without routing, through it with routing, and alone in
this process. Writes `benchmarks/results/hearing.json`.
"""

import argparse
import contextlib
import json
import multiprocessing
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.common import RESULTS
from langsteer.serving.heard import Choices, Ear, ear_for, warm_up
from langsteer.steering.router import CONFIDENT
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import write_json
from langsteer.text.corpus import builtin
from langsteer.text.identify import Identified, identifiable, identifiable_languages

SENTENCES, WORDS = 8, (4, 8, 1000)
TEXTS, TOKENS, WARM = 300, 200, 20
MODEL = "gemma-3-270m"  # whose tokens are counted
PATH = "/v1/completions"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latency", action="store_true")
    if parser.parse_args().latency:
        measured = latency()
        write_json(RESULTS / "hearing.json", measured)
        print(json.dumps(measured, indent=1))
        return
    corpus, drawn = builtin(), random.Random(0)
    texts = [
        (tag, count, " ".join(line.split()[:count]))
        for tag, lines in corpus.texts.items()
        for line in drawn.sample(list(lines), SENTENCES)
        for count in WORDS
    ]
    told = Ear((*corpus.texts, *identifiable_languages())).identify([text for *_, text in texts])
    for count in WORDS:
        print(
            count, summary([(t, h) for (t, c, _), h in zip(texts, told, strict=True) if c == count])
        )
    print("all", summary([(tag, heard) for (tag, *_), heard in zip(texts, told, strict=True)]))


def summary(heard: Sequence[tuple[str, Identified]]) -> str:
    sure = [(tag, told.language) for tag, told in heard if told.confidence >= CONFIDENT]
    wrong = [f"{tag} as {called}" for tag, called in sure if tag != called]
    return f"{len(heard)} texts, {len(sure)} sure, {len(wrong)} of them wrong: {', '.join(wrong)}"


def latency() -> dict[str, Any]:
    """Milliseconds: what the layer adds, what routing adds to that, and identification by itself."""
    import httpx2

    texts = long_texts()
    ear = ear_for(changes())
    if ear is None:
        raise SystemExit("lingua is not installed: pip install 'langsteer[langid]'")
    warm_up(ear)
    times: dict[str, list[float]] = {name: [] for name in ("server", "layer", "routed", "alone")}
    with running(serve_stub) as server, running(serve_layer, server) as layer:
        client = httpx2.Client(timeout=60, trust_env=False)
        for text in texts:
            body = {"model": "tiny", "prompt": text, "max_tokens": 1}
            asked: dict[str, Callable[[], object]] = {
                "server": lambda body=body: client.post(server + PATH, json=body),  # type: ignore[misc]
                "layer": lambda body=body: client.post(  # type: ignore[misc]
                    layer + PATH, json={**body, "steering": None}
                ),
                "routed": lambda body=body: client.post(layer + PATH, json=body),  # type: ignore[misc]
                "alone": lambda text=text: ear.identify([text]),  # type: ignore[misc]
            }
            for name, ask in asked.items():
                began = time.perf_counter()
                ask()
                times[name].append(1e3 * (time.perf_counter() - began))
    taken = {name: np.array(values[WARM:]) for name, values in times.items()}
    return {
        "texts": len(texts) - WARM,
        "tokens, mean": round(float(np.mean([count for _, count in counted(texts[WARM:])])), 1),
        "routing adds": spread(taken["routed"] - taken["layer"]),
        "the layer adds": spread(taken["layer"] - taken["server"]),
        "both": spread(taken["routed"] - taken["server"]),
        "identification alone": spread(taken["alone"]),
    }


def spread(values: np.ndarray[Any, Any]) -> dict[str, float]:
    """Median with its 95% bootstrap interval, and the 95th percentile."""
    drawn = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    numbers = {"median": np.median(values), "low": low, "high": high}
    numbers["95 of 100 under"] = np.percentile(values, 95)
    return {name: round(float(value), 2) for name, value in numbers.items()}


def long_texts() -> list[str]:
    """Texts of about 200 tokens, of all languages of the built-in corpus by turns."""
    corpus, drawn = builtin(), random.Random(0)
    tokenizer = _tokenizer()
    texts = []
    for number in range(TEXTS):
        lines = list(corpus.texts.values())[number % len(corpus.texts)]
        ids: list[int] = []
        while len(ids) < TOKENS:
            ids += tokenizer(drawn.choice(lines) + " ", add_special_tokens=False)["input_ids"]
        texts.append(str(tokenizer.decode(ids[:TOKENS])))
    return texts


def counted(texts: Sequence[str]) -> list[tuple[str, int]]:
    tokenizer = _tokenizer()
    return [(text, len(tokenizer(text)["input_ids"])) for text in texts]


def _tokenizer() -> Any:
    import transformers

    from langsteer.model.opening import checkpoint_of

    return transformers.AutoTokenizer.from_pretrained(checkpoint_of(MODEL))


def changes() -> Mapping[str, Any]:
    """A vector for each language of the corpus that lingua knows."""
    import torch

    return {
        tag: SteeringVector(torch.ones(4), 1, tag, "en", {"name": MODEL}, "test")
        for tag in builtin().texts
        if tag != "en" and identifiable(tag)
    }


@contextlib.contextmanager
def running(serve: Callable[..., None], *given: Any) -> Iterator[str]:
    """The address of what `serve` serves, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(port, *given))
    process.start()
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


def serve_stub(port: int) -> None:
    """A server that answers at once."""
    import uvicorn
    from fastapi import FastAPI, Request

    app = FastAPI()

    @app.post(PATH)
    async def complete(request: Request) -> Any:
        await request.json()
        return {"object": "text_completion", "choices": [{"index": 0, "text": "a"}]}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


def serve_layer(port: int, url: str) -> None:
    """The layer in front of a server at `url`, as it stands in front of vLLM."""
    import uvicorn

    from langsteer.serving.proxy import Asking, build_proxy
    from langsteer.serving.vllm import xargs

    class Stub:
        alive = True

        def __init__(self) -> None:
            self.url = url

        passed: frozenset[str] = frozenset()

        def check(self, path: str) -> None:
            """All is answered."""

        def fields(self, path: str) -> None:
            return None

        def say(self, asking: Asking) -> dict[str, Any]:
            return {**asking.body, **xargs(asking)}

    made = changes()
    app = build_proxy(Stub(), Choices(made, ear_for(made)), "tiny")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
