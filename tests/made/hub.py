"""A stand-in of the Hugging Face hub's HTTP interface, on loopback: what uploads and downloads ask of it."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

SECONDS = 20  # that a request may take


@dataclass
class Hub:
    """What the stand-in holds, by repository and revision, and what it was asked for."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)  # user/repo@revision
    private: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)  # that came with what was asked, or none
    messages: list[str] = field(default_factory=list)  # of commits
    refuses: int = 0  # the status of each answer to an upload, where it is one

    def put(self, repository: str, files: dict[str, bytes], revision: str = "main") -> None:
        self.files[f"{repository}@{revision}"] = dict(files)
        self.private.setdefault(repository, False)

    def fetched(self) -> list[str]:
        """The names of files whose content was sent."""
        sent = (re.fullmatch(r"GET /[^/]+/[^/]+/resolve/[^/]+/(.+)", line) for line in self.asked)
        return sorted(match[1] for match in sent if match)


def commit_of(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    timeout = SECONDS

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.tokens.append((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "POST":
            self._upload(path, body)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._about(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tree(match[1], match[2])
        else:
            self._json({"error": "Not Found"}, 404)

    def _held(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and files of a revision, which may be the commit."""
        for name, files in self.hub.files.items():
            held, _, own = name.partition("@")
            if held == repository and revision in (own, commit_of(name)):
                return commit_of(name), files
        known = repository in self.hub.private
        code = "RevisionNotFound" if known else "RepoNotFound"
        self._json({"error": "not found"}, 404, {"X-Error-Code": code})
        return None

    def _about(self, repository: str, revision: str) -> None:
        if held := self._held(repository, revision):
            siblings = [{"rfilename": name} for name in held[1]]
            private = self.hub.private[repository]
            about = {"id": repository, "sha": held[0], "private": private, "siblings": siblings}
            self._json(about)

    def _tree(self, repository: str, revision: str) -> None:
        if held := self._held(repository, revision):
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": commit_of(name)}
                for name, data in held[1].items()
            ]
            self._json(entries)

    def _file(self, repository: str, revision: str, name: str) -> None:
        if held := self._held(repository, revision):
            data = held[1][name]
            etag = f'"{hashlib.sha1(data).hexdigest()}"'
            self._send(data, 200, {"ETag": etag, "X-Repo-Commit": held[0]})

    def _upload(self, path: str, body: bytes) -> None:
        if self.hub.refuses:
            self._json({"error": "no"}, self.hub.refuses)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            status = 409 if repository in self.hub.private else 200
            if status == 200:
                self.hub.put(repository, {})
                self.hub.private[repository] = private
            self._json({"url": f"{self.hub.url}/{repository}", "id": repository}, status)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/([^/]+)", path):
            branch = f"{match[1]}@{match[2]}"
            self.hub.files.setdefault(branch, dict(self.hub.files[f"{match[1]}@main"]))
            self._json({"ref": f"refs/heads/{match[2]}"})
        elif re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", path):
            names = [entry["path"] for entry in json.loads(body)["files"]]
            modes = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            self._json({"files": modes})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            self._commit(match[1], match[2], body)
        else:
            self._json({"error": "Not Found"}, 404)

    def _commit(self, repository: str, revision: str, body: bytes) -> None:
        name = f"{repository}@{revision}"
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                value = line["value"]
                self.hub.files[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "header":
                self.hub.messages.append(line["value"]["summary"])
        url = f"{self.hub.url}/{repository}/commit/{commit_of(name)}"
        self._json({"commitUrl": url, "commitOid": commit_of(name), "success": True})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        more = {"Content-Type": "application/json", **(headers or {})}
        self._send(json.dumps(value).encode(), status, more)

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """The stand-in, answering on a port of its own until the end of the block."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(SECONDS)
