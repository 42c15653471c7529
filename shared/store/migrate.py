"""Brings a database to the newest schema: `python -m shared.store.migrate` with DATABASE_OWNER_URL set.

Runs as the owner of the tables: the application's role owns nothing. Two runs at once take turns.
"""

import os
import sys
from importlib.resources import files

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from shared.errors import SentinelError
from shared.rollout.pricing import default_prices
from shared.store.catalogue import CatalogueRows
from shared.store.database import connect, transient_errors
from shared.store.skus import rename_skus

_LOCK = 5_471_001
OWNER_URL = "DATABASE_OWNER_URL"


def upgrade(owner_url: str, revision: str = "head") -> None:
    """Runs every migration that this database has not seen. Raises StoreUnavailable, ConfigurationError."""
    engine = connect(owner_url, pool_size=1, max_overflow=0)
    try:
        with transient_errors(), engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(_LOCK)))
            connection.commit()
            command.upgrade(configuration(connection), revision)
            connection.commit()
            _seed_prices(CatalogueRows(connection))
            connection.commit()
            if revision == "head":
                rename_skus(connection)
                connection.commit()
    finally:
        engine.dispose()


def _seed_prices(catalogue: CatalogueRows) -> None:
    """A database without prices starts with the public list prices; one with prices is left alone."""
    if not catalogue.prices():
        catalogue.set_prices(default_prices())


def configuration(connection: sa.Connection) -> Config:
    """Alembic's settings, for a connection that is already open."""
    config = Config()
    location = str(files("shared.store").joinpath("migrations"))
    config.set_main_option("script_location", location.replace("%", "%%"))  # configparser interpolates
    config.attributes["connection"] = connection
    return config


def main() -> int:
    """Exit code 0, or 1 with one line on stderr."""
    url = os.environ.get(OWNER_URL)
    if not url:
        print(f"set {OWNER_URL} to the database URL of the role that owns the tables", file=sys.stderr)
        return 1
    try:
        upgrade(url)
    except SentinelError as error:
        print(f"migrations failed: {error}", file=sys.stderr)
        return 1
    except DBAPIError as error:
        print(f"migrations failed: {error.orig}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
