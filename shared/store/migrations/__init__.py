"""Alembic migrations. They run once, as the owner of the tables, and never in a function."""
