"""The database that a command of an operator works on: one that has no route, or works while the server is away.

An explicit --state comes first, then DATABASE_URL, then the state directory in SENTINEL_STATE, then `.sentinel`. The
broker comes from the same place as the database: events of one platform must never go to the broker of another.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from functions.cli import servers
from functions.cli.errors import BadInput, CommandFailed
from functions.cli.options import Chosen
from shared.errors import StoreUnavailable
from shared.store.database import connect
from shared.store.unit_of_work import Store
from shared.store.wire import SessionLimits

# PostgreSQL, appendix A, by prefix: what a user can do something about.
_REMEDIES = {
    "28": "the login was refused; check the user and the password in DATABASE_URL",
    "3D000": "there is no such database; check DATABASE_URL",
    "42P01": "it has no Sentinel tables yet; run `python -m shared.store.migrate`",
    "42703": "its tables are of another version of Sentinel; run `python -m shared.store.migrate`",
    "42501": "its role may not do this; use a role that is a member of sentinel_app",
}


@dataclass(frozen=True)
class PlatformReference:
    """Where Sentinel's database is, and its broker and its clusters' kubeconfigs if those are known.

    `name` is for messages and holds no secret.
    """

    name: str
    database_url: str
    broker: str | None
    clusters: Path | None = None


def locate(chosen: Chosen, environment: Mapping[str, str]) -> PlatformReference:
    """The platform that a command works on. Raises BadInput and CommandFailed."""
    if chosen.server is not None or chosen.context is not None:
        raise BadInput("this command works on the database itself: give --state, or set DATABASE_URL")
    url = environment.get("DATABASE_URL", "").strip()
    if chosen.state is None and url:
        kubeconfigs = environment.get("CLUSTERS_DIR")
        sink = environment.get("K_SINK") or None
        return PlatformReference("DATABASE_URL", url, sink, Path(kubeconfigs) if kubeconfigs else None)
    directory = servers.state_directory(chosen.state, environment)
    if directory is None:
        raise CommandFailed("no database is known: start a platform with `make run`, or set DATABASE_URL")
    found, clusters = servers.published(directory), directory / "clusters"
    return PlatformReference(
        str(directory), str(found["database_url"]), str(found["broker"]), clusters if clusters.is_dir() else None
    )


LIMITS = SessionLimits(idle_in_transaction=timedelta(minutes=10))
"""A check of the ledger may take its time, but one that was suspended holds no lock for hours."""


@contextmanager
def open_store(platform: PlatformReference) -> Iterator[Store]:
    """The store of a platform, closed at the end. Raises CommandFailed when the database is unavailable or refuses."""
    store = Store(connect(platform.database_url, pool_size=1, max_overflow=0, limits=LIMITS))
    try:
        yield store
    except (StoreUnavailable, DBAPIError) as error:
        code = _sqlstate(error)
        if remedy := next((text for prefix, text in _REMEDIES.items() if code.startswith(prefix)), None):
            raise CommandFailed(f"{platform.name}: the database refused: {remedy}") from None
        if isinstance(error, StoreUnavailable):
            raise CommandFailed(f"{platform.name}: {error}; is the platform running?") from None
        raise CommandFailed(f"{platform.name}: the database refused: SQLSTATE {code}") from None
    finally:
        store.close()


def _sqlstate(error: BaseException | None) -> str:
    """What the server said, "" when it said nothing.

    It may be deep down: where a login is refused, pg8000 says goodbye on a connection that may be closed by then,
    and the failure of that hides the refusal.
    """
    while error is not None:
        if error.args and isinstance(error.args[0], dict):
            return str(error.args[0].get("C", ""))
        error = error.__cause__ or error.__context__
    return ""
