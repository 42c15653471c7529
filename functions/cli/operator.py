"""Who runs a command: the login at this machine."""

import getpass
import os

from shared.models.actor import Actor


def login() -> str:
    """The name of the user who runs the command; a container may run as a user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def operator() -> Actor:
    """The actor of what a command changes."""
    return Actor.operator(login())
