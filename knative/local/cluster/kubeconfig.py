"""A kubeconfig's current context: how to reach that API server, and a copy that stands alone.

Only what the laptop needs: the certificate authority, client certificates, tokens, basic passwords, and exec plugins as
far as one token goes. Credentials stay out of `repr` and out of messages.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_INLINED = ("certificate-authority", "client-certificate", "client-key")


class KubeconfigError(Exception):
    """The kubeconfig cannot be used; the message names the file and the field."""


@dataclass(frozen=True)
class Access:
    """How to reach an API server: its URL, the TLS settings (None for plain HTTP), the authorization header, if any."""

    server: str
    tls: ssl.SSLContext | None = field(repr=False)
    authorization: str | None = field(repr=False)


def flatten(path: Path) -> str:
    """The current context alone, with every file that it refers to inlined. Raises KubeconfigError."""
    context, cluster, user = _current(path)
    name = "local"
    flat = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": _inlined(path, cluster)}],
        "users": [{"name": name, "user": _inlined(path, user)}],
        "contexts": [{"name": name, "context": {**context, "cluster": name, "user": name}}],
        "current-context": name,
    }
    return yaml.safe_dump(flat, sort_keys=False)


def access(path: Path) -> Access:
    """What a client of the current context needs. Runs the exec plugin, if there is one. Raises KubeconfigError."""
    _, cluster, user = _current(path)
    cluster, user = _inlined(path, cluster), _inlined(path, user)
    server = cluster.get("server")
    if not isinstance(server, str) or not server.startswith(("https://", "http://")):
        raise KubeconfigError(f"{path}: cluster.server: must be an http or https URL")
    if "exec" in user:
        user = {**user, **_exec(path, user["exec"])}
    authorization = None
    if user.get("token"):
        authorization = f"Bearer {user['token']}"
    elif "username" in user:
        authorization = "Basic " + base64.b64encode(f"{user['username']}:{user.get('password', '')}".encode()).decode()
    tls = _tls(path, cluster, user) if server.startswith("https://") else None
    return Access(server.rstrip("/"), tls, authorization)


def _current(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KubeconfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"{path}: is not a kubeconfig") from error
    if not isinstance(config, dict):
        raise KubeconfigError(f"{path}: is not a kubeconfig")
    context = _named(path, config, "contexts", "context", config.get("current-context"))
    cluster = _named(path, config, "clusters", "cluster", context.get("cluster"))
    return context, cluster, _named(path, config, "users", "user", context.get("user"))


def _named(path: Path, config: dict[str, Any], collection: str, kind: str, name: object) -> dict[str, Any]:
    for entry in config.get(collection) or ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(kind), dict):
            found: dict[str, Any] = entry[kind]
            return found
    raise KubeconfigError(f"{path}: {collection}: there is none of the name {name!r} (current-context leads there)")


def _inlined(path: Path, section: dict[str, Any]) -> dict[str, Any]:
    """The section with files replaced by their content; relative ones are relative to the kubeconfig."""
    inlined = dict(section)
    for name in _INLINED:
        if file := inlined.pop(name, None):
            inlined[f"{name}-data"] = base64.b64encode(_read(path, name, str(file))).decode()
    if token_file := inlined.pop("tokenFile", None):
        inlined["token"] = _read(path, "tokenFile", str(token_file)).decode().strip()
    return inlined


def _read(path: Path, field_name: str, file: str) -> bytes:
    try:
        return (path.parent / Path(file).expanduser()).read_bytes()
    except OSError as error:
        raise KubeconfigError(f"{path}: {field_name}: {file} cannot be read: {error.strerror}") from error


def _exec(path: Path, plugin: dict[str, Any]) -> dict[str, Any]:
    """Credentials of an exec plugin, in the names of a kubeconfig's user."""
    env = {**os.environ, **{each["name"]: each["value"] for each in plugin.get("env") or ()}}
    env["KUBERNETES_EXEC_INFO"] = json.dumps(
        {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    )
    try:
        done = subprocess.run(
            [plugin["command"], *(plugin.get("args") or ())], env=env, capture_output=True, timeout=30, check=True
        )
        status = json.loads(done.stdout)["status"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise KubeconfigError(f"{path}: users.exec: the plugin gave no credentials ({type(error).__name__})") from error
    found = {"token": status.get("token")}
    if "clientCertificateData" in status:
        found["client-certificate-data"] = base64.b64encode(status["clientCertificateData"].encode()).decode()
        found["client-key-data"] = base64.b64encode(status["clientKeyData"].encode()).decode()
    return found


def _tls(path: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    try:
        authority = cluster.get("certificate-authority-data")
        context = ssl.create_default_context(cadata=_decoded(authority).decode() if authority else None)
        # Many clusters' authorities are made without the extensions that Python's strict mode asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if user.get("client-certificate-data") and user.get("client-key-data"):
            with tempfile.TemporaryDirectory(prefix="sentinel-kubeconfig-") as directory:
                pem = Path(directory, "client.pem")
                pem.touch(0o600)
                pem.write_bytes(_decoded(user["client-certificate-data"]) + b"\n" + _decoded(user["client-key-data"]))
                context.load_cert_chain(pem)
    except (ssl.SSLError, binascii.Error, ValueError) as error:
        raise KubeconfigError(f"{path}: its certificates cannot be used ({type(error).__name__})") from error
    return context


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
