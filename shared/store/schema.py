"""Which schema the database has, and which one this release needs."""

from functools import cache
from importlib.resources import files

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from shared.errors import StoreUnavailable

_CURRENT = sa.text("SELECT max(version_num) FROM alembic_version")


@cache
def needed() -> str:
    """The newest migration of this release. Their numbers follow each other, and begin the names of their files."""
    versions = files("shared.store").joinpath("migrations").joinpath("versions")
    return max(one.name[:4] for one in versions.iterdir() if one.name[:4].isdecimal())


def check(connection: sa.Connection) -> None:
    """Raises StoreUnavailable for a database without every migration of this release. It may have later ones."""
    try:
        current = connection.execute(_CURRENT).scalar_one_or_none()
    except ProgrammingError:  # there is no such table, or it is from before the application could read it
        current = None
    if current is None or current < needed():
        raise StoreUnavailable(
            f"the database has the schema {current or 'of no release'}, and this release needs {needed()}: "
            "run `python -m shared.store.migrate`"
        )
