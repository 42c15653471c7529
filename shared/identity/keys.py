"""The keys that tokens are signed with: Ed25519 private keys as PEM files in one directory.

A file's name without `.pem` is the `kid`. The newest by name signs, and all that are there verify. So a new key is
added first, and the old one is deleted when its last token has expired: that is a rotation. The files may change at any
time, because the directory is a mounted Secret.

`python -m shared.identity.keys DIR` adds a key, and deletes all but the newest two.
"""

import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.errors import ConfigurationError

KEPT = 2
_KID = re.compile(r"[A-Za-z0-9-]{1,64}")
_SUFFIX = ".pem"
_READ_AGAIN_SECONDS = 10.0


@dataclass(frozen=True)
class SigningKeys:
    """Private keys by kid, in the order of their names: the last one signs."""

    keys: Mapping[str, Ed25519PrivateKey]

    @property
    def newest(self) -> str:
        return max(self.keys)


class KeyDirectory:
    """The keys in a directory, read again when ten seconds have passed. Raises ConfigurationError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = read(path)
        self._read_at = time.monotonic()

    def current(self) -> SigningKeys:
        """The keys of now; those of before while the directory cannot be read."""
        if time.monotonic() - self._read_at > _READ_AGAIN_SECONDS:
            self._read_at = time.monotonic()
            try:
                self._found = read(self._path)
            except ConfigurationError:  # a Secret that is being replaced
                return self._found
        return self._found


def read(path: Path) -> SigningKeys:
    """The keys in a directory. Raises ConfigurationError where there is none, or one cannot be used."""
    try:
        files = sorted(file for file in path.iterdir() if file.suffix == _SUFFIX and _KID.fullmatch(file.stem))
        found = {file.stem: _private(file) for file in files}
    except OSError as error:
        raise ConfigurationError(f"SIGNING_KEYS_DIR: {error.filename or path}: {error.strerror}") from None
    if not found:
        raise ConfigurationError(
            f"SIGNING_KEYS_DIR: {path} holds no key; `python -m shared.identity.keys {path}` makes one"
        )
    return SigningKeys(found)


def add(path: Path, now: datetime) -> str:
    """Makes a new key that signs from now on, and deletes all but the newest two. Its kid."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    kid = now.astimezone(UTC).strftime("%Y%m%dT%H%M%S-%f")
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    scratch = path / f".{kid}"
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    scratch.rename(path / f"{kid}{_SUFFIX}")
    for old in sorted(path.glob(f"*{_SUFFIX}"))[:-KEPT]:
        old.unlink()
    return kid


def _private(file: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"SIGNING_KEYS_DIR: {file} is no private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"SIGNING_KEYS_DIR: {file} is no Ed25519 key")
    return key


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python -m shared.identity.keys DIR", file=sys.stderr)
        sys.exit(2)
    print(add(Path(sys.argv[1]), datetime.now(UTC)))
