"""Contexts: the servers that a user works with, by name, and which of them is the current one.

    current-context = "prod"                          # ~/.config/sentinel/config.toml, or below XDG_CONFIG_HOME

    [contexts.prod]
    server = "https://sentinel.example.com"
    certificate-authority = "/etc/ssl/sentinel.pem"   # optional: a PEM file, in place of the system's authorities
    insecure = false                                  # optional: true takes http:// to another host

What a login gives is not in this file; see functions.cli.credentials. A change keeps the comments that a user wrote.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from functions.cli.errors import BadInput, CommandFailed
from functions.cli.private_files import locked, write_private
from shared.errors import ConfigurationError

_FILE = "config.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FIELDS: Mapping[str, type] = {"server": str, "certificate-authority": str, "insecure": bool}


class Context(NamedTuple):
    """A server. certificate_authority: the path of a PEM file; insecure: plain HTTP to another host is allowed."""

    server: str
    certificate_authority: str | None = None
    insecure: bool = False

    def as_document(self) -> dict[str, Any]:
        """As it stands in the file; what has its default is left out."""
        values = {"server": self.server, "certificate-authority": self.certificate_authority, "insecure": self.insecure}
        return {name: value for name, value in values.items() if value}


class Contexts(NamedTuple):
    """The file as it was read. current: None when no context is the current one."""

    by_name: Mapping[str, Context]
    current: str | None = None

    def get(self, name: str) -> Context:
        """Raises CommandFailed."""
        if name not in self.by_name:
            raise CommandFailed(f"there is no context {name}: see `sentinel config get-contexts`")
        return self.by_name[name]

    def named_like(self, server: str) -> str | None:
        """The first context of this server."""
        return next((name for name, one in self.by_name.items() if one.server == server), None)


def directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the command line keeps its files. A relative XDG_CONFIG_HOME is ignored (XDG Base Directory)."""
    base = Path(environment.get("XDG_CONFIG_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".config") / "sentinel"


def load() -> Contexts:
    """The contexts; none without a file. Raises ConfigurationError that names the file and what to mend."""
    file = directory() / _FILE
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Contexts({})
    import tomllib

    try:
        return _contexts(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise ConfigurationError(f"{file}: {error}") from None


def put(name: str, context: Context, *, use: bool = False) -> None:
    """Sets a context, and makes it the current one if it is to be used or none is. Raises BadInput for a bad name."""
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"a context's name has up to 100 letters, digits, dots, dashes and underscores, not {name[:80]!r}"
        )
    current = load().current

    def change(document: Any) -> None:
        document.setdefault("contexts", {})[name] = context.as_document()
        if use or current is None:
            document["current-context"] = name

    _change(change)


def delete(name: str) -> None:
    """Removes a context. Raises CommandFailed when there is none of this name."""
    contexts = load()
    contexts.get(name)

    def change(document: Any) -> None:
        del document["contexts"][name]
        if contexts.current == name:
            del document["current-context"]

    _change(change)


def use(name: str) -> None:
    """Makes a context the current one. Raises CommandFailed when there is none of this name."""
    load().get(name)
    _change(lambda document: document.__setitem__("current-context", name))


def _contexts(document: Mapping[str, Any]) -> Contexts:
    """Raises ValueError that names the field."""
    if unknown := sorted(set(document) - {"contexts", "current-context"}):
        raise ValueError(f"{unknown[0]} is unknown; there are contexts and current-context")
    tables = document.get("contexts", {})
    if not isinstance(tables, dict):
        raise ValueError("contexts must be a table")
    by_name = {name: _context(f"contexts.{name}", table) for name, table in tables.items()}
    current = document.get("current-context")
    if current is not None and current not in by_name:
        raise ValueError(f"current-context names {current!r}, which is not among the contexts")
    return Contexts(by_name, current)


def _context(where: str, table: object) -> Context:
    if not isinstance(table, dict) or "server" not in table:
        raise ValueError(f"{where} must be a table with a server")
    for name, value in table.items():
        if name not in _FIELDS:
            raise ValueError(f"{where}.{name} is unknown; there are {', '.join(_FIELDS)}")
        if not isinstance(value, _FIELDS[name]):
            raise ValueError(f"{where}.{name} must be {'true or false' if _FIELDS[name] is bool else 'text'}")
    return Context(table["server"], table.get("certificate-authority"), table.get("insecure", False))


def _change(change: Callable[[Any], None]) -> None:
    import tomlkit

    file = directory() / _FILE
    with locked(file):
        document = tomlkit.parse(file.read_text(encoding="utf-8") if file.exists() else "")
        change(document)
        write_private(file, tomlkit.dumps(document))
