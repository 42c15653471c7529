"""Which server a command asks, and as whom.

    1. --server, --context or --state: one of them
    2. SENTINEL_SERVER
    3. the platform on this machine in SENTINEL_STATE, or in .sentinel where there is such a directory
    4. the current context

SENTINEL_TOKEN is the token for any of them. Without it, a platform on this machine has a token file in its state
directory, and a context has the tokens of its login. An address is that of the context with the same address, if any.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from functions.cli import contexts
from functions.cli.client import Server
from functions.cli.contexts import Context
from functions.cli.credentials import Credentials, GivenToken, Login
from functions.cli.errors import BadInput, CommandFailed

if TYPE_CHECKING:
    from functions.cli.options import Chosen

DEFAULT_STATE = Path(".sentinel")
TOKEN_FILE = "token"  # noqa: S105 - the name of a file
_START_AGAIN = "start the platform again with `make run`: it makes a new one"


def locate(chosen: Chosen, environment: Mapping[str, str]) -> Server:
    """The server that a command asks. Raises BadInput, CommandFailed, and ConfigurationError."""
    if sum(option is not None for option in (chosen.state, chosen.server, chosen.context)) > 1:
        raise BadInput("give one of --server, --context and --state")
    url = chosen.server or (environment.get("SENTINEL_SERVER") if not (chosen.state or chosen.context) else None)
    if url:
        return _at(url.rstrip("/"), chosen, environment)
    if chosen.context is None and (state := state_directory(chosen.state, environment)) is not None:
        return _on_this_machine(state, environment)
    known = contexts.load()
    name = chosen.context or known.current
    if name is None:
        raise CommandFailed("no server is known: start one with `make run`, or `sentinel --server URL login`")
    return _of_context(name, known.get(name), chosen, environment)


def state_directory(given: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The state directory that is meant, if any is."""
    if given is not None or environment.get("SENTINEL_STATE"):
        return given or Path(environment["SENTINEL_STATE"])
    return DEFAULT_STATE if DEFAULT_STATE.is_dir() else None


def published(directory: Path) -> Mapping[str, object]:
    """What a running platform wrote into `platform.json` of its state directory. Raises CommandFailed."""
    file = directory / "platform.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CommandFailed(f"no platform is running on {directory}: start one with `make run`") from None
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"api", "broker", "database_url"} <= found.keys():
        raise CommandFailed(f"{file} is not what a running platform writes; start it again with `make run`")
    return found


def _at(url: str, chosen: Chosen, environment: Mapping[str, str]) -> Server:
    known = contexts.load()
    name = known.named_like(url)
    if name is not None:
        return _of_context(name, known.by_name[name], chosen, environment)
    remedy = "set SENTINEL_TOKEN, or log in with `sentinel --server URL login`"
    credentials = _given(environment) or GivenToken(None, remedy)
    return Server(url, url, credentials, chosen.certificate_authority, chosen.insecure)


def _of_context(name: str, context: Context, chosen: Chosen, environment: Mapping[str, str]) -> Server:
    credentials = _given(environment) or Login(name, context.server)
    authority = chosen.certificate_authority or context.certificate_authority
    return Server(context.server, context.server, credentials, authority, chosen.insecure or context.insecure)


def _on_this_machine(state: Path, environment: Mapping[str, str]) -> Server:
    """Raises CommandFailed, also when another user owns the token."""
    url = published(state)["api"]
    if not isinstance(url, str):
        raise CommandFailed(f"the platform on {state} has no REST face: its manifests have no Service api")
    credentials = _given(environment) or GivenToken(_token(state / TOKEN_FILE), _START_AGAIN)
    return Server(str(state), url, credentials)


def _token(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}; set SENTINEL_TOKEN") from None


def _given(environment: Mapping[str, str]) -> Credentials | None:
    token = environment.get("SENTINEL_TOKEN", "").strip()
    return GivenToken(token, "set SENTINEL_TOKEN to one that counts") if token else None
