"""One HTTP/1.1 connection: h11 for the protocol, a socket for the bytes.

A command waits for its imports longer than for the server. http.client brings the parser of e-mails and TLS along,
which takes three times as long as h11; urllib3 takes four times as long. TLS is imported for https:// alone.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import h11

if TYPE_CHECKING:
    import ssl

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_PIECE = 65536


class Response(NamedTuple):
    """The final answer to a request. headers: lower-case names, the last of equal ones."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpConnection:
    """A connection that is open until `close`, and sends one request after the other."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Connects. Raises OSError, of which TimeoutError and ssl.SSLError are kinds."""
        self._http = h11.Connection(h11.CLIENT)
        self._socket = socket.create_connection((host, port), _CONNECT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=host)
            self._socket.settimeout(_ANSWER_SECONDS)
        except BaseException:
            self.close()
            raise

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        return self._http.our_state is h11.IDLE

    def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """Sends a request and reads the answer whole. Raises OSError, and h11.ProtocolError for what is not HTTP."""
        sent = {**headers, "content-length": str(len(body))} if body is not None else headers
        message = self._http.send(h11.Request(method=method, target=target, headers=list(sent.items()))) or b""
        message += self._http.send(h11.Data(data=body)) or b"" if body else b""
        self._socket.sendall(message + (self._http.send(h11.EndOfMessage()) or b""))
        return self._response()

    def close(self) -> None:
        self._socket.close()

    def _response(self) -> Response:
        status, headers, body = 0, {}, bytearray()
        while True:
            event = self._http.next_event()
            match event:
                case h11.NEED_DATA:
                    self._http.receive_data(self._received())
                case h11.Response():
                    status = event.status_code
                    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                        self._http.start_next_cycle()
                    return Response(status, headers, bytes(body))

    def _received(self) -> bytes:
        """The next bytes; none when an answer that has no length ends. Raises ConnectionResetError before an answer."""
        data = self._socket.recv(_PIECE)
        if not data and self._http.their_state is h11.SEND_RESPONSE and not self._http.trailing_data[0]:
            raise ConnectionResetError
        return data
