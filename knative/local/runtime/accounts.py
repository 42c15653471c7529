"""Which account PostgreSQL runs under, for whoever starts the platform and wherever.

PostgreSQL refuses to run as root, and `initdb` as a user id that the machine has no name for. In this order:

1. An ordinary user with a name runs it under their own account.
2. Root becomes `postgres` or `nobody`. The server is then really unprivileged. That account can often not enter a
   directory of root's: see `Installation.reachable_by` and `EmbeddedPostgres` for what is done about it.
3. Root that cannot become anybody (a container without capabilities), or a user without a name, starts it in a user
   namespace that maps no ids (user_namespaces(7)). There every id reads as the overflow id, 65534, which is called
   `nobody`; towards files the server keeps the rights of the user who started it, and no capability.

Where a seccomp profile forbids the third way too, nothing is left, and the error says what would help.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError

UNPRIVILEGED = ("postgres", "nobody")
_CLONE_NEWUSER = 0x10000000
# capabilities(7), by bit: give files away, use them afterwards, signal the server, become its user and group.
_CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7}
_STATUS = Path("/proc/self/status")
_OVERFLOW_UID = Path("/proc/sys/kernel/overflowuid")


@dataclass(frozen=True)
class SystemAccount:
    """An account to start processes under: `user` to become, or a user `namespace`, or neither (the present one)."""

    user: pwd.struct_passwd | None = None
    namespace: bool = False

    def start_arguments(self, prepare: Callable[[], None] | None = None) -> dict[str, Any]:
        """Keyword arguments of subprocess for a child under this account; `prepare` runs in the child before exec."""
        arguments: dict[str, Any] = {"preexec_fn": prepare}
        if self.user:
            arguments |= {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        if self.namespace:
            enter = _enter_user_namespace()
            arguments["preexec_fn"] = lambda: (enter(), prepare() if prepare else None)
        return arguments

    def passes(self, directory: Path) -> bool:
        """Whether the account may pass through the directory and through everything above it."""
        directory = directory.resolve()
        return all(self._may(each, 0o1) for each in (directory, *directory.parents))

    def reads(self, path: Path) -> bool:
        """Whether the account may read `path`, and run it if it is a program."""
        runs = path.is_dir() or path.stat().st_mode & 0o111
        return self.passes(path.parent) and self._may(path, 0o5 if runs else 0o4)

    def own(self, path: Path) -> None:
        """Makes the account the owner of `path` and of what is below it. Raises ConfigurationError."""
        owner, group = (self.user.pw_uid, self.user.pw_gid) if self.user else (os.geteuid(), os.getegid())
        if path.stat().st_uid == owner:
            return
        try:
            os.lchown(path, owner, group)
            for directory, names, files in os.walk(path):
                for name in (*names, *files):
                    os.lchown(Path(directory, name), owner, group)
        except OSError as error:
            raise ConfigurationError(
                f"{path} belongs to the user id {path.stat().st_uid}, and PostgreSQL runs under {owner} here; "
                f"run chown -R {owner}:{group} on it, or choose another STATE"
            ) from error

    def works(self) -> bool:
        """Whether a process can really be started under this account."""
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", ":"], cwd="/", check=False, capture_output=True, **self.start_arguments()
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0

    def _may(self, path: Path, wanted: int) -> bool:
        if self.user is None:
            return os.access(path, wanted)
        found = path.stat()
        shift = 6 if found.st_uid == self.user.pw_uid else 3 if found.st_gid == self.user.pw_gid else 0
        return (found.st_mode >> shift) & wanted == wanted


def server_account() -> SystemAccount:
    """The account to run PostgreSQL under; the order is the module's. Raises ConfigurationError when there is none."""
    uid = os.geteuid()
    if uid != 0 and _named(uid):
        return SystemAccount()
    if uid == 0 and _has_capabilities():
        for user in filter(None, map(_user, UNPRIVILEGED)):
            if (account := SystemAccount(user=user)).works():
                return account
    if (
        sys.platform.startswith("linux")
        and _named(_overflow_uid())
        and (account := SystemAccount(namespace=True)).works()
    ):
        return account
    if uid == 0:
        raise ConfigurationError(
            "PostgreSQL cannot run as root, and this process may neither become another user (it needs the "
            f"capabilities {', '.join(_CAPABILITIES)}, and a user {' or '.join(UNPRIVILEGED)}) nor make a user "
            "namespace; run as an ordinary user, for instance with `docker run --user nobody`"
        )
    raise ConfigurationError(
        f"PostgreSQL needs a name for the user id {uid}, and this process may not make a user namespace; "
        f"add the user id to /etc/passwd, or run as a user that is there"
    )


def _named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _has_capabilities() -> bool:
    """Whether root may do what `_CAPABILITIES` name; where there are no capabilities, root may."""
    try:
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    except OSError:
        return True
    effective = int(lines.get("CapEff", "0"), 16)
    return all(effective >> bit & 1 for bit in _CAPABILITIES.values())


def _overflow_uid() -> int:
    try:
        return int(_OVERFLOW_UID.read_text())
    except OSError:
        return 65534


def _enter_user_namespace() -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        if libc.unshare(_CLONE_NEWUSER):
            raise OSError(ctypes.get_errno(), "unshare")

    return enter
