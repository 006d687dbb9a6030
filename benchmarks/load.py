"""A server under load: many clients at once, each answer against what the same text gets alone.

    python -m benchmarks.load                       # 200 clients for two minutes, a tiny model
    python -m benchmarks.load --users 50 --seconds 30

A server with a tiny random model runs in a process of its own, on the loopback interface. Clients (locust) ask in three
languages, streamed or not, with the language heard, named or none; some go away before the answer ends. Refusals
that say why (429, with Retry-After) are counted apart. Writes `benchmarks/results/load.json`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ADDRESS = "LANGSTEER_LOAD_EXPECTED"
LANGUAGES = {"sw": "abcde", "tr": "fghij", "en": "klmno"}
TOKENS = (4, 12, 32)
RESULTS = Path(__file__).parent / "results" / "load.json"
ROOT = Path(__file__).parents[1]


def texts() -> list[str]:
    """A dozen texts of different languages and lengths."""
    draw = random.Random(0)
    return [
        "".join(draw.choices(letters, k=length))
        for letters in LANGUAGES.values()
        for length in range(16, 48, 8)
    ]


def make_model(folder: Path) -> None:
    """A tiny model with two vectors and a router, saved below a folder."""
    sys.path.insert(0, str(ROOT))
    from langsteer.fitting.router import fit_router
    from tests.helpers import build_model, make_vector

    model = build_model("llama", seed=3)
    model.network.save_pretrained(folder / "tiny")
    model.tokenizer.save_pretrained(folder / "tiny")
    for seed, tag in enumerate(("sw", "tr")):
        vector = make_vector(model, seed, language=tag, strength=4.0, positions="all")
        vector.save(folder / "vectors" / f"{tag}.safetensors")
    draw = random.Random(1)
    lines = {
        tag: ["".join(draw.choices(letters, k=24)) for _ in range(40)]
        for tag, letters in LANGUAGES.items()
    }
    router = fit_router(model, lines, with_builtin=False)
    router.save(folder / "vectors" / "router.safetensors")


def bodies() -> list[dict[str, Any]]:
    """All that is asked: each text steered in each way."""
    return [
        {
            "model": "tiny",
            "prompt": text,
            "temperature": 0,
            "max_tokens": TOKENS[number % len(TOKENS)],
            "steering": steering,
        }
        for number, text in enumerate(texts())
        for steering in ("auto", "sw", {"language": "tr", "strength": 2.0}, None)
    ]


def ask_alone(url: str) -> list[dict[str, Any]]:
    """What each is answered while nobody else asks."""
    import requests

    session = requests.Session()
    expected = []
    for body in bodies():
        reply = session.post(f"{url}/v1/completions", json=body, timeout=60)
        reply.raise_for_status()
        told = reply.json()
        vector = told["steering"]["vector"]
        expected.append({"body": body, "text": told["choices"][0]["text"], "vector": vector})
    return expected


def metrics(url: str) -> dict[str, float]:
    import requests

    lines = requests.get(f"{url}/metrics", timeout=60).text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def measure(users: int, seconds: int, folder: Path) -> dict[str, Any]:
    """Start the server, ask alone, ask with all clients, and say what came of it."""
    import psutil

    make_model(folder)
    command = [sys.executable, "-m", "langsteer", "serve", str(folder / "tiny"), "--port", "0"]
    command += ["-v", str(folder / "vectors"), "--rows", "16", "--queue", "128"]
    with open(folder / "log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stderr=log, stdout=log)
    try:
        url = _address(folder / "log", server)
        expected = ask_alone(url)
        (folder / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
        memory = psutil.Process(server.pid).memory_info
        before = memory().rss
        load = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("clients.py"))]
        load += ["--headless", "-u", str(users), "-r", str(users), "-t", f"{seconds}s"]
        load += ["--host", url, "--json", "--only-summary", "--exit-code-on-error", "0"]
        levels = _run(load, folder, lambda: memory().rss)
        again = ask_alone(url)
        told = metrics(url)
        return {
            "users": users,
            "seconds": seconds,
            **_summary(json.loads((folder / "load.json").read_text(encoding="utf-8"))),
            "same alone afterwards": again == expected,
            "rows left": told["langsteer_running_rows"] + told["langsteer_waiting_rows"],
            "rows of a pass, mean": round(
                told["langsteer_batch_rows_sum"] / told["langsteer_batch_rows_count"], 2
            ),
            "memory in MB": {
                "before": before // 2**20,
                "after a third": levels[len(levels) // 3] // 2**20,
                "at the end": levels[-1] // 2**20,
                "highest": max(levels) // 2**20,
            },
        }
    finally:
        server.terminate()
        server.wait(60)


def _run(load: list[str], folder: Path, level: Callable[[], int]) -> list[int]:
    """Run the clients; the level of memory at each second."""
    levels = []
    with (folder / "load.json").open("wb") as told, (folder / "load.log").open("wb") as log:
        environment = {**os.environ, ADDRESS: str(folder / "expected.json")}
        running = subprocess.Popen(load, env=environment, stdout=told, stderr=log)
        while running.poll() is None:
            time.sleep(1)
            levels.append(level())
    return levels


def _address(log: Path, server: "subprocess.Popen[bytes]") -> str:
    while server.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if "to try it in a browser: " in line:
                return line.rpartition(" ")[2].rstrip("/")
        time.sleep(0.1)
    raise SystemExit(log.read_text(encoding="utf-8"))


def _summary(entries: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {entry["name"]: entry["num_requests"] for entry in entries}
    failed = {entry["name"]: entry["num_failures"] for entry in entries if entry["num_failures"]}
    return {"answered or refused": counts, "errors": failed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=120)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(asked.users, asked.seconds, Path(folder))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
