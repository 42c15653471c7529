"""A kubeconfig file, read for the one thing that a driver needs: how to reach a cluster, and as whom.

Taken: a server, its CA (inline or a file), `insecure-skip-tls-verify`, `tls-server-name`, `proxy-url`; a token, a token
file, or a client certificate with its key (inline or files). Not taken: `exec` and `auth-provider`, which run
programs that a function's image does not have; make a service account's token for Sentinel instead. Messages name
fields, never contents.

What kubectl takes is taken, as it takes it: the first of several documents, base64 with line breaks, `!!binary`,
schemes in any case, scalars that YAML reads as numbers. What kubectl refuses is refused: a CA together with
insecure-skip-tls-verify. That one alone is used only for a cluster that the operator allows it for.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from shared.errors import ClusterAway

_SCHEMES = ("https://", "http://")
_MISSING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Connection:
    """How to reach an API server, and as whom. Certificates and keys are PEM; credentials never show in a repr."""

    server: str
    certificate_authority: str | None = None
    verify: bool = True
    tls_server_name: str | None = None
    proxy: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    client_certificate: bytes | None = field(default=None, repr=False)

    def bearer(self) -> str | None:
        """The token as it is now: files of bound service account tokens are rotated under us."""
        token = self.token
        if token is None and self.token_file is not None:
            try:
                token = self.token_file.read_bytes().decode("latin-1").strip()
            except OSError as error:
                raise ClusterAway(f"tokenFile {self.token_file}: {error.strerror}") from None
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ClusterAway("the token has characters that a header cannot carry")
        return token


def read_connection(path: Path, *, allow_insecure: bool = False) -> Connection:
    """The connection of a file's current context. Raises ClusterAway, naming the file and the field to fix.

    allow_insecure: whether the operator allows that the server's certificate is not verified.
    """
    try:
        return _connection(_document(path), path.parent, allow_insecure)
    except OSError as error:
        other = f"{error.filename}: " if error.filename not in (None, str(path)) else ""
        raise ClusterAway(f"kubeconfig {path}: {other}{error.strerror}") from None
    except _Unusable as error:
        raise ClusterAway(f"kubeconfig {path}: {error}") from None


class _Unusable(Exception):
    """What is wrong with a kubeconfig, in words that hold nothing of it but names of fields."""


class _Loader(yaml.SafeLoader):
    """YAML whose plain scalars stay text as it was written, but for null and booleans; `!!binary` is bytes."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "bool", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _document(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if text.lstrip().startswith("{"):
            document = json.loads(text, parse_int=str, parse_float=str)
        else:
            document = next(yaml.load_all(text, _Loader), None)
    except (ValueError, yaml.YAMLError, RecursionError):
        raise _Unusable("is neither JSON nor YAML") from None  # the parsers' own messages quote the text
    if not isinstance(document, dict):
        raise _Unusable("is not a mapping")
    return document


def _connection(document: Mapping[str, Any], base: Path, allow_insecure: bool) -> Connection:
    context = _entry(document, "contexts", "context", _text(document, "current-context", required=True))
    cluster = _entry(document, "clusters", "cluster", _text(context, "cluster", required=True))
    user_name = _text(context, "user")
    user = _entry(document, "users", "user", user_name) if user_name else _MISSING
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise _Unusable(f"users[].user.{plugin} is not supported; use a service account's token")
    server = _url(cluster, "server", required=True)
    proxy = _url(cluster, "proxy-url")
    authority = _bytes(cluster, "certificate-authority", base)
    insecure = _flag(cluster, "insecure-skip-tls-verify")
    if insecure and authority is not None:
        raise _Unusable(
            "clusters[].cluster has certificate-authority and insecure-skip-tls-verify: take the latter out"
        )
    if insecure and not allow_insecure:
        raise _Unusable(
            "clusters[].cluster.insecure-skip-tls-verify needs the operator's word: give certificate-authority-data"
            " instead, or name the cluster in CLUSTERS_ALLOW_INSECURE"
        )
    certificate, key = _bytes(user, "client-certificate", base), _bytes(user, "client-key", base)
    if (certificate is None) != (key is None):
        raise _Unusable("users[].user needs client-certificate and client-key together")
    token_file = _text(user, "tokenFile")
    return Connection(
        server=server.rstrip("/"),
        certificate_authority=None if authority is None else _ascii(authority),
        verify=not insecure,
        tls_server_name=_text(cluster, "tls-server-name") or None,
        proxy=proxy or None,
        token=_text(user, "token") or None,
        token_file=base / token_file if token_file else None,
        client_certificate=None if certificate is None or key is None else certificate + b"\n" + key,
    )


def _entry(document: Mapping[str, Any], listed: str, kind: str, name: str) -> Mapping[str, Any]:
    entries = document.get(listed)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and _text(entry, "name") == name:
            found = entry.get(kind)
            if isinstance(found, dict):
                return found
    raise _Unusable(f"{listed} has no entry with the name that is asked for, or it has no {kind}")


def _text(mapping: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = mapping.get(key)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, bool):  # YAML reads these names as booleans
        value = str(value).lower()
    if value is not None and not isinstance(value, str):
        raise _Unusable(f"{key} must be a text")
    if required and not value:
        raise _Unusable(f"{key} is not set")
    return value or ""


def _url(cluster: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    """An http or https URL with its scheme in lower case, or "" when it is not set and need not be."""
    scheme, separator, rest = _text(cluster, key, required=required).partition("://")
    url = f"{scheme.lower()}{separator}{rest}"
    if url and not url.startswith(_SCHEMES):
        raise _Unusable(f"clusters[].cluster.{key} must be an http or https URL")
    if url and not _has_address(url):
        raise _Unusable(f"clusters[].cluster.{key} must name an ASCII host, and a port up to 65535 if any")
    return url


def _has_address(url: str) -> bool:
    """Whether a connection to the host and port of a URL can be tried at all."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # a broken IPv6 address, or a port that is out of range or no number
        return False
    return bool(host) and f"{host}".isascii() and " " not in f"{host}" and port != 0


def _flag(mapping: Mapping[str, Any], key: str) -> bool:
    value = mapping.get(key)
    if value is not None and not isinstance(value, bool):
        raise _Unusable(f"{key} must be true or false, without quotes")
    return value is True


def _bytes(mapping: Mapping[str, Any], key: str, base: Path) -> bytes | None:
    """`<key>-data` in base64 wins over the file that `<key>` names, as in kubectl."""
    if isinstance(data := mapping.get(f"{key}-data"), bytes) and data.lstrip().startswith(b"-----BEGIN "):
        return data  # !!binary of the PEM itself, which YAML decoded
    if text := _text(mapping, f"{key}-data"):
        try:
            return base64.b64decode(
                text.replace("\r", "").replace("\n", ""), validate=True
            )  # as Go's decoder skips them
        except ValueError:
            raise _Unusable(f"{key}-data is not base64") from None
    name = _text(mapping, key)
    return (base / name).read_bytes() if name else None


def _ascii(pem: bytes) -> str:
    try:
        return pem.decode("ascii")
    except UnicodeDecodeError:
        raise _Unusable("certificate-authority is not PEM") from None
