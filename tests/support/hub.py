"""A stand-in for the Hugging Face Hub on this machine: the few routes that a push and a load use."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """Keeps the files of repositories in memory, by repository and name."""

    files: dict[tuple[str, str], bytes]
    created: dict[str, dict]
    tokens: set

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.tokens.add(self.headers.get("Authorization"))
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.created[name] = asked
            self._answer({"url": f"{self._address}/{name}"})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self._answer({"files": modes})
        elif path.endswith("/commit/main"):
            self._commit("/".join(path.split("/")[3:5]), body)
        else:
            self._answer({"error": f"no route {path}"}, 404)

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        name, data = "/".join(parts[:2]), None
        if len(parts) == 5 and parts[2] == "resolve":
            data = self.files.get((name, parts[4]))
        if data is None:
            known = any(repository == name for repository, _ in self.files)
            code = "EntryNotFound" if known else "RepoNotFound"
            self._answer({"error": "not found"}, 404, {"X-Error-Code": code})
            return
        etag = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self._send(data, 200, etag)

    do_HEAD = do_GET

    def _commit(self, name: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        for line in lines:
            if line["key"] == "file":
                value = line["value"]
                self.files[name, value["path"]] = base64.b64decode(value["content"])
        self._answer(
            {"success": True, "commitOid": COMMIT, "commitUrl": f"{self._address}/{name}/commit/{COMMIT}"}
        )

    @property
    def _address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def _answer(self, content: dict, status: int = 200, headers: dict | None = None) -> None:
        self._send(
            json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})}
        )

    def _send(self, data: bytes, status: int, headers: dict) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[type[Hub]]:
    """The stand-in, at the address in HF_ENDPOINT, with an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    handler = type("OfOneTest", (Hub,), {"files": {}, "created": {}, "tokens": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    # huggingface-hub reads the variable when it is imported
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    yield handler
    server.shutdown()
    server.server_close()
