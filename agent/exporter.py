"""The agent's HTTP server: /metrics for Prometheus, /healthz and /readyz for the kubelet.

/healthz is 200 while readings come, and 503 once the last one is overdue: the kubelet starts the agent again then. It
is 503 too when the driver was changed and stays so for that long: a container has the library of the driver that was
there when it started, and only a new container is given the new library.

/readyz is 200 from the first reading on, while readings come. A reading that is overdue is shown no longer, because a
value that nobody measures any more would look like a measured one.
"""

import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from agent import counters
from agent.metrics import CONTENT_TYPE, ReadingCollector, exposition
from agent.readings import NodeReading
from agent.settings import Address
from shared.errors import ConfigurationError
from shared.models.telemetry import NodeState

REQUEST_TIMEOUT = 5.0
"""Seconds that a client may take for its request, and for taking the answer."""

logger = logging.getLogger("sentinel.agent.exporter")


class Exporter:
    """Serves what it was shown last.

    overdue_after: seconds after which a reading is too old. others: metrics of other parts of the agent, besides
    those that are counted in this process. clock: seconds, monotonic.
    """

    def __init__(
        self,
        address: Address,
        *,
        overdue_after: float,
        others: tuple[Collector, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._overdue_after = overdue_after
        self._clock = clock
        self._registry = CollectorRegistry()
        for collector in (ReadingCollector(lambda: self._latest if self._is_fresh() else None), *others):
            self._registry.register(collector)
        self._latest: NodeReading | None = None
        self._fresh_until = self._usable_until = clock() + overdue_after
        self._server: _Server | None = None

    def start(self, inherited: socket.socket | None = None) -> Address:
        """Serves at the address, or on a socket that listens already, and returns where.

        Raises ConfigurationError for an address that it cannot have.
        """
        try:
            self._server = _Server(self._address, self, inherited)
        except OSError as error:
            where = f"{self._address.host}:{self._address.port}"
            raise ConfigurationError(f"EXPORTER_ADDRESS: cannot listen on {where}: {error.strerror}") from None
        self._server.start()
        return self._server.listens_at

    def show(self, reading: NodeReading) -> None:
        """Takes the place of the reading before."""
        self._latest = reading
        self._fresh_until = self._clock() + self._overdue_after
        if reading.state is not NodeState.DRIVER_CHANGED:
            self._usable_until = self._fresh_until

    def close(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.stop()

    @property
    def unhealthy(self) -> str | None:
        """Why the agent must start again, or None."""
        if not self._is_fresh():
            return "the last reading is overdue"
        if self._clock() > self._usable_until:
            return "the driver was changed, and this agent has the library of the old one"
        return None

    @property
    def unready(self) -> str | None:
        """Why there is nothing to show, or None."""
        return None if self._latest and self._is_fresh() else "there is no reading yet, or it is overdue"

    def exposition(self) -> bytes:
        """The metrics in the text format."""
        return exposition(self._registry) + counters.exposition()[0]

    def _is_fresh(self) -> bool:
        """Whether a reading came in time; before the first one, whether it still may."""
        return self._clock() <= self._fresh_until


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: Address, exporter: Exporter, inherited: socket.socket | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.exporter = exporter
        super().__init__((address.host, address.port), _Handler, bind_and_activate=inherited is None)
        if inherited is not None:
            self.socket.close()
            self.socket = inherited
            self.server_address = inherited.getsockname()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="exporter", daemon=True)

    @property
    def listens_at(self) -> Address:
        host, port = self.server_address[:2]
        return Address(str(host), int(port))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        with suppress(OSError):  # it waits for a request, so it gets one
            socket.create_connection((self.listens_at.host, self.listens_at.port), timeout=1).close()
        self._thread.join(1)
        self.server_close()

    def _serve(self) -> None:
        """Unlike serve_forever it does not wake up twice a second to ask whether it is to stop."""
        while not self._stopping:
            self.handle_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or took too long, is no defect."""
        logger.debug("a request from %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT
    server: _Server
    server_version = "sentinel-agent"
    sys_version = ""

    def do_GET(self) -> None:
        exporter = self.server.exporter
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(HTTPStatus.OK, exporter.exposition(), CONTENT_TYPE)
            case "/healthz":
                self._probe(exporter.unhealthy)
            case "/readyz":
                self._probe(exporter.unready)
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"try /metrics, /healthz or /readyz\n")

    def _probe(self, problem: str | None) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
        self._answer(status, f"{problem or 'ok'}\n".encode())

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        logger.debug(format, *args)
