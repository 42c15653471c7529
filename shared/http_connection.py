"""One HTTP/1.1 connection: httptools reads the answers (RFC 9112), a socket carries the bytes.

http.client reads the headers of an answer with the parser of e-mails, at ten times the CPU of the rest of a small
request, and takes longer to import than all of a cold command; so do urllib3 and h11. TLS is imported by who needs it.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from shared.errors import SentinelError

if TYPE_CHECKING:
    import ssl

_PIECE = 65536
_BAD_CHARACTER = "the target or a header has a character that HTTP does not allow"


class NoHttp(SentinelError):
    """The answer, or what was to be sent, is not HTTP/1.1."""


class Response(NamedTuple):
    """The final answer to a request. headers: lower-case names, the last of equal ones."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpConnection:
    """A connection that is open until `close`, and sends one request after the other.

    tls: None for plain HTTP. connecting, answering: seconds to connect, and to wait for each piece of an answer.
    """

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None, *, connecting: float, answering: float
    ) -> None:
        """Connects. Raises OSError, of which TimeoutError and ssl.SSLError are kinds."""
        self._socket = socket.create_connection((host, port), connecting)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=host)
            self._socket.settimeout(answering)
        except BaseException:
            self._socket.close()
            raise
        self.reusable = True
        """Whether another request may be sent."""

    @property
    def was_ended(self) -> bool:
        """Whether the other side has ended a connection that waits for no answer: nothing else comes to one."""
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        return bool(waiting.poll(0))

    def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> Response:
        """Sends a request, with `content-length` where it has a body, and reads the answer whole.

        headers: `host` among them. Raises OSError and NoHttp; the connection is not reusable then.
        """
        self.reusable = False
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        # A line break would begin another header or another request, and a space ends the target.
        if " " in target or not "".join(lines).isprintable():
            raise NoHttp(_BAD_CHARACTER)
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        try:
            head = "\r\n".join((*lines, "", "")).encode("latin-1")
        except UnicodeEncodeError:
            raise NoHttp(_BAD_CHARACTER) from None
        self._socket.sendall(head + body if body else head)
        answer = _Answer()
        try:
            while not answer.complete and (data := self._socket.recv(_PIECE)):
                answer.take(data)
            response, self.reusable = answer.end()
        except (HttpParserError, HttpParserUpgrade) as error:
            raise NoHttp(str(error)) from None
        finally:
            answer.release()
        return response

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()


class _Answer:
    """What has come of the answer to one request. An interim answer (RFC 9110, section 15.2) is passed over."""

    def __init__(self) -> None:
        self.complete = False
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._keeps_alive = False

    def take(self, data: bytes) -> None:
        """Raises HttpParserError and HttpParserUpgrade."""
        assert self._parser is not None
        self._parser.feed_data(data)

    def end(self) -> tuple[Response, bool]:
        """The answer, and whether the connection may be used again.

        Raises ConnectionResetError when the connection has ended before the answer. An answer without a length ends
        with its connection (RFC 9112, section 6.3).
        """
        endless = self._status and not self._headers.keys() & {"content-length", "transfer-encoding"}
        if not self.complete and not endless:
            raise ConnectionResetError("the connection has ended before the answer")
        return Response(self._status, self._headers, b"".join(self._body)), self._keeps_alive

    def release(self) -> None:
        """The parser and what it calls hold each other, which would keep both until the garbage is collected."""
        self._parser = None

    def on_message_begin(self) -> None:
        if self.complete:
            raise HttpParserError("there is more than one answer")
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        self._status = status if status >= 200 else 0

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        self.complete = bool(self._status)
        self._keeps_alive = self._parser.should_keep_alive()
