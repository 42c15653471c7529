"""A Prometheus for tests: one that answers what a test says, and Debian's, which collects from what a test serves."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

from knative.local.tools.observe import prometheus_command

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs prometheus, of Debian's package prometheus"
)

Value = float | Callable[[float], float | None]
"""What a series has at every moment, or at a moment in Unix seconds."""

Fault = tuple[int, bytes] | str
"""A status and a body, or `hang`, `reset` and `drip`."""


@dataclass
class FakePrometheus:
    """Answers queries that it knows, and nothing to any other, at its own clock.

    asked: the PromQL of each query, in order. ahead: the seconds by which its clock is ahead of this machine's. faults:
    what becomes of the next queries, lasting: of all; broken: a query that cannot be computed.
    """

    url: str
    asked: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    ahead: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    lasting: Fault | None = None
    broken: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    _known: dict[str, list[tuple[dict[str, str], Value]]] = field(default_factory=dict)
    _released: threading.Event = field(default_factory=threading.Event)

    def knows(self, promql: str, value: Value, **labels: str) -> FakePrometheus:
        """Adds a series to the answer of a query."""
        self._known.setdefault(promql, []).append((labels, value))
        return self

    def release(self) -> None:
        """Ends what hangs."""
        self._released.set()

    def times(self, *promql: str) -> int:
        """How often one of these was asked; without any, how many queries there were but for those of the time."""
        return sum(one in promql if promql else one != "time()" for one in self.asked)

    def answer(self, path: str, form: Mapping[str, str]) -> Fault:
        promql = form["query"]
        self.asked.append(promql)
        self.paths.append(path)
        if self.lasting is not None:
            return self.lasting
        if promql == self.broken:
            return 422, b'{"status": "error", "errorType": "execution", "error": "too many samples"}'
        if self.faults:
            return self.faults.pop(0)
        now = time.time() + self.ahead
        if promql == "time()":
            data = {"resultType": "scalar", "result": [now, str(now)]}
        elif path.endswith("query_range"):
            start, end, step = (float(form[name]) for name in ("start", "end", "step"))
            moments = [start + at * step for at in range(int((end - start) / step) + 1)]
            found = [(labels, _values(value, moments)) for labels, value in self._known.get(promql, [])]
            result = [{"metric": labels, "values": values} for labels, values in found if values]
            data = {"resultType": "matrix", "result": result}
        else:
            at = float(form.get("time", now))
            found = [(labels, _values(value, [at])) for labels, value in self._known.get(promql, [])]
            result = [{"metric": labels, "value": values[0]} for labels, values in found if values]
            data = {"resultType": "vector", "result": result}
        return 200, json.dumps({"status": "success", "data": data, **self.extra}).encode()


def _values(value: Value, moments: Sequence[float]) -> list[Any]:
    at = ((moment, value(moment) if callable(value) else value) for moment in moments)
    return [[moment, str(one)] for moment, one in at if one is not None]


@contextmanager
def fake_prometheus(
    kind: type[FakePrometheus] = FakePrometheus, *, tls: ssl.SSLContext | None = None
) -> Iterator[FakePrometheus]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            fake.headers.append({name.lower(): value for name, value in self.headers.items()})
            match fake.answer(self.path, {name: one[0] for name, one in parse_qs(body).items()}):
                case "hang":
                    fake._released.wait(60)
                    self.close_connection = True
                case "reset":
                    # With linger 0 a close is a reset.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True
                case "drip":
                    self.send_response(200)
                    self.send_header("content-length", "1000000")
                    self.end_headers()
                    while not fake._released.wait(0.01):
                        self.wfile.write(b" ")
                        self.wfile.flush()
                case (int(status), bytes(content)):
                    self.send_response(status)
                    if 300 <= status < 400:
                        self.send_header("location", "http://127.0.0.1:9/elsewhere")
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    fake = kind(f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        fake.release()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def real_prometheus(
    directory: Path, *, targets: Mapping[str, Mapping[str, str]] | None = None, interval: str = "1s"
) -> Iterator[str]:
    """The URL of Debian's Prometheus. targets: labels of what it collects from, by host:port."""
    program = shutil.which("prometheus")
    assert program is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = directory / "prometheus.yaml"
    listed = [{"targets": [target], "labels": dict(labels)} for target, labels in (targets or {}).items()]
    scraped = [{"job_name": "workloads", "honor_labels": True, "static_configs": listed}] if listed else []
    timing = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    config.write_text(yaml.safe_dump({"global": timing, "scrape_configs": scraped}))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(prometheus_command(program, config, directory, port), stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while True:
        assert process.poll() is None
        assert time.monotonic() < end
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.02)
