"""API servers that answer what a test says, over real HTTP, and remember what they were asked."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shared.clusters.kubeconfig import Connection
from shared.clusters.kubernetes import KubernetesDriver
from shared.clusters.transport import Transport


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class ScriptedServer:
    """Answers requests from a list, in order; the last answer repeats."""

    url: str
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def will(self, status: int, body: Any) -> "ScriptedServer":
        """The next answer: a JSON object, or bytes as they are."""
        self.answers.append((status, body if isinstance(body, bytes) else json.dumps(body).encode()))
        return self

    def driver(self) -> KubernetesDriver:
        return KubernetesDriver(Transport("eu", Connection(self.url, token="t"), loopback=True))


def status(code: int, message: str = "", **details: Any) -> dict[str, Any]:
    """A Status as API servers send it."""
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message, "details": details}


@contextmanager
def scripted_server(tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            script.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            code, content = script.answers[min(len(script.asked), len(script.answers)) - 1]
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any, **__: Any) -> None:
            """Silence."""

    for method in ("GET", "POST", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    script = ScriptedServer(f"{scheme}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
