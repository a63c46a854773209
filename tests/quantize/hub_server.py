"""A small Hub on this machine: real HTTP over the loopback interface, answering as huggingface.co does.

    with Hub({"maker/model": Repo({"config.json": b"{}", "model.safetensors": weights})}) as hub:
        ...                                     # with HF_ENDPOINT=hub.url
        hub.fail("model.safetensors", cut_after=1000)
        assert hub.gets("model.safetensors")[-1].range == "bytes=1000-"

Weights are "in LFS": they are served from a second address, the CDN, with a redirect that carries their hash. Other
files are in git and come from the Hub itself, after a redirect within it, as they do since 2025. Answers and headers
are those that huggingface_hub 2.4.0 reads; a test lets it download from here.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

TOKEN = "hf_aTokenThatIsKnown"  # its account has accepted every licence
OTHER_TOKEN = "hf_aTokenWithoutAccess"  # it is known, but its account has accepted none


@dataclass
class Repo:
    """A repository of the Hub: files by name, all in one commit."""

    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    license: str | None = "apache-2.0"
    weights_by_type: dict[str, int] = field(default_factory=dict)

    swapped: dict[str, bytes] = field(default_factory=dict)
    """Content that is served instead of what the lists and headers announce."""

    @property
    def commit(self) -> str:
        """Changes with the files."""
        digest = hashlib.sha1()
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + hashlib.sha1(content).digest())
        return digest.hexdigest()


@dataclass
class Seen:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0

    @property
    def range(self) -> str | None:
        """What part was asked for."""
        return self.headers.get("range")

    @property
    def token(self) -> str | None:
        """The token that came along; a mirror's user name and password are none."""
        sent = self.headers.get("authorization", "")
        return sent if sent.startswith("Bearer ") else None


@dataclass
class _Failure:
    where: str
    times: int
    status: int | None
    headers: dict[str, str]
    body: bytes | None
    cut_after: int | None


class Hub:
    """A Hub that serves `repos` until it is left. `requests` holds what arrived, in order."""

    def __init__(self, repos: Mapping[str, Repo]) -> None:
        self.repos = dict(repos)
        self.requests: list[Seen] = []
        self.ignore_ranges = False
        """Answer a request for a part with the whole, as some proxies do."""
        self.chunked = False
        """Send content in chunks, without its length."""
        self._failures: list[_Failure] = []
        self._lock = threading.Lock()
        self._servers: list[_Server] = []

    def __enter__(self) -> Hub:
        self._servers = [_Server(self, "hub"), _Server(self, "cdn")]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.end()

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn_url(self) -> str:
        """Where large files are served: on another host, as far as a client can tell."""
        return f"http://localhost:{self._servers[1].server_port}"

    def fail(
        self,
        where: str,
        *,
        times: int = 1,
        status: int | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        cut_after: int | None = None,
    ) -> None:
        """Answer the next `times` requests for a path with `where` in it otherwise.

        With `status` or `body` that is the answer (200 unless said otherwise); with `cut_after` the content breaks
        off after so many bytes of an answer with content. A redirect is a request of its own: name "/cdn/" or
        "/resolve/" in `where` to mean one of the two.
        """
        self._failures.append(_Failure(where, times, status, headers or {}, body, cut_after))

    def gets(self, where: str = "") -> list[Seen]:
        """The requests for content whose path has `where` in it and that were answered with content."""
        return [
            seen
            for seen in self.requests
            if seen.method == "GET" and where in seen.path and seen.status in (200, 206)
        ]

    def downloaded(self) -> set[str]:
        """Names of the files whose content was sent, with their folders in the repository."""
        found = (re.search(r"/(?:cdn|resolve-cache)/.*/[0-9a-f]{40}/(.*)", s.path) for s in self.gets())
        return {match[1].partition("?")[0] for match in found if match}

    def next_failure(self, path: str, *, content: bool) -> _Failure | None:
        """The failure that a request for `path` is to have; those that cut need an answer with `content`."""
        with self._lock:
            for failure in self._failures:
                if failure.where in path and failure.times and (content or failure.cut_after is None):
                    failure.times -= 1
                    return failure
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub, role: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.role = role
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        self._open.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of the tests."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    seen: Seen

    def log_message(self, *_: object) -> None:
        """Tests look at `Hub.requests`."""

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = urlsplit(self.path)
        name = unquote(path.path)
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.seen = Seen(self.command, name, headers)
        self.server.hub.requests.append(self.seen)
        failure = self.server.hub.next_failure(name, content=False)
        if failure is not None:
            body = failure.body if failure.body is not None else b'{"error":"as the test wants it"}'
            self._send(failure.status or 200, body, {"Content-Type": "text/html", **failure.headers})
        elif self.server.role == "cdn":
            self._cdn(name)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", name):
            self._api(match[1], match[2] or "revision", match[3] or "main", parse_qs(path.query))
        elif match := re.fullmatch(r"/api/resolve-cache/models/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)", name):
            self._git_file(match[1], match[3])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", name):
            self._resolve(match[1], match[2], match[3])
        else:
            self._send(404, b"<!DOCTYPE html><h1>404</h1>", {"Content-Type": "text/html"})

    # --- what may be seen by whom

    def _repo(self, name: str) -> Repo | None:
        """The repository if the sender may know of it; else the answer has been given."""
        sent = self.seen.token
        if sent is not None and sent not in (f"Bearer {TOKEN}", f"Bearer {OTHER_TOKEN}"):
            self._refuse(401, None, "Invalid credentials in Authorization header")
            return None
        repo = self.server.hub.repos.get(name)
        if repo is None or (repo.private and sent != f"Bearer {TOKEN}"):
            # Without a token nobody is told whether it exists.
            self._refuse(404 if sent else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    def _may_read(self, repo: Repo, name: str) -> bool:
        if not repo.gated or self.seen.token == f"Bearer {TOKEN}":
            return True
        if self.seen.token is None:
            self._refuse(401, "GatedRepo", f"Access to model {name} is restricted. Please log in.")
        else:
            self._refuse(
                403, "GatedRepo", f"You are not in the authorized list. Visit {name} to ask for access."
            )
        return False

    # --- the answers

    def _api(self, name: str, what: str, rest: str, query: dict[str, list[str]]) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        revision = rest if what == "revision" else rest.partition("/")[0]
        if revision not in ("main", repo.commit):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif what == "tree":
            self._send_json([_tree_entry(file, content) for file, content in sorted(repo.files.items())])
        else:
            blobs = query.get("blobs", [""])[0].lower() == "true"
            entries = [_sibling(file, content, blobs) for file, content in sorted(repo.files.items())]
            self._send_json(
                {
                    "_id": "65f0c0ffee",
                    "id": name,
                    "modelId": name,
                    "sha": repo.commit,
                    "private": repo.private,
                    "gated": "manual" if repo.gated else False,
                    "disabled": False,
                    "tags": ["gguf"],
                    "cardData": {"license": repo.license} if repo.license else {},
                    "siblings": entries,
                    **({"safetensors": {"parameters": repo.weights_by_type}} if repo.weights_by_type else {}),
                }
            )

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repo = self._repo(name)
        if repo is None or not self._may_read(repo, name):
            return None
        if revision not in ("main", repo.commit):
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if file not in repo.files:
            return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repo.commit})
        content = repo.files[file]
        hashed = {
            "X-Repo-Commit": repo.commit,
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{_etag(file, content)}"',
        }
        if _in_lfs(file):
            target = (
                f"{self.server.hub.cdn_url}/cdn/{name}/{repo.commit}/{quote(file)}?X-Amz-Signature=secret"
            )
            return self._send(302, b"Found. Redirecting", {**hashed, "Location": target})
        target = f"/api/resolve-cache/models/{name}/{repo.commit}/{quote(file)}?etag=x"
        return self._send(307, b"Temporary Redirect", {**hashed, "Location": target})

    def _git_file(self, name: str, file: str) -> None:
        repo = self._repo(name)
        if repo is not None and self._may_read(repo, name):
            headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{_etag(file, repo.files[file])}"'}
            self._send_content(repo.swapped.get(file, repo.files[file]), headers)

    def _cdn(self, path: str) -> None:
        match = re.fullmatch(r"/cdn/([^/]+/[^/]+)/[0-9a-f]{40}/(.+)", path)
        assert match is not None
        repo = self.server.hub.repos[match[1]]
        content = repo.swapped.get(match[2], repo.files[match[2]])
        self._send_content(content, {"ETag": f'"{hashlib.md5(content).hexdigest()}"'})

    def _send_content(self, content: bytes, headers: dict[str, str]) -> None:
        start, status, ranged = 0, 200, {"Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-", self.seen.range or "")
        if self.server.hub.ignore_ranges:
            asked = None
        if asked:
            start, status = int(asked[1]), 206
            if start >= len(content):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            ranged["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._send(status, content[start:], {**headers, **ranged}, content=True)

    def _refuse(
        self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None
    ) -> None:
        coded = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self._send(status, json.dumps({"error": message}).encode(), coded)

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, content: bool = False) -> None:
        self.seen.status = status
        self.send_response(status)
        chunked = content and self.server.hub.chunked
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
        for key, value in {**framing, **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        cut = self.server.hub.next_failure(self.seen.path, content=True) if content else None
        self.wfile.write(body if cut is None else body[: cut.cut_after])
        if cut is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True


def _in_lfs(name: str) -> bool:
    return name.endswith((".gguf", ".safetensors", "tokenizer.json"))


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _etag(name: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if _in_lfs(name) else _git_oid(content)


def _pointer(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


def _sibling(name: str, content: bytes, blobs: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": name}
    if not blobs:
        return entry
    entry |= {"size": len(content), "blobId": _git_oid(_pointer(content) if _in_lfs(name) else content)}
    if _in_lfs(name):
        entry["lfs"] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "pointerSize": len(_pointer(content)),
        }
    return entry


def _tree_entry(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _git_oid(content)}
    if _in_lfs(name):
        entry["oid"] = _git_oid(_pointer(content))
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": len(_pointer(content))}
    return entry
