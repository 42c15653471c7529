"""Crashes between any two statements of a process: an error, a killed backend, a killed process.

Statements are counted as SQLAlchemy sends them, and a commit counts as one: what is cut off may be anything from the
first statement to the commit itself.
"""

import os
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from shared.store.database import connect

KILLED = 70
"""The exit status of a process that killed itself."""


class Crash(Exception):
    """Stands for any defect in the middle of a transaction."""


class Fate(StrEnum):
    """What goes wrong."""

    ERROR = "error"
    BACKEND = "backend"
    PROCESS = "process"


class Crashes:
    """Watches the statements of an engine, and lets one of them go wrong when it is told to."""

    def __init__(self, engine: sa.Engine, url: str) -> None:
        self._fate = Fate.ERROR
        self._left = 0
        self._helper = connect(url, pool_size=1).execution_options(isolation_level="AUTOCOMMIT")
        sa.event.listen(engine, "connect", _remember_backend)
        sa.event.listen(engine, "before_cursor_execute", lambda connection, *_: self._statement(connection))
        sa.event.listen(engine, "commit", self._statement)

    def arm(self, fate: Fate, statements: int) -> None:
        """The statement after this many goes wrong, if it comes to that before `disarm`."""
        self._fate, self._left = fate, statements

    def disarm(self) -> None:
        self._left = 0

    def close(self) -> None:
        self._helper.dispose()

    def _statement(self, connection: sa.Connection) -> None:
        if not self._left:
            return
        self._left -= 1
        if self._left:
            return
        match self._fate:
            case Fate.ERROR:
                raise Crash
            case Fate.PROCESS:
                os._exit(KILLED)
            case Fate.BACKEND:
                with self._helper.connect() as helper:
                    helper.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": connection.info["pid"]})


def _remember_backend(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    record.info["pid"] = cursor.fetchone()[0]
    connection.rollback()
