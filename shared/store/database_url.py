"""DATABASE_URL, read as libpq reads a connection URI, for a driver that knows less.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS

Every parameter that libpq knows is honoured or refused by name. Two things differ. TLS is always verified: `require`
and the default for a server elsewhere mean `verify-full`, and `allow` and `prefer`, which may end without TLS, are
refused for a server elsewhere. The password comes from the URL or from the file that `passfile` names. The environment
(PGPASSWORD and others) and files in a home directory are not read, so that one variable says all.
"""

import getpass
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote

from shared.errors import ConfigurationError

T = TypeVar("T")

EXAMPLE = "postgresql://user@host/database"
DEFAULT_TIMEOUT = 10.0
"""Seconds for a connection over TCP to be made, and for each answer of the server."""

_SCHEMES = ("postgresql", "postgres", "postgresql+pg8000")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_URL = re.compile(
    r"(?P<scheme>[A-Za-z0-9+.-]+)://(?:(?P<user>[^:@/?]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<host>[^/?@]*)(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d*))?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_PASSFILE_FIELD = re.compile(r"((?:\\.|[^:\\])*)(?::|$)")
_TLS_VERSIONS = {
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}

_HONOURED = frozenset(
    (
        "user",
        "password",
        "passfile",
        "host",
        "port",
        "dbname",
        "unix_sock",
        "connect_timeout",
        "application_name",
        "fallback_application_name",
        "options",
        "keepalives",
        "channel_binding",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "sslpassword",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
    )
)
# The values that ask for no more than what happens anyway; any other asks for what the driver cannot do.
_AS_IT_IS: Mapping[str, tuple[str, ...]] = {
    "client_encoding": ("utf8", "utf-8", "unicode"),
    "gssencmode": ("disable", "prefer"),
    "sslcompression": ("0",),
    "sslnegotiation": ("postgres",),
    "sslsni": ("1",),
    "target_session_attrs": ("any",),
    "load_balance_hosts": ("disable",),
    "replication": ("false", "off", "no", "0"),
}
_REFUSED = frozenset(
    (
        "service",
        "servicefile",
        "hostaddr",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "requiressl",
        "sslcertmode",
        "sslcrl",
        "sslcrldir",
        "requirepeer",
        "require_auth",
        "min_protocol_version",
        "max_protocol_version",
        "krbsrvname",
        "gsslib",
        "gssdelegation",
        "scram_client_key",
        "scram_server_key",
        "sslkeylogfile",
        "oauth_issuer",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_scope",
    )
)


@dataclass(frozen=True)
class ConnectionParameters:
    """How to reach a database. Exactly one of `host` and `unix_socket` is set; the password never shows in a repr.

    tls: a context that verifies, False for none, None for "if the server has it", unverified, which is for a server
    on this machine only. connect_timeout: seconds; None waits for ever. require_channel_binding: a login that does not
    prove that no one stands between is given up.
    """

    user: str
    password: str | None = field(repr=False)
    host: str | None
    port: int
    unix_socket: str | None
    database: str | None
    tls: ssl.SSLContext | Literal[False] | None
    connect_timeout: float | None = DEFAULT_TIMEOUT
    application_name: str | None = None
    options: str | None = None
    keepalives: bool = True
    require_channel_binding: bool = False


def parse(url: str) -> ConnectionParameters:
    """What a database URL says. Raises ConfigurationError in one line that never holds the password."""
    match = _URL.fullmatch(url.strip())
    if match is None:
        raise ConfigurationError(
            f"DATABASE_URL is not a database URL: write {EXAMPLE}, and percent-encode what is special in the password"
        )
    if match["scheme"].lower() not in _SCHEMES:
        raise ConfigurationError(f"DATABASE_URL must start with postgresql://, not {match['scheme'][:30]}://")
    given = {name: _decoded(name, match[name]) for name in ("user", "password", "database") if match[name]}
    given |= _location(match["host"])
    given["dbname"] = given.pop("database", "")
    query = _query(match["query"] or "")
    given = {name: text for name, text in {**given, **query}.items() if text}
    _check_names(given)
    host, port = given.get("host", ""), _port(given.get("port", "5432"))
    if "," in host or "," in given.get("port", ""):
        raise _several_hosts()
    unix_socket = given.get("unix_sock") or (f"{host.rstrip('/')}/.s.PGSQL.{port}" if host.startswith("/") else None)
    user = given.get("user") or _own_name()
    host_name = None if unix_socket else host or "localhost"
    return ConnectionParameters(
        user=user,
        password=given.get("password") or _from_passfile(given, host_name or "localhost", port, user),
        host=host_name,
        port=port,
        unix_socket=unix_socket,
        database=given.get("dbname"),
        tls=_tls(given, host_name),
        connect_timeout=_connect_timeout(given.get("connect_timeout")),
        application_name=given.get("application_name") or given.get("fallback_application_name"),
        options=given.get("options"),
        keepalives=_chosen(given, "keepalives", {"1": True, "0": False}, "1"),
        require_channel_binding=_chosen(given, "channel_binding", {"prefer": False, "require": True}, "prefer"),
    )


def _location(text: str) -> dict[str, str]:
    if "," in text:
        raise _several_hosts()
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None:
        raise ConfigurationError(
            f"DATABASE_URL is not a database URL: write {EXAMPLE}, with an IPv6 address in brackets"
            " and a port that is a number"
        )
    found = {"host": match["v6"] or _decoded("host", match["name"] or "")}
    return found | {"port": match["port"]} if match["port"] else found


def _query(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in text.split("&") if text else ():
        name, equals, value = pair.partition("=")
        name = _decoded("a parameter", name)
        if not equals:
            raise ConfigurationError(f"DATABASE_URL: the parameter {_shown(name)} has no value: write {_shown(name)}=…")
        if name in found:
            raise ConfigurationError(f"DATABASE_URL: the parameter {_shown(name)} is there twice: leave one out")
        found[name] = _decoded(name, value)
    return found


def _check_names(given: Mapping[str, str]) -> None:
    for name, value in given.items():
        if name in _HONOURED:
            continue
        if name in _AS_IT_IS:
            if value.lower() not in _AS_IT_IS[name]:
                raise ConfigurationError(
                    f"DATABASE_URL: {name}={_shown(value)} is not supported: leave it out, or write"
                    f" {name}={_AS_IT_IS[name][0]}"
                )
        elif name in _REFUSED:
            raise ConfigurationError(f"DATABASE_URL: the parameter {name} is not supported: leave it out")
        else:
            raise ConfigurationError(f"DATABASE_URL: PostgreSQL knows no parameter {_shown(name)}: correct it")


def _tls(given: Mapping[str, str], host: str | None) -> ssl.SSLContext | Literal[False] | None:
    """libpq's sslmode, where `require` verifies too. A Unix socket has no TLS, and libpq ignores the mode there."""
    if host is None:
        return False
    local = host in _LOCAL_HOSTS
    mode = given.get("sslmode", "prefer" if local else "verify-full")
    match mode:
        case "disable":
            return False
        case "allow" | "prefer" if local:
            return None
        case "allow" | "prefer":
            raise ConfigurationError(
                f"DATABASE_URL: sslmode={mode} may end without TLS: write sslmode=verify-full, or sslmode=disable"
            )
        case "require" | "verify-ca" | "verify-full":
            # libpq: a root certificate makes verify-ca of require.
            check_name = mode == "verify-full" or (mode == "require" and "sslrootcert" not in given)
            return _context(given, check_name)
    modes = "disable, allow, prefer, require, verify-ca or verify-full"
    raise ConfigurationError(f"DATABASE_URL: sslmode must be {modes}, not {_shown(mode)}")


def _context(given: Mapping[str, str], check_name: bool) -> ssl.SSLContext:
    root = given.get("sslrootcert", "system")
    context = _reading("sslrootcert", lambda: ssl.create_default_context(cafile=None if root == "system" else root))
    context.check_hostname = check_name
    if certificate := given.get("sslcert"):
        key, password = given.get("sslkey"), given.get("sslpassword", "")
        _reading("sslcert and sslkey", lambda: context.load_cert_chain(certificate, key, lambda: password))
    elif "sslkey" in given:
        raise ConfigurationError("DATABASE_URL: sslkey needs the certificate that it is for: set sslcert too")
    versions: Mapping[str, Any] = _TLS_VERSIONS
    if "ssl_min_protocol_version" in given:
        context.minimum_version = _chosen(given, "ssl_min_protocol_version", versions, "TLSv1.2")
    if "ssl_max_protocol_version" in given:
        context.maximum_version = _chosen(given, "ssl_max_protocol_version", versions, "TLSv1.3")
    return context


def _reading(names: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except ssl.SSLError as error:
        raise ConfigurationError(f"DATABASE_URL: {names}: not usable PEM: {error.reason or 'no certificate'}") from None
    except OSError as error:
        raise ConfigurationError(f"DATABASE_URL: {names}: {error.strerror}: name a file that can be read") from None


def _from_passfile(given: Mapping[str, str], host: str, port: int, user: str) -> str | None:
    """The first line that fits, as in libpq: hostname:port:database:username:password, `*` fits all."""
    if (path := given.get("passfile")) is None:
        return None
    wanted = (host, str(port), given.get("dbname") or user, user)
    text = _reading("passfile", lambda: Path(path).read_text(errors="replace"))
    for line in text.splitlines():
        fields: list[str] = [re.sub(r"\\(.)", r"\1", part) for part in _PASSFILE_FIELD.findall(line)]
        if line.startswith("#") or len(fields) < 5:
            continue
        if all(mine in ("*", theirs) for mine, theirs in zip(fields, wanted, strict=False)):
            return fields[4]
    raise ConfigurationError(
        f"DATABASE_URL: passfile has no line for {host}:{port}:{wanted[2]}:{user}: add one, or leave passfile out"
    )


def _connect_timeout(text: str | None) -> float | None:
    if text is None:
        return DEFAULT_TIMEOUT
    if not re.fullmatch(r"-?\d{1,6}", text):
        raise ConfigurationError(f"DATABASE_URL: connect_timeout must be a number of seconds, not {_shown(text)}")
    return float(text) if int(text) > 0 else None  # libpq: zero and less wait for ever


def _chosen(given: Mapping[str, str], name: str, meanings: Mapping[str, Any], default: str) -> Any:
    text = given.get(name, default)
    if text not in meanings:
        raise ConfigurationError(f"DATABASE_URL: {name} must be {' or '.join(meanings)}, not {_shown(text)}")
    return meanings[text]


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text[:6]) < 65536:
        raise ConfigurationError(f"DATABASE_URL: port must be a number from 1 to 65535, not {_shown(text)}")
    return int(text)


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ConfigurationError(f"DATABASE_URL names no user: write {EXAMPLE}") from None


def _several_hosts() -> ConfigurationError:
    return ConfigurationError("DATABASE_URL names several hosts: name one, such as a proxy's that knows the primary")


def _decoded(name: str, text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise ConfigurationError(f"DATABASE_URL: {name} has a % that encodes no character: write %25 for a %")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(f"DATABASE_URL: {name} is not percent-encoded UTF-8: encode it again") from None


def _shown(text: str) -> str:
    return repr(text[:40])
