"""Signing keys: a directory of PEM files, which a Secret is mounted as on a cluster.

`current.pem` signs, and every `*.pem` verifies. Two keys are live at any time: `next.pem` is known to all processes
before it signs anything. `rotate` makes it the current one, keeps the old one as `previous-<kid>.pem` until somebody
deletes it, and makes a new next one. A key's id (kid) is the thumbprint of its public half (RFC 7638), so that it is
the same under every file name, and a token's kid is looked up in memory and never used as a path.

    python -m shared.identity.keys init DIRECTORY      # current.pem and next.pem, unless they are there
    python -m shared.identity.keys rotate DIRECTORY
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt import PyJWK
from jwt.algorithms import get_default_algorithms

from shared.errors import ConfigurationError, SentinelError

CURRENT: Final = "current.pem"
NEXT: Final = "next.pem"
READ_AGAIN_SECONDS: Final = 5.0
_LEAST_RSA_BITS: Final = 2048

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

logger = logging.getLogger("sentinel.identity")


@dataclass(frozen=True)
class SigningKey:
    """A key with the one algorithm that it is used with, and its public half as a JWK (RFC 7517)."""

    kid: str
    algorithm: str
    private: PrivateKey = field(repr=False)
    jwk: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, eq=False)
class KeySet:
    """The live keys; two sets are never equal. verifying: public halves by kid, each bound to its algorithm."""

    signing: SigningKey
    verifying: Mapping[str, PyJWK] = field(repr=False)
    jwks: Mapping[str, Any] = field(repr=False)
    """What /.well-known/jwks.json says."""


class KeyDirectory:
    """The keys in a directory, read again after a few seconds: a rotation needs no restart."""

    def __init__(self, directory: Path) -> None:
        """Raises ConfigurationError for a directory without usable keys."""
        self._directory = directory
        self._lock = threading.Lock()
        self._files = _read(directory)
        self._keys = _key_set(self._files)
        self._read_at = time.monotonic()

    def current(self) -> KeySet:
        """The keys as they are now. What cannot be read is logged, and leaves the keys as they were."""
        if time.monotonic() - self._read_at > READ_AGAIN_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._read_again()
            finally:
                self._lock.release()
        return self._keys

    def _read_again(self) -> None:
        self._read_at = time.monotonic()
        try:
            files = _read(self._directory)
            if files != self._files:
                self._keys = _key_set(files)
                self._files = files
        except ConfigurationError as error:
            logger.error("the signing keys stay as they were: %s", error)


def read(directory: Path) -> KeySet:
    """The keys in a directory. Raises ConfigurationError where there are none, or one cannot be used."""
    return _key_set(_read(directory))


def init(directory: Path) -> None:
    """Makes the current and the next key where they are missing. Raises ConfigurationError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (CURRENT, NEXT):
            if not (directory / name).exists():
                _write(directory / name, _new_key())
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot hold signing keys: {error.strerror}") from None


def rotate(directory: Path) -> None:
    """The next key signs from now on, the current one only verifies, and there is a new next one.

    Every process must have read the next key before: it does so within seconds, on a cluster when the Secret is mounted
    anew. Raises ConfigurationError.
    """
    files = _read(directory)
    if NEXT not in files:
        raise ConfigurationError(
            f"{directory} has no {NEXT}; `init` makes one, and all processes have to read it first"
        )
    kid = _signing_key(CURRENT, files[CURRENT]).kid
    try:
        # `current.pem` always exists: the old key gets its second name first.
        os.link(directory / CURRENT, directory / f"previous-{kid}.pem")
        (directory / NEXT).replace(directory / CURRENT)
        _write(directory / NEXT, _new_key())
    except OSError as error:
        raise ConfigurationError(f"the keys in {directory} cannot be rotated: {error.strerror}") from None


def algorithm_of(key: PrivateKey) -> str:
    """The one algorithm that a key is used with. Raises ValueError for a key that is too weak or of another kind."""
    match key:
        case Ed25519PrivateKey():
            return "EdDSA"
        case EllipticCurvePrivateKey() if isinstance(key.curve, SECP256R1):
            return "ES256"
        case RSAPrivateKey() if key.key_size >= _LEAST_RSA_BITS:
            return "RS256"
    raise ValueError("must be an Ed25519, a P-256 or an RSA key of at least 2048 bits")


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638, of a public JWK."""
    needed = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}[jwk["kty"]]
    text = json.dumps({name: jwk[name] for name in needed}, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _read(directory: Path) -> dict[str, bytes]:
    try:
        files = {path.name: path.read_bytes() for path in sorted(directory.glob("*.pem"))}
    except OSError as error:
        raise ConfigurationError(f"SIGNING_KEYS_DIR: {directory} cannot be read: {error.strerror}") from None
    if CURRENT not in files:
        raise ConfigurationError(
            f"SIGNING_KEYS_DIR: {directory} holds no {CURRENT}, the key that signs tokens; "
            "`python -m shared.identity.keys init DIRECTORY` makes it"
        )
    return files


def _key_set(files: Mapping[str, bytes]) -> KeySet:
    keys = {name: _signing_key(name, pem) for name, pem in files.items()}
    public = {key.kid: dict(key.jwk) for key in keys.values()}
    return KeySet(
        keys[CURRENT],
        {kid: PyJWK(jwk, jwk["alg"]) for kid, jwk in public.items()},
        {"keys": list(public.values())},
    )


def _signing_key(name: str, pem: bytes) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, PrivateKey):
            raise ValueError("must be an Ed25519, a P-256 or an RSA key of at least 2048 bits")
        algorithm = algorithm_of(key)
    except (ValueError, TypeError) as error:
        # TypeError: the key is encrypted. Neither message quotes the file.
        raise ConfigurationError(f"SIGNING_KEYS_DIR: {name} cannot be used: {error}") from None
    public = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    jwk = {name: value for name, value in public.items() if name not in ("key_ops", "use")}
    kid = thumbprint(jwk)
    return SigningKey(kid, algorithm, key, {**jwk, "kid": kid, "alg": algorithm, "use": "sig"})


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and for nobody else to read."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def main() -> int:
    """Exit code 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m shared.identity.keys", description="Makes and rotates keys.")
    parser.add_argument("action", choices=("init", "rotate"))
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    try:
        {"init": init, "rotate": rotate}[options.action](options.directory)
    except SentinelError as error:
        print(f"keys: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
