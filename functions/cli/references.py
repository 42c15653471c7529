"""How a command ends when the name that was given is not enough."""

from collections.abc import Iterator
from contextlib import contextmanager

from functions.cli.errors import CommandFailed
from shared.errors import AmbiguousName


@contextmanager
def naming_hint() -> Iterator[None]:
    """Says of a name that fits several workloads how to name one of them."""
    try:
        yield
    except AmbiguousName as error:
        raise CommandFailed(f"{error}: give --team and --namespace, or the id") from None
