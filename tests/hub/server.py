"""A small Hub on loopback: the part of its API that huggingface_hub uses, with faults on demand.

Files answer as large ones do at the real Hub: ``resolve`` redirects to another
host (the CDN) and carries the metadata in its headers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

EVER = 10**6


@dataclass
class Fault:
    """One thing that goes wrong, for the next ``times`` requests of a method."""

    method: str
    times: int
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stall: bool = False
    cut: int | None = None
    flip: bool = False


@dataclass
class Hub:
    """What the server holds, what it was asked, and what shall go wrong next."""

    port: int = 0
    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)  # repo -> commit -> file -> bytes
    refs: dict[str, dict[str, str]] = field(default_factory=dict)  # repo -> branch -> commit
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    large: dict[str, bytes] = field(default_factory=dict)  # what was uploaded as a large file, by its SHA-256
    tokens: set[str] = field(default_factory=set)  # those that may write

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cdn(self) -> str:
        """The same server under another name, so that the library sees another host."""
        return f"http://localhost:{self.port}"

    def push(self, repo: str, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Commit files to a branch; return the commit."""
        content = repr((repo, branch, sorted(files.items()), len(self.repos.get(repo, {}))))
        commit = hashlib.sha1(content.encode()).hexdigest()
        self.repos.setdefault(repo, {})[commit] = dict(files)
        self.refs.setdefault(repo, {})[branch] = commit
        return commit

    def fail(self, method: str = "HEAD", times: int = EVER, **fault: object) -> None:
        self.faults.append(Fault(method, times, **fault))  # type: ignore[arg-type]

    def heal(self) -> None:
        self.faults.clear()

    def asked(self, method: str) -> int:
        return sum(found == method for found, _ in self.requests)

    def next_fault(self, method: str) -> Fault:
        for fault in self.faults:
            if fault.method == method and fault.times > 0:
                fault.times -= 1
                return fault
        return Fault(method, 0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._take("POST")

    def do_PUT(self) -> None:
        self._take("PUT")

    def _take(self, method: str) -> None:
        """Answer what ``create_repo`` and ``create_commit`` ask: small files in the commit, large ones before it."""
        sent = self._body()
        self.hub.requests.append((method, self.path))
        fault = self.hub.next_fault(method)
        if fault.status:
            return self._send(fault.status, fault.headers, b'{"error": "as told"}')
        path = unquote(self.path)
        if path.startswith("/upload/"):  # the address that was handed out stands for the right to use it
            self.hub.large[path.removeprefix("/upload/")] = sent
            return self._send(200, {})
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.hub.tokens:
            return self._send(401, {}, b'{"error": "who are you?"}')
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(sent)
            repo = f"{asked['organization']}/{asked['name']}"
            self.hub.repos.setdefault(repo, {})
            self.hub.refs.setdefault(repo, {})
            return self._json({"url": f"{self.hub.endpoint}/{repo}"})
        if path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(sent)["objects"]
            put = [
                {**one, "actions": {"upload": {"href": f"{self.hub.endpoint}/upload/{one['oid']}"}}} for one in wanted
            ]
            return self._json({"transfer": "basic", "objects": put})
        repo, _, what = path.removeprefix("/api/models/").rpartition("/main")[0].rpartition("/")
        if what == "preupload":
            names = [(one["path"], one["path"].endswith(".safetensors")) for one in json.loads(sent)["files"]]
            modes = [{"path": n, "uploadMode": "lfs" if big else "regular", "shouldIgnore": False} for n, big in names]
            return self._json({"files": modes})
        if what == "commit":
            return self._commit(repo, [json.loads(line) for line in sent.splitlines()])
        return self._send(404, {})

    def _commit(self, repo: str, lines: list[dict[str, dict[str, str]]]) -> None:
        before = self.hub.repos[repo].get(self.hub.refs[repo].get("main", ""), {})
        files = dict(before)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":  # type: ignore[comparison-overlap]
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":  # type: ignore[comparison-overlap]
                files[value["path"]] = self.hub.large[value["oid"]]
        commit = self.hub.push(repo, files)
        self._json({"commitUrl": f"{self.hub.endpoint}/{repo}/commit/{commit}", "commitOid": commit})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        sent = b""
        while size := int(self.rfile.readline(), 16):
            sent += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return sent

    def _json(self, data: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(data).encode())

    def log_message(self, *args: object) -> None:
        """Keep the test output clean."""

    def _answer(self, method: str) -> None:
        self.hub.requests.append((method, self.path))
        fault = self.hub.next_fault(method)
        if fault.stall:
            self.hub.stop.wait(5)
            self.close_connection = True
            return
        if fault.status:
            self._send(fault.status, fault.headers, b'{"error": "as told"}')
            return
        path = unquote(self.path)
        if path.startswith("/api/models/"):
            self._info(path)
        elif path.startswith("/cdn/"):
            self._content(path.removeprefix("/cdn/"), fault)
        else:
            self._resolve(path)

    def _find(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if repo not in self.hub.repos:
            self._send(404, {"X-Error-Code": "RepoNotFound"})
            return None
        commit = self.hub.refs[repo].get(revision, revision)
        if commit not in self.hub.repos[repo]:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit, self.hub.repos[repo][commit]

    def _info(self, path: str) -> None:
        repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
        if found := self._find(repo, revision or "main"):
            commit, files = found
            info = {"id": repo, "modelId": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
            self._send(200, {"Content-Type": "application/json"}, json.dumps(info).encode())

    def _resolve(self, path: str) -> None:
        repo, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if not (found := self._find(repo, revision)):
            return
        commit, files = found
        if name not in files:
            self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        content = files[name]
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Location": f"{self.hub.cdn}/cdn/{repo}/{commit}/{name}",
        }
        self._send(302, headers)

    def _content(self, path: str, fault: Fault) -> None:
        owner, repo, commit, name = path.split("/", 3)
        whole = self.hub.repos[f"{owner}/{repo}"][commit][name]
        if fault.flip:
            whole = whole[:-1] + bytes([whole[-1] ^ 1])
        begin = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        headers = {"Content-Range": f"bytes {begin}-{len(whole) - 1}/{len(whole)}"} if begin else {}
        self._send(206 if begin else 200, headers, whole[begin:], cut=fault.cut)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes = b"", cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is what several tests are about."""


@contextmanager
def serving() -> Iterator[Hub]:
    """Run a Hub until the block ends."""
    hub = Hub()
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    with Server(("127.0.0.1", 0), handler) as server:
        hub.port = server.server_port
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield hub
        finally:
            hub.stop.set()
            server.shutdown()
