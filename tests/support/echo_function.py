"""A small real function process for tests: serves the inherited socket (descriptor 3) and dies with its parent.

Behaviour is asked for by the environment: START_SECONDS delays its first answer, EXIT makes it exit at once with that
code. `GET /env` answers its environment, `/pid` its process id, `/exit` kills it in the middle of the request, `/echo`
answers what it received; `/hold` answers when the file HOLD exists; `/stream` sends a first line at once, and a last
one when the file HOLD exists, or breaks off there when the query is `break`; a posted event of type `x` is answered
with one of type `x.replied`, and appended as a line to the file RECEIVED.
"""

import json
import os
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from shared.processes import follow_parent


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.split("?")[0]
        if path == "/exit":
            os._exit(3)
        if path == "/hold":
            while not Path(os.environ["HOLD"]).exists():
                time.sleep(0.01)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answers = {
            "/env": dict(os.environ),
            "/pid": os.getpid(),
            "/echo": {"method": self.command, "path": self.path, "body": body.decode("latin-1"), "headers": headers},
        }
        if kind := self.headers.get("ce-type"):
            self._receive(kind)
        elif path == "/stream":
            self._stream()
        elif path == "/redirect":
            self._answer(302, b"", {"location": "http://elsewhere.test/"})
        else:
            self._answer(200, json.dumps(answers.get(path, "ok")).encode(), {"content-type": "application/json"})

    do_POST = do_PUT = do_GET  # noqa: N815  # the standard library's names

    def _receive(self, kind: str) -> None:
        if received := os.environ.get("RECEIVED"):
            with Path(received).open("a") as file:
                file.write(self.headers["ce-id"] + "\n")
        if kind.endswith(".replied") or "prefer" not in self.headers:
            self._answer(202, b"", {})
        else:
            number = {"ce-id": self.headers["ce-id"] + "r", "ce-type": kind + ".replied"}
            self._answer(200, b"{}", {"ce-specversion": "1.0", "ce-source": "/function", "ce-subject": "s", **number})

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for line in (b"first\n", b"last\n"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
            while not Path(os.environ["HOLD"]).exists():
                time.sleep(0.01)
            if self.path.endswith("?break"):
                os._exit(3)
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    follow_parent()
    print("starting", flush=True)
    if "EXIT" in os.environ:
        sys.exit(int(os.environ["EXIT"]))
    time.sleep(float(os.environ.get("START_SECONDS", "0")))
    assert os.environ["LISTEN_FDS"] == "1"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=3)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
