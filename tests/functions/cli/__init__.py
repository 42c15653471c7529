"""The command line, on real PostgreSQL and a real HTTP broker."""
