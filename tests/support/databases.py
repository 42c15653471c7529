"""Migrated data directories of PostgreSQL, copied from one that a whole test run makes once.

`initdb` and all migrations take a second and a half of a processor; a copy takes a tenth of one.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

from knative.local.runtime.postgres import EmbeddedPostgres
from shared.store.migrate import upgrade

_MARK = "complete"


def template(run_directory: Path) -> Path:
    """The data directory that every worker of this run copies. Whoever comes first makes it, and the others wait."""
    place = run_directory / "postgres-template"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / _MARK).exists():
            with EmbeddedPostgres(place, durable=False) as server:
                upgrade(server.owner_url)
            (place / _MARK).touch()
    return place / "data"


def copy(data: Path, directory: Path) -> None:
    """Gives a server that will be started in `directory` the data, unless it has some."""
    if not (directory / "data").exists():
        shutil.copytree(data, directory / "data")
