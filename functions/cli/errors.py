"""How a command ends badly: one line on stderr and an exit code, never a traceback.

0    done
1    the operation failed: not found, rejected, denied, unhealthy, timed out, the server is unavailable
2    the command was not understood, or its input is bad; nothing was changed
130  interrupted (Ctrl-C)
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from shared.errors import ConfigurationError, SentinelError


class CommandFailed(SentinelError):
    """What was asked for did not come about."""


class BadInput(SentinelError):
    """What was asked for cannot be understood; each line of the message names one thing to correct."""


class Interrupted(SentinelError):
    """The user stopped waiting; the message says what goes on without them."""


class ServerAway(SentinelError):
    """No answer of Sentinel's came; the message says why, in a line."""


class ProblemAnswer(SentinelError):
    """The server answered with a problem document (RFC 9457); the message has a line for each bad field.

    kind: the last part of its type.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@contextmanager
def explained() -> Iterator[None]:
    """Turns every error that is raised on purpose, or by the system, into its line and exit code."""
    try:
        yield
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "sentinel"
        said = error.format_message().replace("Value error, ", "").rstrip(".")
        complain(f"{said}; see `{where} --help`")
        raise typer.Exit(error.exit_code) from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read the output has seen enough: typer ends without a word
            raise
        if error.filename is None:
            _drop_output()
        complain(f"{error.filename or 'the output cannot be written'}: {error.strerror}")
        raise typer.Exit(1) from None
    except SentinelError as error:
        for line in str(error).splitlines():
            complain(line)
        raise typer.Exit(_exit_code(error)) from None


def complain(line: str) -> None:
    """Says one line on stderr."""
    typer.echo(f"sentinel: {printable(line)}", err=True)


def printable(text: str) -> str:
    """The text with control characters spelled out: names and reasons come from anyone, and terminals obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _drop_output() -> None:
    """What is still in the buffer of stdout would be tried once more at the end, with an error of its own."""
    with suppress(OSError):  # stdout may be something that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit_code(error: SentinelError) -> int:
    match error:
        case BadInput() | ConfigurationError():
            return 2
        case ProblemAnswer(status=400 | 422):
            return 2
        case Interrupted():
            return 130
        case _:
            return 1
