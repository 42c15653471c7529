"""DATABASE_URL as people write it: what libpq knows is honoured, or refused in one line that holds no password."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.errors import ConfigurationError
from shared.store.database import connect
from shared.store.database_url import DEFAULT_TIMEOUT, ConnectionParameters, parse


def fields(url: str, *names: str) -> tuple[Any, ...]:
    parameters = parse(url)
    return tuple(getattr(parameters, name) for name in names)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+pg8000", "PostgreSQL"])
def test_every_scheme_that_names_postgresql_is_taken(scheme: str) -> None:
    names = ("user", "password", "host", "port", "database")
    assert fields(f"{scheme}://u:p@db.example:6432/d", *names) == ("u", "p", "db.example", 6432, "d")


@pytest.mark.parametrize(
    ("url", "name", "expected"),
    [
        ("postgresql://u:p%40s%3A%2F%3Fs%25@h/d", "password", "p@s:/?s%"),
        ("postgresql://u:p:q/r@h/d", "password", "p:q/r"),
        ("postgresql://u%40example:p@h/d", "user", "u@example"),
        ("postgresql://u@h/a%20b", "database", "a b"),
        ("postgresql://u@[2001:db8::1]:6432/d", "host", "2001:db8::1"),
        ("postgresql://u@[2001:db8::1]:6432/d", "port", 6432),
        ("postgresql://u@/d?host=db.example", "host", "db.example"),
        ("postgresql://u@/d?host=db.example&port=6432", "port", 6432),
        ("postgresql://h/d?user=u&password=p%26q", "password", "p&q"),
        ("postgresql://u@/d", "host", "localhost"),
        ("postgresql://u@/d?unix_sock=/s/.s.PGSQL.5432", "unix_socket", "/s/.s.PGSQL.5432"),
        ("postgresql://u@/d?host=/var/run/postgresql", "unix_socket", "/var/run/postgresql/.s.PGSQL.5432"),
        ("postgresql://u@%2Fvar%2Frun/d?port=6432", "unix_socket", "/var/run/.s.PGSQL.6432"),
        ("postgresql://u@/d?host=/run", "host", None),
        ("postgresql://u@/?dbname=d", "database", "d"),
        ("postgresql://u@h", "database", None),
        ("postgresql://u@h/d?connect_timeout=3", "connect_timeout", 3.0),
        ("postgresql://u@h/d?connect_timeout=0", "connect_timeout", None),
        ("postgresql://u@h/d", "connect_timeout", DEFAULT_TIMEOUT),
        ("postgresql://u@h/d?application_name=a%40b", "application_name", "a@b"),
        ("postgresql://u@h/d?fallback_application_name=b", "application_name", "b"),
        ("postgresql://u@h/d?options=-c%20work_mem%3D64MB", "options", "-c work_mem=64MB"),
        ("postgresql://u@h/d?keepalives=0", "keepalives", False),
        ("postgresql://u@h/d?channel_binding=require", "require_channel_binding", True),
        ("postgresql://u@h/d?channel_binding=prefer", "require_channel_binding", False),
        ("postgresql://u@h/d?target_session_attrs=any&client_encoding=UTF8&gssencmode=disable", "host", "h"),
    ],
)
def test_what_libpq_knows_is_honoured(url: str, name: str, expected: object) -> None:
    assert fields(url, name) == (expected,)


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("postgresql://u@db.example/d", (ssl.CERT_REQUIRED, True)),
        ("postgresql://u@10.0.0.1/d", (ssl.CERT_REQUIRED, True)),
        ("postgresql://u@db.example/d?sslmode=require", (ssl.CERT_REQUIRED, True)),
        ("postgresql://u@db.example/d?sslmode=verify-full", (ssl.CERT_REQUIRED, True)),
        ("postgresql://u@db.example/d?sslmode=verify-full&sslrootcert=system", (ssl.CERT_REQUIRED, True)),
        ("postgresql://u@db.example/d?sslmode=verify-ca", (ssl.CERT_REQUIRED, False)),
        ("postgresql://u@localhost/d?sslmode=verify-full", (ssl.CERT_REQUIRED, True)),
    ],
)
def test_tls_is_verified(url: str, verified: tuple[ssl.VerifyMode, bool]) -> None:
    (context,) = fields(url, "tls")
    assert (context.verify_mode, context.check_hostname) == verified


@pytest.mark.parametrize(
    "url", ["postgresql://localhost/d", "postgresql://127.0.0.1/d?sslmode=prefer", "postgres:///d"]
)
def test_a_server_on_this_machine_need_not_have_tls(url: str) -> None:
    assert fields(url, "tls") == (None,)


@pytest.mark.parametrize(
    "url",
    ["postgresql://u@/d?unix_sock=/s", "postgresql://u@/d?host=/s&sslmode=require", "postgresql://h/d?sslmode=disable"],
)
def test_there_is_no_tls_on_a_unix_socket_or_where_it_is_disabled(url: str) -> None:
    assert fields(url, "tls") == (False,)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "is not a database URL"),
        ("", "is not a database URL"),
        ("postgresql://u:hunter2@h:port/d", "a port that is a number"),
        ("postgresql://u:hunter2@h:0/d", "port must be a number from 1 to 65535, not '0'"),
        ("postgresql://u:hunter2@[::1/d", "an IPv6 address in brackets"),
        ("postgresql://u:hunter2@::1/d", "an IPv6 address in brackets"),
        ("postgresql://u:hunter2@hunter2@h/d", "percent-encode what is special in the password"),
        ("postgresql://u:hunter2%@h/d", "password has a % that encodes no character: write %25"),
        ("postgresql://u:hunter2%ff@h/d", "password is not percent-encoded UTF-8"),
        ("mysql://u:hunter2@h/d", "must start with postgresql://, not mysql://"),
        ("postgresql+psycopg://u:hunter2@h/d", "must start with postgresql://, not postgresql\\+psycopg://"),
        ("host=h user=u password=hunter2", "is not a database URL"),
        ("postgresql://u:hunter2@a,b/d", "names several hosts: name one"),
        ("postgresql://u:hunter2@a:1,b:2/d", "names several hosts: name one"),
        ("postgresql://u:hunter2@/d?host=a,b", "names several hosts: name one"),
        ("postgresql://u:hunter2@h/d?sslmode=prefer", "sslmode=prefer may end without TLS: write sslmode=verify-full"),
        ("postgresql://u:hunter2@h/d?sslmode=allow", "sslmode=allow may end without TLS"),
        ("postgresql://u:hunter2@h/d?sslmode=on", "sslmode must be disable, allow, .*, not 'on'"),
        ("postgresql://u:hunter2@h/d?sslmode=verify-full&sslrootcert=/no", "sslrootcert: No such file"),
        ("postgresql://u:hunter2@h/d?sslmode=verify-full&sslkey=/no", "sslkey needs the certificate"),
        ("postgresql://u:hunter2@h/d?sslcert=/no&sslkey=/no", "sslcert and sslkey: No such file"),
        ("postgresql://u:hunter2@h/d?connect_timeout=soon", "connect_timeout must be a number of seconds, not 'soon'"),
        ("postgresql://u:hunter2@h/d?channel_binding=disable", "channel_binding must be prefer or require"),
        ("postgresql://u:hunter2@h/d?hostaddr=10.0.0.1", "the parameter hostaddr is not supported: leave it out"),
        ("postgresql://u:hunter2@h/d?service=x", "the parameter service is not supported"),
        ("postgresql://u:hunter2@h/d?target_session_attrs=read-write", "target_session_attrs='read-write' is not supp"),
        ("postgresql://u:hunter2@h/d?client_encoding=latin1", "client_encoding='latin1' is not supported"),
        ("postgresql://u:hunter2@h/d?sslmod=require", "PostgreSQL knows no parameter 'sslmod'"),
        ("postgresql://u:hunter2@h/d?sslmode", "the parameter 'sslmode' has no value"),
        ("postgresql://u:hunter2@h/d?sslmode=require&sslmode=disable", "the parameter 'sslmode' is there twice"),
        ("postgresql://u@h/d?passfile=/no", "passfile: No such file or directory: name a file that can be read"),
    ],
)
def test_anything_else_is_refused_in_one_line_without_the_password(url: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected) as refused:
        connect(url)
    assert "hunter2" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert str(refused.value).startswith("DATABASE_URL")


def test_no_password_shows_in_what_a_url_became() -> None:
    assert "hunter2" not in repr(parse("postgresql://u:hunter2@h/d"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [("h:5432:d:u:secret", "secret"), ("*:*:*:u:se\\:c\\\\ret", "se:c\\ret"), ("# c\nx:*:*:*:a\n*:*:*:*:b", "b")],
)
def test_a_passfile_gives_the_password(line: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text(line)
    assert fields(f"postgresql://u@h/d?passfile={tmp_path}/pass", "password") == (expected,)


def test_a_passfile_without_a_line_for_the_server_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("other:5432:d:u:secret")
    with pytest.raises(ConfigurationError, match="passfile has no line for h:5432:d:u: add one"):
        parse(f"postgresql://u@h/d?passfile={tmp_path}/pass")


def test_parameters_reach_the_server(postgres: EmbeddedPostgres) -> None:
    given = "application_name=nightly&options=-c%20work_mem%3D7MB&connect_timeout=5&sslmode=require"
    engine = connect(f"{postgres.url}&{given}")
    with engine.connect() as connection:
        shown = [connection.execute(sa.text(f"SHOW {name}")).scalar_one() for name in ("application_name", "work_mem")]
    engine.dispose()
    assert shown == ["nightly", "7MB"]


def test_the_defaults_are_for_a_network() -> None:
    assert ConnectionParameters("u", None, "h", 5432, None, None, False).connect_timeout == DEFAULT_TIMEOUT
