"""A client of Sentinel's REST face.

A read is tried again when no connection comes about or breaks, and when the server says 503 with Retry-After; a write
is sent once. A token that has expired is replaced in silence. Redirects are not followed: a token goes to the address
that was given, and to no other.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from functions.cli.errors import ProblemAnswer, ServerAway
from shared.errors import ConfigurationError
from shared.http_connection import HttpConnection, NoHttp, Response

if TYPE_CHECKING:
    import ssl

    from functions.cli.credentials import Credentials

PREFIX = "/api/v1"
_PAUSES = (0.2, 1.0)
"""Seconds before the second and the third attempt of a read."""
_LONGEST_PAUSE = 5.0
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_PAGE = 1000  # the most that the server gives at once
_PROBLEM = "application/problem+json"


class Server(NamedTuple):
    """A server and who asks it. name: for messages; url: without /api/v1; insecure: http:// to any host."""

    name: str
    url: str
    credentials: Credentials
    certificate_authority: str | None = None
    insecure: bool = False


class Answer(NamedTuple):
    """What the server said. headers: lower-case names; document: None where the body is empty."""

    status: int
    headers: Mapping[str, str]
    document: Any

    @property
    def now(self) -> datetime:
        """The server's clock, to the second; this machine's where the server does not say."""
        try:
            return _moment(self.headers["date"])
        except (KeyError, ValueError):
            return datetime.now(UTC)


class ObjectList(NamedTuple):
    """The first objects of a list. more: there are others; now: the server's clock."""

    items: list[Any]
    more: bool
    now: datetime


class ServerAddress(NamedTuple):
    """Where a server listens. path: what stands before /api/v1, without a slash at its end."""

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def authority(self) -> str:
        """As in the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether a connection stays on this machine (RFC 6761, section 6.3: localhost and below)."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")


def address_of(url: str, *, insecure: bool) -> ServerAddress:
    """Raises ConfigurationError for what is no address of a server, and for http:// to another host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is not None and parts.username is not None:
        raise ConfigurationError("the address of a server holds no user and no password: leave them out, and log in")
    if host is None or parts.scheme not in ("http", "https"):
        raise ConfigurationError(
            f"{url[:200]!r} is not the address of a server: write https://HOST or https://HOST:PORT"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{url[:200]!r} has more than an address: leave out what follows the path")
    found = ServerAddress(parts.scheme, host, port, parts.path.rstrip("/"))
    if found.scheme == "http" and not (found.loopback or insecure):
        raise ConfigurationError(
            f"{url}: http:// to another host shows the token to everybody on the way: use https://, or --insecure"
        )
    return found


class Client:
    """Asks one server. Holds one connection, which reads share."""

    def __init__(self, server: Server) -> None:
        """Raises ConfigurationError for an address that is not taken."""
        self._server = server
        self._address = address_of(server.url, insecure=server.insecure)
        self._connection: HttpConnection | None = None

    def get(self, path: str, **query: object) -> Answer:
        """Reads. query: None leaves a parameter out. Raises ServerAway and ProblemAnswer."""
        given = {name: value for name, value in query.items() if value is not None}
        target = f"{path}?{urlencode(given)}" if given else path
        for pause in _PAUSES:
            try:
                answer = self._authenticated("GET", target)
            except ServerAway:
                time.sleep(pause)
                continue
            if answer.status != 503 or "retry-after" not in answer.headers:
                return self._checked(answer)
            time.sleep(_pause(answer.headers["retry-after"], pause))
        return self._checked(self._authenticated("GET", target))

    def pages(self, path: str, limit: int, **query: object) -> ObjectList:
        """At most `limit` objects of a list, in as many requests as it takes."""
        items: list[Any] = []
        cursor: str | None = None
        while True:
            answer = self.get(path, **query, limit=min(limit - len(items), _PAGE), cursor=cursor)
            items += answer.document["items"]
            cursor = answer.document["next"]
            if cursor is None or len(items) >= limit:
                return ObjectList(items, cursor is not None, answer.now)

    def send(self, method: str, path: str, document: Any = None, **headers: str) -> Answer:
        """Writes, once. headers: with underscores for dashes. Raises ServerAway and ProblemAnswer."""
        self.close()  # a connection that the server has left would lose the request, and nobody knew where
        return self._checked(self._authenticated(method, path, document, headers))

    def send_unauthenticated(self, path: str, document: Any) -> Answer:
        """Posts what needs no token: to log in, and to refresh one. Raises ServerAway and ProblemAnswer."""
        self.close()
        return self._checked(self._exchange("POST", path, document, {}, None))

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _authenticated(
        self, method: str, path: str, document: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer with the token of now, or with the next one when that has expired."""
        credentials = self._server.credentials
        token = credentials.token()
        answer = self._exchange(method, path, document, headers or {}, token)
        if answer.status == 401 and token is not None:
            from functions.cli import sessions

            replaced = credentials.replaced(token, lambda tokens: sessions.refresh(self, tokens))
            if replaced is not None:
                return self._exchange(method, path, document, headers or {}, replaced)
        return answer

    def _exchange(self, method: str, path: str, document: Any, headers: Mapping[str, str], token: str | None) -> Answer:
        sent = {"host": self._address.authority, "accept": "application/json", "user-agent": "sentinel-cli"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        body = None
        if document is not None:
            body = json.dumps(document).encode()
            sent.setdefault("content-type", "application/json")
        try:
            if self._connection is None:
                self._connection = self._connect()
            response = self._connection.request(method, self._address.path + PREFIX + path, sent, body)
        except (OSError, NoHttp) as error:
            self.close()
            raise ServerAway(f"{self._server.name}: {_reason(error)}") from None
        if not self._connection.reusable:
            self.close()
        return self._answer(response)

    def _connect(self) -> HttpConnection:
        host, port = self._address.host, self._address.port
        tls = _tls(self._server.certificate_authority) if self._address.scheme == "https" else None
        if tls is None and host.endswith(".localhost"):  # the C library does not resolve these names on every system
            host = "127.0.0.1"
        port = port or (80 if tls is None else 443)
        return HttpConnection(host, port, tls, connecting=_CONNECT_SECONDS, answering=_ANSWER_SECONDS)

    def _answer(self, response: Response) -> Answer:
        if not response.body:
            return Answer(response.status, response.headers, None)
        try:
            return Answer(response.status, response.headers, json.loads(response.body))
        except ValueError:
            said = f"answers {response.status} with what is not JSON"
            raise ServerAway(f"{self._server.name}: {said}; {_WHERE}") from None

    def _checked(self, answer: Answer) -> Answer:
        """The answer of a request that was carried out. Raises ProblemAnswer, and ServerAway for what is none."""
        if answer.status < 300:
            return answer
        if not answer.headers.get("content-type", "").startswith(_PROBLEM):
            raise ServerAway(f"{self._server.name}: answers {answer.status}, and not as Sentinel does; {_WHERE}")
        problem = answer.document
        kind = str(problem["type"]).rpartition("/")[2]
        raise ProblemAnswer(answer.status, kind, "\n".join(self._lines(answer.status, problem)))

    def _lines(self, status: int, problem: Mapping[str, Any]) -> Iterator[str]:
        match status:
            case 401:
                yield f"{self._server.name}: {problem['detail']}: {self._server.credentials.remedy}"
            case 500:
                yield f"{self._server.name}: a defect of the server; its log has the reason under {problem['instance']}"
            case _ if problem["errors"]:
                for one in problem["errors"]:
                    yield f"{one['field']}: {one['message']}" if one["field"] else one["message"]
            case _:
                yield problem["detail"]


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WHERE = "check the address of the server"


def _tls(authority: str | None) -> ssl.SSLContext:
    """Raises ConfigurationError for a file that holds no certificates."""
    import ssl

    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        why = error.strerror if isinstance(error, FileNotFoundError) else "holds no certificates in PEM"
        raise ConfigurationError(f"{authority}: {why}") from None


def _reason(error: Exception) -> str:
    match error:
        case NoHttp():
            return f"does not speak HTTP: {error}"
        case TimeoutError():
            return "did not answer in time"
        case ConnectionResetError():
            return "broke the connection off"
        case OSError() if said := getattr(error, "verify_message", None):  # ssl.SSLCertVerificationError
            return (
                f"its certificate is not trusted: {said}; name the file of its authority with --certificate-authority"
            )
        case socket.gaierror():
            return f"its name is not known: {error.strerror}"
        case _:
            said = getattr(error, "strerror", None) or str(error)
            return f"{said.lower()}; is the server running?"


def _moment(date: str) -> datetime:
    """A date of HTTP (RFC 9110, section 5.6.7): Sun, 06 Nov 1994 08:49:37 GMT. Raises ValueError."""
    _, day, month, year, clock, _ = date.split(" ")
    hour, minute, second = clock.split(":")
    return datetime(int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=UTC)


def _pause(retry_after: str, least: float) -> float:
    return min(float(retry_after), _LONGEST_PAUSE) if retry_after.isdecimal() else least
