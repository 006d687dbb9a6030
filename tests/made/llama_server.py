"""A stand-in of llama.cpp's server: a program of the same name that answers as it does, of no model.

It takes the arguments that langsteer gives, lists the sections of a preset, and says in its answers what it was
asked, so that a test can see what came through. Its log-probabilities are of the tokens 5, 6 and 7.
"""

import sys
from pathlib import Path

SOURCE = '''
import configparser, http.server, json, math, os, sys

if "--version" in sys.argv:
    print("version: 4321 (abcdef0)", file=sys.stderr)
    sys.exit()
arguments = dict(zip(sys.argv[1:], sys.argv[2:]))
if "broken" in arguments.get("--model", ""):
    print("error: failed to load model")
    sys.exit(1)
names = [None]
if "--models-preset" in arguments:
    reader = configparser.ConfigParser(interpolation=None)
    reader.read_string("[global]\\n" + open(arguments["--models-preset"]).read())
    names = [name for name in reader.sections() if name != "global"]
KEY = os.environ.get("LLAMA_API_KEY")
LOGPROBS = {5: -0.5, 6: -1.5, 7: -2.5}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        print(self.command, self.path, flush=True)

    def reply(self, value, status=200):
        self.send(json.dumps(value).encode(), "application/json", status)

    def send(self, body, kind, status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, message, status):
        self.reply({"error": {"message": message, "code": status, "type": "invalid_request_error"}}, status)

    def do_GET(self):
        if self.path == "/health":
            return self.reply({"status": "ok"})
        self.reply({"data": [{"id": name} for name in names]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = body.get("model")
        if KEY and self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.refuse("Invalid API Key", 401)
        if model not in names:
            return self.refuse(f"model '{model}' not found", 400)
        if self.path == "/completion":
            moved = steers(model)
            listed = [{"id": i, "logprob": p - moved * (i - 5)} for i, p in LOGPROBS.items()]
            place = {"id": 5, "logprob": -0.5, "top_logprobs": listed}
            return self.reply({"completion_probabilities": [place] * body["n_predict"]})
        if body.get("max_tokens") == 13:
            return self.refuse("thirteen is too many", 400)
        choice = {"index": 0, "text": json.dumps(body), "finish_reason": "stop"}
        whole = {"object": "text_completion", "model": model, "choices": [choice], "path": self.path}
        if not body.get("stream"):
            return self.reply(whole)
        parts = [{**whole, "choices": [{**choice, "text": t, "finish_reason": None}]} for t in "abc"]
        events = [f"data: {json.dumps(part)}\\n\\n" for part in [*parts, whole]]
        self.send("".join([*events, "data: [DONE]\\n\\n"]).encode(), "text/event-stream")


def steers(model):
    """How far a section with a vector moves what it says; one of the language xx takes none."""
    if model is None:
        return float("--control-vector" in arguments)
    return float("control-vector-scaled" in reader[model] and not model.endswith("-xx"))


port = int(arguments["--port"])
http.server.ThreadingHTTPServer((arguments["--host"], port), Handler).serve_forever()
'''


def write_program(folder: Path) -> Path:
    """The program, in a folder."""
    file = folder / "llama-server"
    file.write_text(f"#!{sys.executable}\n{SOURCE}")
    file.chmod(0o755)
    return file
